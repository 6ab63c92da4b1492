"""What a person should know of a log before training, and what to do about it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["serious", "warning", "notice"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "notice")
"""The gravest first. Serious: figures would mislead; warning: they may; notice: choose settings by it."""


@dataclass(frozen=True)
class Finding:
    """Something that was found in a log.

    Attributes:
        key: A name that does not change: `bots`, `ties`, `time_unit`, ...
        severity: How much it matters.
        title: What is the matter, in a few words.
        evidence: The numbers that say so. Never an id of a user or item.
        advice: What to do about it, with the settings to change.
        weight: In [0, 1], about the share of the log concerned: ranks findings of one severity.
    """

    key: str
    severity: Severity
    title: str
    evidence: str
    advice: str
    weight: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON knows it."""
        return asdict(self)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, the gravest first, and among equally grave ones those that concern more of the log."""
    return tuple(sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), -one.weight, one.key)))


def percent(share: float) -> str:
    """Write a share as a percentage: "12 %", "1.2 %", "0.03 %"; never as nothing or all unless it is."""
    value = 100 * share
    if 99.5 <= value < 100:
        return f"{min(value, 99.9):.1f} %"
    if value == 0 or value >= 10:
        return f"{value:.0f} %"
    if value >= 1:
        return f"{value:.1f} %"
    return f"{value:.2f} %" if value >= 0.005 else "under 0.01 %"


def duration(seconds: float) -> str:
    """Write a span of time in the unit that fits: "45 s", "30 min", "7.5 h", "12 days", "3.2 years"."""
    for unit, name, limit in (
        (1.0, "s", 100.0),
        (60.0, "min", 5_940.0),
        (3600.0, "h", 172_800.0),
        (86_400.0, "days", 63_072_000.0),
        (31_557_600.0, "years", float("inf")),
    ):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.2g} {name}"
    raise AssertionError("a span of time is finite")
