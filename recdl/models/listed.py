"""Ranks and lists of a recommender that names some items alone, as those do that are read from a file."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.data.queries import Candidates, Queries
from recdl.data.vocabulary import UNKNOWN
from recdl.models.protocol import Listed

Counts = npt.NDArray[np.int64]


class _Entries(NamedTuple):
    """The items of all lists, one after the other, as each stands in its own.

    Attributes:
        rows: (n,) int64, the query, not falling.
        items: (n,) int32.
        order: (n,) int64, how many stand before it in the list.
        above: (n,) int64, how many of a better place.
        equal: (n,) int64, how many of its own place, itself included.
    """

    rows: Counts
    items: npt.NDArray[np.int32]
    order: Counts
    above: Counts
    equal: Counts


class ListedSearch:
    """Ranks targets by the place that a list gives them; what it does not name is a miss.

    What the protocol takes out (the history, or all but given candidates) is taken out of the lists, and what
    follows moves up, as with any model. An item that is no candidate, or that the log does not hold, keeps its
    place: it was recommended, and is a miss.

    Args:
        recommender: Names items.
        candidates: (n_items,) bool, items that may be recommended.
        exclude_history: Whether the items of a query's own history are taken out of its list.
    """

    def __init__(self, recommender: Listed, candidates: npt.NDArray[np.bool_], exclude_history: bool) -> None:
        self.recommender = recommender
        self.candidates = candidates
        self.exclude_history = exclude_history

    def best(self, queries: Queries, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return (n_queries, k) items, best first, and minus their order as scores; -1 and `nan` where none is."""
        items = self._shown(self._entries(queries, None), len(queries), k)
        scores = np.broadcast_to(-np.arange(k, dtype=np.float32), items.shape)
        return items, np.where(items == UNKNOWN, np.float32(np.nan), scores)

    def rank(
        self,
        queries: Queries,
        k: int,
        targets: npt.NDArray[np.int32],
        counts: Counts,
        given: Candidates | None = None,
    ) -> tuple[npt.NDArray[np.int32], Counts, Counts]:
        """Return the items of `best`, and of each target how many items are above it, and of its place.

        Args:
            queries: n queries.
            k: How many to list.
            targets: Flat, grouped by query.
            counts: (n,) targets of each query.
            given: The only items that each of them ranks; None ranks all.
        """
        entries = self._entries(queries, given)
        n_items = len(self.candidates)
        known = np.flatnonzero((entries.items != UNKNOWN) & self.candidates[entries.items])
        keys = entries.rows[known] * n_items + entries.items[known]
        order = np.argsort(keys)
        wanted = np.repeat(np.arange(len(queries)), counts) * n_items + targets
        above, equal = np.zeros((2, len(targets)), np.int64)
        if len(keys):
            found = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
            hit = (keys[order[found]] == wanted) & (targets != UNKNOWN)
            places = known[order[found[hit]]]
            above[hit], equal[hit] = entries.above[places], entries.equal[places]
        return self._shown(entries, len(queries), k), above, equal

    def _entries(self, queries: Queries, given: Candidates | None) -> _Entries:
        offsets, items, places = self.recommender.lists(queries)
        rows = np.repeat(np.arange(len(queries), dtype=np.int64), np.diff(offsets))
        n_items = len(self.candidates)
        kept = np.ones(len(items), np.bool_)
        if self.exclude_history:
            had_rows, had = queries.history_items()
            kept &= ~np.isin(rows * n_items + items, had_rows * n_items + had) | (items == UNKNOWN)
        if given is not None:
            given_rows = np.repeat(np.arange(len(queries), dtype=np.int64), given.counts)
            kept &= np.isin(rows * n_items + items, given_rows * n_items + given.items) & (items != UNKNOWN)
        rows, items, places = rows[kept], items[kept], places[kept]
        # Within a place by rising item, as equal scores are listed.
        sort = np.lexsort((items, places, rows))
        rows, items, places = rows[sort], items[sort], places[sort]
        firsts = np.searchsorted(rows, np.arange(len(queries)))
        order = np.arange(len(rows)) - firsts[rows]
        starts = np.ones(len(rows), np.bool_)
        starts[1:] = (np.diff(rows) != 0) | (np.diff(places) != 0)
        groups = np.flatnonzero(starts)
        sizes = np.diff(np.append(groups, len(rows)))
        return _Entries(rows, items, order, np.repeat(order[groups], sizes), np.repeat(sizes, sizes))

    def _shown(self, entries: _Entries, n_queries: int, k: int) -> npt.NDArray[np.int32]:
        lists = np.full((n_queries, k), UNKNOWN, np.int32)
        shown = (entries.order < k) & (entries.items != UNKNOWN)
        shown[shown] &= self.candidates[entries.items[shown]]
        lists[entries.rows[shown], entries.order[shown]] = entries.items[shown]
        return lists
