"""The encoded log: flat arrays grouped by user and sorted by time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from recdl.data.selecting import offsets_where, selected
from recdl.errors import DataError, RecordError
from recdl.storage import array_file

if TYPE_CHECKING:
    import pyarrow as pa

_ARRAYS = {"offsets": np.int64, "items": np.int32, "behaviors": np.int8, "timestamps": np.int64}
_OPTIONAL: dict[str, type[np.generic]] = {"weights": np.float32, "sessions": np.int32}
_BLOCK = 1 << 17  # events that are checked at a time: what is computed of them stays in the cache


@dataclass(frozen=True, eq=False)
class Interactions:
    """An event log, encoded: the events of user `u` are at `offsets[u]` to `offsets[u + 1]` of the flat arrays.

    Attributes:
        offsets: (n_users + 1,) int64, rising from 0 to n_events.
        items: (n_events,) int32, item indices in [0, n_items).
        behaviors: (n_events,) int8, positions in `behavior_names`.
        timestamps: (n_events,) int64, microseconds since 1970-01-01 UTC, never falling within a user.
        n_items: Size of the catalogue.
        behavior_names: The behaviours, in the order of the funnel (the least committed first).
        behavior_weights: What an event of each of them counts, for models that weigh events; None: all the same.
        timed: Whether `timestamps` are moments; else they only put events in order.
        weights: (n_events,) float32, finite: the number that the log has for each event (a rating, a quantity, a
            price), of either sign; None where no such column was asked for.
        sessions: (n_events,) int32, the session of each event, by a number of its user's own (two users' sessions
            0 are two sessions); -1 where the log does not name one; None where no such column was asked for.
        user_table: What the log says of its users, row i of index i; None: nothing.
        item_table: The same of items.

    The arrays may be memory-mapped; nothing here holds a copy of them. The invariants are checked once, when made.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    behaviors: npt.NDArray[np.int8]
    timestamps: npt.NDArray[np.int64]
    n_items: int
    behavior_names: tuple[str, ...]
    behavior_weights: tuple[float, ...] | None = None
    timed: bool = True
    weights: npt.NDArray[np.float32] | None = None
    sessions: npt.NDArray[np.int32] | None = None
    user_table: "pa.Table | None" = None
    item_table: "pa.Table | None" = None

    def __post_init__(self) -> None:
        for name, dtype in (_ARRAYS | {name: _OPTIONAL[name] for name in self.optional_arrays()}).items():
            array = getattr(self, name)
            assert array.dtype == dtype and array.ndim == 1, f"{name} must be a flat array of {np.dtype(dtype)}"
        weights = self.behavior_weights
        assert weights is None or len(weights) == len(self.behavior_names), "a weight for each behaviour, or none"
        n = len(self.items)
        assert len(self.behaviors) == len(self.timestamps) == n, "items, behaviors and timestamps differ in length"
        assert all(len(array) == n for array in self.optional_arrays().values()), "a value for each event, or none"
        assert len(self.offsets) and self.offsets[0] == 0 and self.offsets[-1] == n, "offsets must span the events"
        assert (np.diff(self.offsets) >= 0).all(), "offsets must not fall"
        for name, rows in (("user_table", self.n_users), ("item_table", self.n_items)):
            table = getattr(self, name)
            assert table is None or len(table) == rows, f"{name} must have a row for each index"
        for start in range(0, n, _BLOCK):
            self._check_block(start, min(start + _BLOCK, n))

    def _check_block(self, start: int, end: int) -> None:
        items, behaviors = self.items[start:end], self.behaviors[start:end]
        assert items.min() >= 0 and items.max() < self.n_items, "an item index lies outside the catalogue"
        assert behaviors.min() >= 0 and behaviors.max() < len(self.behavior_names), "an unnamed behavior"
        assert self.weights is None or np.isfinite(self.weights[start:end]).all(), "a weight is not finite"
        assert self.sessions is None or self.sessions[start:end].min() >= -1, "a session is below -1"
        times = self.timestamps[max(start - 1, 0) : end]
        falls = np.flatnonzero(np.diff(times) < 0) + max(start - 1, 0) + 1
        firsts = self.offsets[np.minimum(np.searchsorted(self.offsets, falls), len(self.offsets) - 1)]
        assert (firsts == falls).all(), "timestamps fall within a user"

    @property
    def n_users(self) -> int:
        """Number of users, with or without events."""
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.items)

    def optional_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of one value an event that this log has and another may lack, by name."""
        named = {name: getattr(self, name) for name in _OPTIONAL}
        return {name: array for name, array in named.items() if array is not None}

    @cached_property
    def users(self) -> npt.NDArray[np.int32]:
        """(n_events,) int32, the user index of each event."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.offsets))

    @cached_property
    def occurring_items(self) -> npt.NDArray[np.bool_]:
        """(n_items,) bool, whether an item has an event."""
        occurring = np.zeros(self.n_items, np.bool_)
        occurring[self.items] = True
        return occurring

    def behavior_codes(self, names: Sequence[str]) -> npt.NDArray[np.int8]:
        """Return the codes of the named behaviours.

        Raises:
            DataError: If the log has no behaviour of that name.
        """
        for name in names:
            if name not in self.behavior_names:
                raise DataError(f"the log has no behavior {name!r}; it has {', '.join(self.behavior_names)}")
        return np.array([self.behavior_names.index(name) for name in names], np.int8)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Interactions":
        """Return the events where `mask` (n_events,) is true; users, items and behaviours keep their indices.

        Many events of a memory-mapped log are memory-mapped again.
        """
        arrays: dict[str, npt.NDArray[Any]] = {
            "items": self.items,
            "behaviors": self.behaviors,
            "timestamps": self.timestamps,
        }
        return Interactions(
            offsets=offsets_where(self.offsets, mask),
            n_items=self.n_items,
            behavior_names=self.behavior_names,
            behavior_weights=self.behavior_weights,
            timed=self.timed,
            user_table=self.user_table,
            item_table=self.item_table,
            **selected(arrays | self.optional_arrays(), mask),
        )

    def save(self, folder: Path) -> None:
        """Write one `.npy` file an array into `folder`."""
        for name in (*_ARRAYS, *self.optional_arrays()):
            array: npt.NDArray[Any] = getattr(self, name)
            with array_file(folder / f"{name}.npy", array.dtype.type, len(array)) as append:
                append(array)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        n_items: int,
        behavior_names: tuple[str, ...],
        behavior_weights: tuple[float, ...] | None = None,
        timed: bool = True,
        optional: Sequence[str] = (),
        tables: "Mapping[str, pa.Table] | None" = None,
    ) -> Self:
        """Memory-map what `save` wrote, with those of the optional arrays that are named, beside given tables.

        Raises:
            RecordError: If a file is missing, cut short, or not what it should be.
        """
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name in (*_ARRAYS, *optional):
            path = folder / f"{name}.npy"
            try:
                arrays[name] = _map(path)
            except (OSError, EOFError, ValueError) as error:
                raise RecordError(
                    f"{path} is missing or damaged ({error}); delete {folder}, prepare again"
                ) from error
        try:
            return cls(
                **arrays,
                n_items=n_items,
                behavior_names=behavior_names,
                behavior_weights=behavior_weights,
                timed=timed,
                **(tables or {}),
            )
        except AssertionError as error:
            raise RecordError(f"{folder} is damaged ({error}); delete it and prepare the log again") from error


def _map(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
