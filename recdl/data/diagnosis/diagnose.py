"""Look at a prepared log from all sides."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from recdl.data.diagnosis.bots import Bots, bot_findings, measure_bots
from recdl.data.diagnosis.findings import Finding, ranked
from recdl.data.diagnosis.funnel import Funnel, funnel_findings, measure_funnel
from recdl.data.diagnosis.held_out import cold_counts, split_failed, split_findings
from recdl.data.diagnosis.order import Order, measure_order, order_findings
from recdl.data.diagnosis.rhythm import Rhythm, measure_rhythm, rhythm_findings
from recdl.data.diagnosis.shape import Shape, measure_shape, shape_findings
from recdl.data.diagnosis.timeline import Timeline, measure_timeline, timeline_findings
from recdl.data.prepared import PreparedLog
from recdl.data.splits import Splitter, split_log
from recdl.data.timestamps import iso_text
from recdl.errors import DataError

Stage = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What a log is like, and what was found wrong with it.

    Attributes:
        name: What the log is called.
        fingerprint: Of the prepared log.
        shape: Counts, popularity, what preparation dropped.
        timeline: Times.
        rhythm: Gaps, ties, sessions.
        funnel: Behaviours and repeats.
        bots: Users of impossible activity.
        order: Whether order carries information.
        split: The split's report, with the users and items that have no event in train; None if it failed.
        findings: The gravest first.
    """

    name: str
    fingerprint: str
    shape: Shape
    timeline: Timeline
    rhythm: Rhythm
    funnel: Funnel
    bots: Bots
    order: Order
    split: dict[str, Any] | None
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, but no id and no index of a user or item."""
        times = asdict(self.timeline)
        for key in ("first", "last", "period_first", "period_last", "activity_start"):
            times[key] = iso_text(times[key])
        return {
            "log": self.name,
            "fingerprint": self.fingerprint,
            "findings": [finding.to_json() for finding in self.findings],
            "shape": asdict(self.shape),
            "timeline": times,
            "rhythm": asdict(self.rhythm),
            "funnel": asdict(self.funnel),
            "bots": self.bots.to_json(),
            "order": asdict(self.order),
            "split": self.split,
        }


def diagnose(
    log: PreparedLog,
    splitter: Splitter,
    *,
    order_events: int,
    seed: int,
    now: int,
    stage: Stage = lambda _: nullcontext(),
) -> Diagnosis:
    """Look at a log in bounded memory; all figures but those of `order` are of the whole log.

    Args:
        log: The log.
        splitter: How it is to be split; if it cannot be, that is a finding.
        order_events: About so many events are drawn to tell whether order carries information.
        seed: Of everything random.
        now: Microseconds since 1970; times after it are in the future.
        stage: Told what is being looked at.
    """
    events, counts, settings = log.interactions, log.manifest["counts"], log.manifest.get("settings", {})
    with stage("following behaviours"):
        funnel = measure_funnel(events)
    with stage("counting"):
        shape = measure_shape(
            events, pairs=funnel.distinct_pairs, rows_read=counts["rows_read"], dropped=counts["dropped"]
        )
    with stage("looking at times"):
        timeline = measure_timeline(events, timezone=settings.get("time", {}).get("timezone", "UTC"))
        rhythm = measure_rhythm(events, resolution=timeline.resolution)
    with stage("looking for bots"):
        bots = measure_bots(events, resolution=timeline.resolution, shift=timeline.shift)
    with stage("shuffling histories"):
        order = measure_order(events, max_events=order_events, seed=seed)
    with stage("splitting"):
        split, of_split = _split(log, splitter)
    read_as_they_are = settings.get("behaviors", True) is None and settings["columns"]["behavior"] is not None
    return Diagnosis(
        name=log.manifest["name"],
        fingerprint=log.fingerprint,
        shape=shape,
        timeline=timeline,
        rhythm=rhythm,
        funnel=funnel,
        bots=bots,
        order=order,
        split=split,
        findings=ranked(
            [
                *shape_findings(shape, named_behaviors=not read_as_they_are),
                *timeline_findings(timeline, events=events.n_events, now=now),
                *rhythm_findings(rhythm, events=events.n_events, resolution=timeline.resolution),
                *funnel_findings(funnel),
                *bot_findings(bots, events=events.n_events),
                *order_findings(order),
                *of_split,
            ]
        ),
    )


def _split(log: PreparedLog, splitter: Splitter) -> tuple[dict[str, Any] | None, list[Finding]]:
    try:
        split = split_log(splitter, log)
    except DataError as error:
        return None, [split_failed(str(error))]
    return split.report | {"cold": cold_counts(split)}, list(split_findings(split.report))
