"""Encoded events put into the order of a log, in memory: grouped by user, then sorted by all they hold."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled
from recdl.data.queries import ragged_positions
from recdl.threads import in_threads

_Bytes = npt.NDArray[np.int8]
_Ints = npt.NDArray[np.int32]
_Longs = npt.NDArray[np.int64]


class Events(NamedTuple):
    """Events in any order.

    Attributes:
        users: (n_events,) int32.
        items: (n_events,) int32.
        behaviors: (n_events,) int8.
        timestamps: (n_events,) int64.
    """

    users: _Ints
    items: _Ints
    behaviors: _Bytes
    timestamps: _Longs


class Grouped(NamedTuple):
    """Events as `recdl.data.interactions.Interactions` has them.

    Attributes:
        offsets: (n_users + 1,) int64.
        items: (n_events,) int32.
        behaviors: (n_events,) int8.
        timestamps: (n_events,) int64.
    """

    offsets: _Longs
    items: _Ints
    behaviors: _Bytes
    timestamps: _Longs


def sort_events(pieces: Iterable[Events], lengths: _Longs) -> Grouped:
    """Group events by user, sort those of each by time, behaviour and item, and leave out exact duplicates.

    Users are put in their places by counting, so that only the events of one user are compared with each other.

    Args:
        pieces: All events, in any order.
        lengths: (n_users,) int64, how many of them each user has.
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    n_events = int(offsets[-1])
    arrays = np.empty(n_events, np.int32), np.empty(n_events, np.int8), np.empty(n_events, np.int64)
    places = offsets[:-1].copy()
    for piece in pieces:
        _group(*piece, places, *arrays)
    distinct = lengths.copy()
    in_threads(lambda first, last: _sort(offsets, *arrays, distinct, first, last), lengths.astype(np.float64))
    grouped = Grouped(offsets, *arrays)
    if (distinct == lengths).all():
        return grouped
    kept = ragged_positions(offsets[:-1], offsets[:-1] + distinct)
    np.cumsum(distinct, out=offsets[1:])
    return Grouped(offsets, grouped.items[kept], grouped.behaviors[kept], grouped.timestamps[kept])


@compiled
def _group(
    users: _Ints,
    items: _Ints,
    behaviors: _Bytes,
    timestamps: _Longs,
    places: _Longs,
    grouped_items: _Ints,
    grouped_behaviors: _Bytes,
    grouped_timestamps: _Longs,
) -> None:
    """Write events to the next places of their users."""
    for event in range(len(users)):
        place = places[users[event]]
        places[users[event]] = place + 1
        grouped_items[place] = items[event]
        grouped_behaviors[place] = behaviors[event]
        grouped_timestamps[place] = timestamps[event]


@compiled
def _sort(
    offsets: _Longs,
    items: _Ints,
    behaviors: _Bytes,
    timestamps: _Longs,
    distinct: _Longs,
    first: int,
    last: int,
) -> None:
    """Sort the events of users `first` to `last`, and bring the distinct ones to the front; count those."""
    for user in range(first, last):
        own = slice(offsets[user], offsets[user + 1])
        own_items, own_behaviors, own_times = items[own], behaviors[own], timestamps[own]
        rises = True
        for event in range(1, len(own_times)):
            rises = rises and own_times[event - 1] <= own_times[event]
        if not rises:
            order = np.argsort(own_times)
            own_items[:], own_behaviors[:] = own_items[order], own_behaviors[order]
            own_times[:] = own_times[order]
        start, n_distinct = 0, 0
        while start < len(own_times):
            time, end = own_times[start], start + 1
            while end < len(own_times) and own_times[end] == time:
                end += 1
            if end - start > 1:
                _sort_moment(own_items[start:end], own_behaviors[start:end])
            for event in range(start, end):
                previous = n_distinct - 1
                if (
                    event > start
                    and own_items[event] == own_items[previous]
                    and own_behaviors[event] == own_behaviors[previous]
                ):
                    continue
                own_items[n_distinct], own_behaviors[n_distinct] = own_items[event], own_behaviors[event]
                own_times[n_distinct] = time
                n_distinct += 1
            start = end
        distinct[user] = n_distinct


@compiled
def _sort_moment(items: _Ints, behaviors: _Bytes) -> None:
    """Sort events of one moment by behaviour and item, both taken together as one number."""
    keys = (behaviors.astype(np.int64) << 32) | items.astype(np.int64)
    keys.sort()
    for event in range(len(keys)):
        items[event] = keys[event] & 0x7FFFFFFF
        behaviors[event] = keys[event] >> 32
