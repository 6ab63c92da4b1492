"""Which runs may stand side by side: those whose figures mean the same thing."""

from collections.abc import Sequence
from pathlib import Path

from recdl.errors import DataError
from recdl.evaluation.identity import Ingredient, RunIdentity
from recdl.evaluation.records import RunRecord

_SHARED = ("data", "split", "protocol", "metric_version")


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Check that figures of the runs mean the same thing.

    Raises:
        DataError: If there is no run, one is given twice, or data, split, protocol or metric version differ; the
            message names every difference with both values.
    """
    if not records:
        raise DataError("there is no run to compare; give the folders of one or more runs")
    folders: dict[str, Path] = {}
    for record in records:
        if record.run_id in folders:
            raise DataError(f"{record.folder} is the same run as {folders[record.run_id]}; give each run once")
        folders[record.run_id] = record.folder
    first = records[0]
    lines = [
        f"  {record.folder}: {difference}"
        for record in records[1:]
        for difference in _differences(record.identity, first.identity)
    ]
    if lines:
        raise DataError(
            f"these runs cannot be compared with {first.folder}, since their figures do not mean the same:\n"
            + "\n".join(lines)
            + "\nTrain them on the same data and split, or evaluate them again under one protocol."
        )


def _differences(identity: RunIdentity, expected: RunIdentity) -> list[str]:
    found = []
    for name in _SHARED:
        value, other = getattr(identity, name), getattr(expected, name)
        if isinstance(value, Ingredient):
            if value.fingerprint != other.fingerprint:
                found.append(f"{name} is {_describe(value, other)}, not {_describe(other, value)}")
        elif value != other:
            found.append(f"{name.replace('_', ' ')} is {value}, not {other}")
    return found


def _describe(value: Ingredient, other: Ingredient) -> str:
    """Name an ingredient by its name, the settings in which it differs from `other`, and its fingerprint."""
    own = {key: setting for key, setting in value.settings.items() if other.settings.get(key) != setting}
    settings = "".join(f", {key}={setting}" for key, setting in own.items())
    return f"{value.name} (fingerprint {value.fingerprint[:8]}{settings})"
