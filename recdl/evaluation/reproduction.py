"""A run beside its repetition: what came out alike, what did not, and what was different about the two."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recdl.errors import RecordError
from recdl.evaluation.records import RunRecord

_NEVER_THE_SAME = ("time/",)
_CIRCUMSTANCES = ("versions", "hardware", "git")


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in both; None: it is not there."""

    name: str
    then: Any
    now: Any

    @property
    def size(self) -> float:
        """How far two numbers are apart; infinite where these are not two numbers."""
        numbers = [value for value in (self.then, self.now) if isinstance(value, int | float)]
        return abs(numbers[0] - numbers[1]) if len(numbers) == 2 else math.inf


@dataclass(frozen=True)
class Reproduction:
    """What a repetition of a run came to.

    Attributes:
        n_metrics: Metrics of either run, but for times.
        metrics: Those that differ.
        n_arrays: Arrays of what either model learned; None where a run has kept none.
        arrays: Those that differ, by their largest difference.
        first_epoch: The first epoch whose loss or validation metrics differ; None: none does.
        circumstances: In what the two were run otherwise: versions, hardware, the state of the code.
    """

    n_metrics: int
    metrics: tuple[Difference, ...]
    n_arrays: int | None
    arrays: Mapping[str, float]
    first_epoch: int | None
    circumstances: tuple[Difference, ...]

    @property
    def exact(self) -> bool:
        """Whether all that can be compared is the same, bit for bit."""
        return not self.metrics and not self.arrays and self.first_epoch is None

    @property
    def largest(self) -> float:
        """The largest difference of a metric."""
        return max((difference.size for difference in self.metrics), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can say it."""
        named = {"metrics": self.metrics, "circumstances": self.circumstances}
        lists = {key: [[one.name, one.then, one.now] for one in value] for key, value in named.items()}
        sizes = {name: size if math.isfinite(size) else None for name, size in self.arrays.items()}
        return {
            "exact": self.exact,
            "n_metrics": self.n_metrics,
            "n_arrays": self.n_arrays,
            "arrays": sizes,
            "first_epoch": self.first_epoch,
            **lists,
        }

    def lines(self) -> list[str]:
        """Return what to tell of it."""
        lines = [_verdict("metrics", len(self.metrics), self.n_metrics)]
        lines += [f"  {one.name}: {_shown(one.then)} then, {_shown(one.now)} now" for one in self.metrics]
        if self.n_arrays is None:
            lines.append("weights: not compared, since a run has kept none")
        else:
            lines.append(_verdict("arrays of weights", len(self.arrays), self.n_arrays))
            lines += [f"  {name}: {_apart(size)}" for name, size in self.arrays.items()]
        if self.first_epoch is not None:
            lines.append(f"the learning curves part in epoch {self.first_epoch}")
        if self.circumstances:
            lines.append("run otherwise than then:")
            lines += [
                f"  {one.name}: {_shown(one.then)} then, {_shown(one.now)} now" for one in self.circumstances
            ]
        else:
            lines.append("run with the same versions, hardware and code as then")
        return lines


def compare_repetition(then: RunRecord, now: RunRecord) -> Reproduction:
    """Compare a run with its repetition.

    Raises:
        RecordError: If a record is damaged.
    """
    before, after = (_metrics(record) for record in (then, now))
    arrays = [_arrays(record) for record in (then, now)]
    known = None if arrays[0] is None or arrays[1] is None else (arrays[0], arrays[1])
    circumstances = {
        f"{part}.{name}": None for record in (then, now) for part in _CIRCUMSTANCES for name in _part(record, part)
    }
    return Reproduction(
        n_metrics=len(before | after),
        metrics=_differences(before, after),
        n_arrays=None if known is None else len(known[0] | known[1]),
        arrays={} if known is None else _apart_arrays(*known),
        first_epoch=_first_epoch(then.learning_curve, now.learning_curve),
        circumstances=_differences(
            *(
                {key: _part(record, (split := key.split(".", 1))[0]).get(split[1]) for key in circumstances}
                for record in (then, now)
            )
        ),
    )


def _metrics(record: RunRecord) -> dict[str, float]:
    return {name: value for name, value in record.metrics.items() if not name.startswith(_NEVER_THE_SAME)}


def _part(record: RunRecord, part: str) -> dict[str, Any]:
    return dict(record.record.get(part) or {})


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = dict.fromkeys([*then, *now])
    pairs = [Difference(name, then.get(name), now.get(name)) for name in names]
    return tuple(one for one in pairs if one.then != one.now)


def _arrays(record: RunRecord) -> dict[str, npt.NDArray[Any]] | None:
    if not (record.folder / "model").is_dir():  # a trial of a search, which keeps none
        return None
    return record.state()


def _apart_arrays(then: Mapping[str, npt.NDArray[Any]], now: Mapping[str, npt.NDArray[Any]]) -> dict[str, float]:
    """Return how far arrays are apart that are not the same; infinitely, where one is missing or not alike."""
    apart: dict[str, float] = {}
    for name in dict.fromkeys([*then, *now]):
        one, other = then.get(name), now.get(name)
        if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
            apart[name] = math.inf
        elif one.tobytes() != other.tobytes():
            apart[name] = float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())
    return apart


def _first_epoch(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> int | None:
    for epoch in range(max(len(then), len(now))):
        if epoch >= min(len(then), len(now)):
            return epoch
        one, other = (
            {key: value for key, value in curve[epoch].items() if key != "seconds"} for curve in (then, now)
        )
        if one != other:
            return epoch
    return None


def _verdict(what: str, n_differing: int, n: int) -> str:
    return f"{what}: {n - n_differing} of {n} the same, bit for bit"


def _apart(size: float) -> str:
    return f"up to {size:.2g} apart" if math.isfinite(size) else "missing, or of another shape"


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def check_reproduced(reproduction: Reproduction, *, tolerance: float) -> None:
    """Check that no metric is further from what it was than `tolerance`.

    Raises:
        RecordError: If one is.
    """
    if reproduction.largest > tolerance:
        worst = max(reproduction.metrics, key=lambda one: one.size)
        raise RecordError(
            f"the run was not reproduced: {worst.name} was {_shown(worst.then)} and is {_shown(worst.now)}, beyond"
            f" tolerance={tolerance:g}; what was run otherwise is said above"
        )
