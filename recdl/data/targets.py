"""What a network that reads histories is to predict after each event."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import ragged_positions
from recdl.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class SequenceTargets:
    """What is predicted after each event of a history, and at its start.

    By default the item of the next event is asked for, so that every event is a target exactly once.

    Attributes:
        behaviors: Only events of these behaviours are targets: after each event, of any behaviour, the next of
            them is asked for. None: those of any behaviour.
        every_position: With `behaviors`, whether the next such event is asked for at every position, however far
            ahead it is; else only where it is the very next.
        baskets: Whether events that share a time are one basket: after the last event of each, all items of the
            next are asked for at once. With `behaviors`, baskets are those of their events.
        weights: Of targets in the loss, by their behaviour; those not named weigh 1. None: all alike.
        behavior_weight: Weight of a second loss, that of telling the behaviour of the very next event; 0: none.
    """

    behaviors: tuple[str, ...] | None = None
    every_position: bool = True
    baskets: bool = False
    weights: dict[str, float] | None = None
    behavior_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.behaviors is not None and not self.behaviors:
            raise ConfigError("targets.behaviors is empty; name some, as [purchase], or set it to null")
        for name, weight in (self.weights or {}).items():
            if not 0 < weight < np.inf:
                raise ConfigError(f"targets.weights.{name} must be above 0, and finite, not {weight}")
        if self.weights is not None and self.baskets:
            raise ConfigError(
                "targets.weights are of events, but a basket has several; set weights to null, or baskets to false"
            )
        if not 0 <= self.behavior_weight < np.inf:
            raise ConfigError(f"targets.behavior_weight must be 0 or more, and finite, not {self.behavior_weight}")


class Baskets(NamedTuple):
    """The targets of several questions, each a set of items.

    Attributes:
        items: Flat int32, rising and distinct within a basket.
        counts: (n,) int64, items in each, at least 1.
    """

    items: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]


class TargetFinder:
    """Finds the targets of positions in a log.

    Args:
        log: The log.
        settings: What is asked.

    Raises:
        ConfigError: If the log has no such behaviour.
        DataError: If it holds no event of the behaviours, or baskets are asked of a log without times.
    """

    def __init__(self, log: Interactions, settings: SequenceTargets) -> None:
        if settings.baskets and not log.timed:
            raise DataError(
                "model.targets.baskets: the events of a basket share a time, but this log has no times"
            )
        self._log = log
        self._settings = settings
        self._places: npt.NDArray[np.int64] | None = None
        self._weights = np.ones(len(log.behavior_names), np.float32)
        for name, weight in (settings.weights or {}).items():
            self._weights[_code(name, log.behavior_names, "weights")] = weight
        if settings.behaviors is not None:
            codes = [_code(name, log.behavior_names, "behaviors") for name in settings.behaviors]
            self._wanted = np.isin(np.arange(len(log.behavior_names)), codes)
            self._places = np.flatnonzero(self._wanted[log.behaviors])
            if not len(self._places):
                raise DataError(
                    f"model.targets.behaviors: the train part holds no event of {', '.join(settings.behaviors)}"
                )

    def read_to(
        self, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], user_ends: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Return (n,) int64, up to where stretches of histories have a target; what follows teaches nothing.

        Args:
            starts: (n,) position of the first event that a stretch predicts.
            ends: (n,) one past its last.
            user_ends: (n,) one past the last event of its user.
        """
        if self._places is None or self._settings.behavior_weight:
            return ends
        last = np.searchsorted(self._places, user_ends) - 1
        return np.clip(np.where(last < 0, 0, self._places[last] + 1), starts, ends)

    def find(
        self,
        positions: npt.NDArray[np.int64],
        user_starts: npt.NDArray[np.int64],
        user_ends: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Return the (n,) position of the event that is asked for, the first of its basket; -1 where none is.

        Args:
            positions: (n,) int64, one past the last event that is known.
            user_starts: (n,) position of the first event of the user.
            user_ends: (n,) one past its last.
        """
        times, found = self._log.timestamps, positions
        if self._places is not None:
            found = np.append(self._places, self._log.n_events)[np.searchsorted(self._places, positions)]
            found = np.where(found < user_ends, found, -1)
            if not self._settings.every_position:
                near = times[found] == times[positions] if self._settings.baskets else found == positions
                found = np.where(near, found, -1)
        if self._settings.baskets:
            begins = (positions == user_starts) | (times[positions] != times[positions - 1])
            found = np.where(begins, found, -1)
        return found

    def weights(self, found: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the (n,) float32 weights of the events at `found`."""
        return self._weights[self._log.behaviors[found]]

    def baskets(self, found: npt.NDArray[np.int64], user_ends: npt.NDArray[np.int64]) -> Baskets:
        """Return the items of the baskets that begin at the events `found` (n,), of users up to `user_ends`."""
        ends = _ends_of_times(self._log.timestamps, found, user_ends)
        rows, positions = np.repeat(np.arange(len(found)), ends - found), ragged_positions(found, ends)
        if self._places is not None:
            wanted = self._wanted[self._log.behaviors[positions]]
            rows, positions = rows[wanted], positions[wanted]
        n_items = self._log.n_items
        pairs = np.unique(rows * n_items + self._log.items[positions])
        counts = np.bincount(pairs // n_items, minlength=len(found))
        return Baskets((pairs % n_items).astype(np.int32), counts.astype(np.int64))


def _ends_of_times(
    times: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], limits: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return one past the last event before `limits` that has the time of that at `starts`: all bisect at once."""
    low, high = starts + 1, limits
    while (low < high).any():
        middle = np.where(low < high, (low + high) // 2, starts)
        same = times[middle] == times[starts]
        low, high = np.where((low < high) & same, middle + 1, low), np.where(same, high, middle)
    return low


def _code(name: str, names: tuple[str, ...], setting: str) -> int:
    if name not in names:
        raise ConfigError(f"model.targets.{setting}: the log has no behavior {name!r}; it has {', '.join(names)}")
    return names.index(name)
