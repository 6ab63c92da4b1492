"""Ranks and lists from dense scores, as most models give them: masked, compared, sorted, a row at a time."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled
from recdl.data.queries import Candidates, Queries
from recdl.errors import DataError
from recdl.models.best import best_of_line, workspace
from recdl.models.compiled import read_only
from recdl.models.protocol import Recommender
from recdl.threads import in_threads

# Sorting a row costs as much as comparing it with about this many targets (measured on 3,706 and 50,000 items).
_SORT_FROM = 256

Counts = npt.NDArray[np.int64]


class _Rules(NamedTuple):
    """What each query ranks.

    Attributes:
        others: (n_others,) int32, the items that are no candidates.
        starts: (n_queries,) int64, where the items begin that a query excludes, ...
        ends: ... where they end ...
        excluded: ... and flat int32, those of all of them, any number of times.
        given_offsets: (n_queries + 1,) int64, between which the only items lie that a query ranks; empty: all ...
        given: ... flat int32.
    """

    others: npt.NDArray[np.int32]
    starts: Counts
    ends: Counts
    excluded: npt.NDArray[np.int32]
    given_offsets: Counts
    given: npt.NDArray[np.int32]


class _Found(NamedTuple):
    """What is found of each query, written to in place.

    Attributes:
        items: (n_queries, k) int32, best first, equal scores by rising item; -1 where they run out.
        values: (n_queries, k) float32, their scores, `nan` there.
        offsets: (n_queries + 1,) int64, between which the targets of each query lie.
        targets: Flat int32.
        above: Flat int64, how many items that the query ranks have a higher score than the target ...
        equal: ... and how many the same, itself included; 0 where the target is not ranked.
        infinite: (n_queries,) bool, whether a score is no finite number.
        outside: (n_queries,) int32, an item beyond the catalogue that is to be excluded; -1: none.
    """

    items: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    offsets: Counts
    targets: npt.NDArray[np.int32]
    above: Counts
    equal: Counts
    infinite: npt.NDArray[np.bool_]
    outside: npt.NDArray[np.int32]


class DenseSearch:
    """Scores queries, puts at minus infinity what may not be recommended to them, and looks at the rest.

    Args:
        recommender: A fitted model.
        candidates: (n_items,) bool, items that may be recommended.
        exclude_history: Whether the items of a query's own history are taken out of them.
    """

    def __init__(self, recommender: Recommender, candidates: npt.NDArray[np.bool_], exclude_history: bool) -> None:
        self.recommender = recommender
        self.exclude_history = exclude_history
        self._n_items = len(candidates)
        self._others = np.flatnonzero(~candidates).astype(np.int32)

    def best(self, queries: Queries, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return (n_queries, min(k, n_items)) items, best first, and their scores; -1 and `nan` at the end.

        Raises:
            DataError: If the scores cannot be ranked, or a history that is excluded lies outside the catalogue.
        """
        found = self._found(queries, k, np.empty(0, np.int32), np.zeros(len(queries), np.int64), None)
        return found.items, found.values

    def rank(
        self,
        queries: Queries,
        k: int,
        targets: npt.NDArray[np.int32],
        counts: Counts,
        given: Candidates | None = None,
    ) -> tuple[npt.NDArray[np.int32], Counts, Counts]:
        """Return the items of `best`, and of each target how many items are above it, and equal to it.

        Args:
            queries: n queries.
            k: How many to list.
            targets: Flat, grouped by query.
            counts: (n,) targets of each query.
            given: The only items that each of them ranks; None ranks all.

        Raises:
            DataError: As `best`.
        """
        found = self._found(queries, k, targets, counts, given)
        return found.items, found.above, found.equal

    def _found(
        self,
        queries: Queries,
        k: int,
        targets: npt.NDArray[np.int32],
        counts: Counts,
        given: Candidates | None,
    ) -> _Found:
        scores, rules = self._scores(queries), self._rules(queries, given)
        n, width = len(queries), min(k, self._n_items)
        above, equal = np.zeros((2, len(targets)), np.int64)
        found = _Found(
            items=np.full((n, width), -1, np.int32),
            values=np.full((n, width), np.nan, np.float32),
            offsets=_offsets(counts),
            targets=np.require(targets, np.int32, ["C", "W"]),
            above=above,
            equal=equal,
            infinite=np.zeros(n, np.bool_),
            outside=np.full(n, -1, np.int32),
        )
        in_threads(lambda start, end: _find_in_rows(start, end, scores, rules, found), 1.0 + counts)
        if found.infinite.any():
            raise DataError(
                f"{type(self.recommender).__name__} gave NaN or infinite scores for {found.infinite.sum()} of {n} "
                "queries, which cannot be ranked; a learned model may have diverged: lower its learning rate"
            )
        if found.outside.max(initial=-1) >= 0:
            raise DataError(
                f"a history holds item {found.outside.max()}, but the catalogue has {self._n_items} items"
            )
        return found

    def _scores(self, queries: Queries) -> npt.NDArray[np.float32]:
        scores = self.recommender.score(queries)
        n_items, name = self._n_items, type(self.recommender).__name__
        if scores.dtype != np.float32 or scores.shape != (len(queries), n_items):
            raise DataError(
                f"{name} gave {scores.dtype} scores of shape {scores.shape} for {len(queries)} queries; a model "
                f"must give float32 of shape ({len(queries)}, {n_items})"
            )
        # A model may give a view it cannot have written to (one row for all): no loop is compiled for those.
        return np.require(scores, requirements=["C", "W"])

    def _rules(self, queries: Queries, given: Candidates | None) -> _Rules:
        nothing = np.empty(0, np.int32)
        starts = ends = np.zeros(len(queries), np.int64)
        excluded = nothing
        if self.exclude_history:
            starts, ends, excluded = queries.starts, queries.ends, queries.items
        given_offsets, given_items = np.empty(0, np.int64), nothing
        if given is not None:
            given_offsets, given_items = given.offsets, given.items
        return _Rules(
            self._others,
            np.require(starts, np.int64, ["C", "W"]),
            np.require(ends, np.int64, ["C", "W"]),
            read_only(excluded),
            np.require(given_offsets, np.int64, ["C", "W"]),
            np.require(given_items, np.int32, ["C", "W"]),
        )


def _offsets(lengths: Counts) -> Counts:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


@compiled
def _find_in_rows(start: int, end: int, scores: npt.NDArray[np.float32], rules: _Rules, found: _Found) -> None:
    n_items, among_given = scores.shape[1], len(rules.given_offsets) > 0
    space = workspace(n_items, found.items.shape[1])
    longest = 0
    for row in range(start, end):
        longest = max(longest, rules.ends[row] - rules.starts[row])
    taken = np.empty(len(rules.others) + longest, np.float32)
    given = np.full(n_items if among_given else 0, -np.inf, np.float32)
    for row in range(start, end):
        if not _all_finite(scores[row]):
            found.infinite[row] = True
            continue
        if among_given:
            for x in range(rules.given_offsets[row], rules.given_offsets[row + 1]):
                given[rules.given[x]] = scores[row, rules.given[x]]
        line = given if among_given else scores[row]
        n_taken = _take_out(row, rules, line, taken, found)
        best_of_line(line, found.values[row], found.items[row], space)
        first, last = found.offsets[row], found.offsets[row + 1]
        if last - first >= _SORT_FROM:
            _count_by_sorting(line, first, last, found)
        else:
            _count_by_comparing(line, first, last, found)
        if among_given:
            given[:] = -np.inf
        else:
            _put_back(row, rules, line, taken, n_taken)
        found.values[row] += np.float32(0)  # minus zero is zero


@compiled
def _all_finite(scores: npt.NDArray[np.float32]) -> bool:
    n_finite = 0
    for column in range(len(scores)):
        n_finite += abs(scores[column]) < np.inf
    return n_finite == len(scores)


@compiled
def _take_out(
    row: int, rules: _Rules, line: npt.NDArray[np.float32], taken: npt.NDArray[np.float32], found: _Found
) -> int:
    """Put minus infinity in the place of what a query does not rank; keep what stood there, and return how much.

    The scores are the model's own, which may keep them: `_put_back` restores them. To copy them all would take as
    long as to look for the best.
    """
    n_taken = 0
    for x in range(len(rules.others)):
        taken[n_taken] = line[rules.others[x]]
        line[rules.others[x]] = -np.inf
        n_taken += 1
    for x in range(rules.starts[row], rules.ends[row]):
        item = rules.excluded[x]
        if item >= len(line):
            found.outside[row] = item
            break
        taken[n_taken] = line[item]
        line[item] = -np.inf
        n_taken += 1
    return n_taken


@compiled
def _put_back(
    row: int, rules: _Rules, line: npt.NDArray[np.float32], taken: npt.NDArray[np.float32], n_taken: int
) -> None:
    """Undo `_take_out`, the last first: an item that was taken out twice gets what stood there the first time."""
    n_others = len(rules.others)
    for x in range(n_taken - 1, n_others - 1, -1):
        line[rules.excluded[rules.starts[row] + x - n_others]] = taken[x]
    for x in range(n_others - 1, -1, -1):
        line[rules.others[x]] = taken[x]


@compiled
def _count_by_comparing(line: npt.NDArray[np.float32], first: int, last: int, found: _Found) -> None:
    """Count by comparing the row with each target, cheap for few of them."""
    for place in range(first, last):
        item = found.targets[place]
        wanted = line[item] if item >= 0 else np.float32(-np.inf)
        above, equal = 0, 0
        if wanted > -np.inf:
            for column in range(len(line)):
                above += line[column] > wanted
                equal += line[column] == wanted
        found.above[place], found.equal[place] = above, equal


@compiled
def _count_by_sorting(line: npt.NDArray[np.float32], first: int, last: int, found: _Found) -> None:
    """Count by searching in the sorted row, cheap for many targets."""
    rising = np.sort(line)
    for place in range(first, last):
        item = found.targets[place]
        wanted = line[item] if item >= 0 else np.float32(-np.inf)
        if wanted > -np.inf:
            not_above = np.searchsorted(rising, wanted, side="right")
            found.above[place] = len(rising) - not_above
            found.equal[place] = not_above - np.searchsorted(rising, wanted, side="left")
