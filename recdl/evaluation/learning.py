"""How runs learned: validation metric and loss by epoch."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_VALIDATION = "validation/"


@dataclass(frozen=True)
class LearningCurve:
    """One run's epochs.

    Attributes:
        epochs: 1, 2, ...
        losses: Mean training loss of each epoch, None where it was no finite number.
        metric: Name of the validation metric ("ndcg@10"), the same for all runs of a report; None: it has it not.
        values: Of that metric, one an epoch.
    """

    epochs: tuple[int, ...]
    losses: tuple[float | None, ...]
    metric: str | None = None
    values: tuple[float, ...] = ()

    @property
    def best(self) -> int | None:
        """The position of the epoch with the highest validation metric, the first of equals."""
        return None if not self.values else max(range(len(self.values)), key=lambda place: self.values[place])


def learning_curves(entries: Mapping[str, Sequence[Mapping[str, Any]]], primary: str) -> dict[str, LearningCurve]:
    """Return the curve of each run that learned by epochs.

    Args:
        entries: By label, what the run's record notes of each epoch; empty for models that learn in one go.
        primary: The metric of the report ("ndcg@10"), shown if any run has it; else one that most have.
    """
    entries = {label: epochs for label, epochs in entries.items() if epochs}
    shown = _metric(entries, primary)
    return {
        label: LearningCurve(
            epochs=tuple(int(one["epoch"]) + 1 for one in epochs),
            losses=tuple(one.get("loss") for one in epochs),
            **_values(epochs, shown),
        )
        for label, epochs in entries.items()
    }


def _metric(entries: Mapping[str, Sequence[Mapping[str, Any]]], primary: str) -> str | None:
    counted = Counter(
        name.removeprefix(_VALIDATION)
        for epochs in entries.values()
        for name in epochs[0]
        if name.startswith(_VALIDATION)
    )
    if primary in counted or not counted:
        return primary if counted else None
    family = primary.partition("@")[0]
    return max(counted, key=lambda name: (name.partition("@")[0] == family, counted[name]))


def _values(epochs: Sequence[Mapping[str, Any]], metric: str | None) -> dict[str, Any]:
    values = [one.get(f"{_VALIDATION}{metric}") for one in epochs]
    if metric is None or any(value is None for value in values):
        return {}
    return {"metric": metric, "values": tuple(float(value) for value in values if value is not None)}
