"""What a run is a run of: its model, its seed, and all that its figures depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recdl.errors import RecordError


@dataclass(frozen=True)
class Ingredient:
    """Something that figures depend on: a log, a split or an evaluation protocol.

    Attributes:
        name: What people call it ("tmall", "temporal", "full").
        fingerprint: Equal exactly where the thing itself is equal.
        settings: What to show of it, as JSON can say it (sizes, fractions, cutoffs); not part of the identity.
    """

    name: str
    fingerprint: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What a run is a run of. Runs that agree in all but `model` and `seed` may be compared."""

    model: str
    seed: int
    data: Ingredient
    split: Ingredient
    protocol: Ingredient
    metric_version: int | str


def read_identity(path: Path, record: Mapping[str, Any]) -> RunIdentity:
    """Return what a run is a run of.

    Args:
        path: The file that was read, for messages.
        record: What it holds.

    Raises:
        RecordError: If it does not say.
    """
    try:
        known = record["identity"]
        parts = {name: Ingredient(**known[name]) for name in ("data", "split", "protocol")}
        if not isinstance(record["run_id"], str):
            raise TypeError("run_id is no text")
        return RunIdentity(**{**known, **parts})
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged: it does not say what was run ({error}); run it again") from error
