"""Loops over lists and histories, compiled when they are first called; a query at a time."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

_Loop = TypeVar("_Loop", bound=Callable[..., Any])
_Floats = npt.NDArray[np.float64]
_Longs = npt.NDArray[np.int64]
_Items = npt.NDArray[np.int32]


def _compiled(loop: _Loop) -> _Loop:
    return cast(_Loop, numba.njit(nogil=True, cache=True, error_model="numpy")(loop))


@_compiled
def mark_repeated(
    lists: _Items, starts: _Longs, ends: _Longs, items: _Items, n_items: int, found: npt.NDArray[np.bool_]
) -> None:
    """Set `found` (n_queries, length) where an item of a list stands in its query's history."""
    last = np.full(n_items, -1, np.int64)  # the last query that had the item
    for query in range(len(lists)):
        for event in range(starts[query], ends[query]):
            last[items[event]] = query
        for place in range(lists.shape[1]):
            item = lists[query, place]
            found[query, place] = item >= 0 and last[item] == query


@_compiled
def add_similarities(lists: _Items, offsets: _Longs, members: _Items, n_members: int, sums: _Floats) -> None:
    """Set `sums` (n_queries, length) to the cosines of all pairs among the first items of each list.

    The cosines of an item with those before it are its product with their sum.
    """
    total = np.zeros(n_members, np.float64)
    for query in range(len(lists)):
        similarity = 0.0
        for place in range(lists.shape[1]):
            item = lists[query, place]
            if item >= 0 and offsets[item] < offsets[item + 1]:
                own = 1.0 / np.sqrt(offsets[item + 1] - offsets[item])
                product = 0.0
                for x in range(offsets[item], offsets[item + 1]):
                    product += total[members[x]]
                    total[members[x]] += own
                similarity += own * product
            sums[query, place] = similarity
        for place in range(lists.shape[1]):
            item = lists[query, place]
            if item >= 0:
                for x in range(offsets[item], offsets[item + 1]):
                    total[members[x]] = 0.0


@_compiled
def add_divergences(
    lists: _Items,
    starts: _Longs,
    ends: _Longs,
    events: _Items,
    offsets: _Longs,
    members: _Items,
    n_members: int,
    smoothing: float,
    found: _Floats,
) -> None:
    """Set `found` (n_queries, length) to how far the first items of a list are from the mix of the history."""
    wanted, shown = np.zeros(n_members, np.float64), np.zeros(n_members, np.float64)
    known = np.empty(n_members, np.int32)  # the categories of the history
    for query in range(len(lists)):
        n_known, weight = 0, 0.0
        for event in range(starts[query], ends[query]):
            item = events[event]
            size = offsets[item + 1] - offsets[item]
            weight += size > 0
            for x in range(offsets[item], offsets[item + 1]):
                if wanted[members[x]] == 0.0:
                    known[n_known] = members[x]
                    n_known += 1
                wanted[members[x]] += 1.0 / size
        n_shown = 0.0
        for place in range(lists.shape[1]):
            item = lists[query, place]
            if item >= 0:
                size = offsets[item + 1] - offsets[item]
                n_shown += size > 0
                for x in range(offsets[item], offsets[item + 1]):
                    shown[members[x]] += 1.0 / size
            divergence = 0.0
            for x in range(n_known):
                p = wanted[known[x]] / weight
                q = shown[known[x]] / max(n_shown, 1.0)
                divergence += p * np.log(p / ((1.0 - smoothing) * q + smoothing * p))
            found[query, place] = divergence
        for x in range(n_known):
            wanted[known[x]] = 0.0
        for place in range(lists.shape[1]):
            item = lists[query, place]
            if item >= 0:
                for x in range(offsets[item], offsets[item + 1]):
                    shown[members[x]] = 0.0
