"""Further events put among those of a prepared log: where each belongs, and the flat arrays with them in place."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.storage import array_file

Integers = npt.NDArray[np.int64]
Part = Mapping[str, npt.NDArray[Any]]
"""Some events: `users` and the arrays of `Interactions` (items, behaviors, timestamps, ...), all of one length."""

_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Placed:
    """The events that a log lacks, in files, with their places in it.

    Attributes:
        arrays: Of each event `places` (how many events of the log lie before it), `users`, and the log's arrays;
            memory-mapped, in the order in which the events will lie.
        late: Of each, whether it is older than the last that the log has of its user.
    """

    arrays: dict[str, npt.NDArray[Any]]
    late: npt.NDArray[np.bool_]

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.arrays["places"])

    @classmethod
    def among(cls, log: Interactions, parts: Iterable[Part], ranks: npt.NDArray[np.int32], folder: Path) -> Self:
        """Find the place of each event, and leave out those that are there.

        A user's events lie in the order of time, behaviour, item and what else they hold: that of preparation,
        which numbers items by their ids. Items that came later have higher indices, whatever their ids, so that
        here their ranks by id count.

        Args:
            log: The log.
            parts: The events, sorted so, without duplicates; users from `log.n_users` on are new.
            ranks: Of each item, old or new, the place of its id among all, in the order of the bytes.
            folder: Where the files go.
        """
        n_events = 0
        kinds = {"places": np.dtype(np.int64), "late": np.dtype(np.bool_), "users": np.dtype(np.int32)}
        kinds |= {name: array.dtype for name, array in _arrays(log).items()}
        with ExitStack() as opened:
            files = {name: opened.enter_context((folder / f"{name}.raw").open("wb")) for name in kinds}
            for part in parts:
                places, known = _places(log, part, ranks)
                kept = ~known
                n_events += int(kept.sum())
                placed = {**part, "places": places, "late": _late(log, part)}
                for name, file in files.items():
                    file.write(np.ascontiguousarray(placed[name][kept], kinds[name]).data)
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.memmap(folder / f"{name}.raw", dtype, "r") if n_events else np.zeros(0, dtype)
            for name, dtype in kinds.items()
        }
        return cls(arrays, arrays.pop("late"))


def write_merged(
    log: Interactions, placed: Placed, folder: Path, *, n_users: int, n_items: int, behaviors: Mapping[str, float]
) -> Interactions:
    """Write the arrays of a log with further events in their places.

    Memory holds a block of events, and a number for each user.

    Args:
        log: The log.
        placed: The further events.
        folder: Where the arrays go.
        n_users: Number of users, the new ones among them.
        n_items: Number of items, likewise.
        behaviors: The names of all behaviours, by code, and what an event of each counts.
    """
    lengths = np.zeros(n_users, np.int64)
    lengths[: log.n_users] = np.diff(log.offsets)
    users = placed.arrays["users"]
    for start in range(0, len(users), _BLOCK):
        lengths += np.bincount(users[start : start + _BLOCK], minlength=n_users)
    offsets = np.zeros(n_users + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    np.save(folder / "offsets.npy", offsets)
    arrays = _arrays(log)
    with ExitStack() as opened:
        appends = {
            name: opened.enter_context(array_file(folder / f"{name}.npy", array.dtype.type, int(offsets[-1])))
            for name, array in arrays.items()
        }
        for old, new in _blocks(log.n_events, placed.arrays["places"]):
            places = placed.arrays["places"][new] - old.start
            for name, append in appends.items():
                append(np.insert(arrays[name][old], places, placed.arrays[name][new]))
    weighted = log.behavior_weights is not None
    return Interactions.load(
        folder,
        n_items=n_items,
        behavior_names=tuple(behaviors),
        behavior_weights=tuple(behaviors.values()) if weighted else None,
        timed=log.timed,
        optional=list(log.optional_arrays()),
    )


def _arrays(log: Interactions) -> dict[str, npt.NDArray[Any]]:
    plain: dict[str, npt.NDArray[Any]] = {
        "items": log.items,
        "behaviors": log.behaviors,
        "timestamps": log.timestamps,
    }
    return plain | log.optional_arrays()


def _places(log: Interactions, part: Part, ranks: npt.NDArray[np.int32]) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Return how many events of the log lie before each event, and whether it is one of them.

    All events are looked up at once, each within its user's, by halving.
    """
    users = np.minimum(part["users"], log.n_users)  # new users come after all that is there
    bounds = np.append(log.offsets, log.n_events)
    low, end = bounds[users], bounds[users + 1]
    high = end.copy()
    while (open_ := np.flatnonzero(low < high)).size:
        middle = (low[open_] + high[open_]) // 2
        before, _ = _compared(log, middle, part, open_, ranks)
        low[open_[before]] = middle[before] + 1
        high[open_[~before]] = middle[~before]
    known = np.zeros(len(users), np.bool_)
    inner = np.flatnonzero(low < end)
    known[inner] = _compared(log, low[inner], part, inner, ranks)[1]
    return low, known


def _compared(
    log: Interactions, places: Integers, part: Part, rows: Integers, ranks: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return whether the log's events at `places` come before those at `rows` of a part, or are the same."""
    before, equal = np.zeros(len(places), np.bool_), np.ones(len(places), np.bool_)
    for name in ("timestamps", "behaviors", "items", *log.optional_arrays()):
        there, here = _arrays(log)[name][places], part[name][rows]
        if name == "items":
            there, here = ranks[there], ranks[here]
        before |= equal & (there < here)
        equal &= there == here
    return before, equal


def _late(log: Interactions, part: Part) -> npt.NDArray[np.bool_]:
    old = part["users"] < log.n_users
    lasts = log.offsets[np.where(old, part["users"], 0) + 1] - 1  # every user of a prepared log has an event
    return np.asarray(old & (part["timestamps"] < log.timestamps[lasts]))


def _blocks(n_events: int, places: Integers) -> Iterator[tuple[slice, slice]]:
    """Cut old and further events together: yield the events of each piece, about a million of either at most."""
    old = new = 0
    while old < n_events or new < len(places):
        last = min(old + _BLOCK, n_events)
        after = int(np.searchsorted(places, last, side="left" if last < n_events else "right"))
        if after > new + _BLOCK:  # more than a block goes in: stop within, perhaps between two of one place
            after = new + _BLOCK
            last = int(places[after - 1])
        yield slice(old, last), slice(new, after)
        old, new = last, after
