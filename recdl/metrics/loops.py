"""Loops over lists and histories, compiled when they are first called; a query at a time."""

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled

_Floats = npt.NDArray[np.float64]
_Longs = npt.NDArray[np.int64]
_Items = npt.NDArray[np.int32]
_Words = npt.NDArray[np.uint64]


@compiled
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


@compiled
def add_similarities_of_bits(lists: _Items, offsets: _Longs, rows: _Items, bits: _Words, sums: _Floats) -> None:
    """As `add_similarities`, by what `set_bits` has made: what two sets share is counted 64 members at a time.

    Args:
        lists: (n_queries, length).
        offsets: (n_items + 1,), between which the members of each set lie.
        rows: (n_items,), which row of `bits` belongs to an item that stands in a list.
        bits: (n_rows, n_words).
        sums: (n_queries, length), written to.
    """
    for query in range(len(lists)):
        similarity = 0.0
        for place in range(lists.shape[1]):
            item = lists[query, place]
            if item >= 0 and offsets[item] < offsets[item + 1]:
                size = offsets[item + 1] - offsets[item]
                for before in range(place):
                    other = lists[query, before]
                    if other >= 0 and offsets[other] < offsets[other + 1]:
                        shared = _shared(bits[rows[item]], bits[rows[other]])
                        similarity += shared / np.sqrt(float(size) * (offsets[other + 1] - offsets[other]))
            sums[query, place] = similarity


@compiled
def set_bits(items: _Items, offsets: _Longs, members: _Items, bits: _Words) -> None:
    """Set in each row of `bits` (n, n_words), of zeros, the bits of the members that an item's set has.

    Args:
        items: (n,), whose sets.
        offsets: (n_items + 1,), between which the members of each set lie.
        members: Of all sets.
        bits: Written to.
    """
    for row in range(len(items)):
        for x in range(offsets[items[row]], offsets[items[row] + 1]):
            bits[row, members[x] >> 6] |= np.uint64(1) << np.uint64(members[x] & 63)


@compiled
def _shared(one: _Words, other: _Words) -> int:
    """Return how many bits both rows have, counted in all bytes of a word at once: several words at a time."""
    n = np.uint64(0)
    for x in range(len(one)):
        word = one[x] & other[x]
        word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
        word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
        word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        n += (word * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return int(n)


@compiled
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


@compiled
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
