"""Ranks and lists from dense scores, as most models give them: masked, compared, sorted, a row at a time."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.data.queries import Candidates, Queries
from recdl.errors import DataError
from recdl.models.best import best_of_line
from recdl.models.compiled import compiled, in_threads
from recdl.models.protocol import Recommender

# Sorting a row costs as much as comparing it with about this many targets (measured on 3,706 and 50,000 items).
_SORT_FROM = 256

Counts = npt.NDArray[np.int64]


class _Rules(NamedTuple):
    """What each query ranks.

    Attributes:
        bias: (n_items,) float32, 0 for a candidate and minus infinity for any other item.
        excluded_offsets: (n_queries + 1,) int64, between which the items lie that a query excludes ...
        excluded: ... flat int32, any number of times.
        given_offsets: (n_queries + 1,) int64, between which the only items lie that a query ranks; empty: all ...
        given: ... flat int32.
    """

    bias: npt.NDArray[np.float32]
    excluded_offsets: Counts
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
    """

    items: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    offsets: Counts
    targets: npt.NDArray[np.int32]
    above: Counts
    equal: Counts
    infinite: npt.NDArray[np.bool_]


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
        # Added to the scores it masks while they are copied, several times faster than a test for each.
        self._bias = np.where(candidates, np.float32(0), np.float32(-np.inf))

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
        n, width = len(queries), min(k, len(self._bias))
        above, equal = np.zeros((2, len(targets)), np.int64)
        found = _Found(
            items=np.full((n, width), -1, np.int32),
            values=np.full((n, width), np.nan, np.float32),
            offsets=_offsets(counts),
            targets=np.require(targets, np.int32, ["C", "W"]),
            above=above,
            equal=equal,
            infinite=np.zeros(n, np.bool_),
        )
        in_threads(lambda start, end: _find_in_rows(start, end, scores, rules, found), 1.0 + counts)
        if found.infinite.any():
            raise DataError(
                f"{type(self.recommender).__name__} gave NaN or infinite scores for {found.infinite.sum()} of {n} "
                "queries, which cannot be ranked; a learned model may have diverged: lower its learning rate"
            )
        return found

    def _scores(self, queries: Queries) -> npt.NDArray[np.float32]:
        scores = self.recommender.score(queries)
        n_items, name = len(self._bias), type(self.recommender).__name__
        if scores.dtype != np.float32 or scores.shape != (len(queries), n_items):
            raise DataError(
                f"{name} gave {scores.dtype} scores of shape {scores.shape} for {len(queries)} queries; a model "
                f"must give float32 of shape ({len(queries)}, {n_items})"
            )
        # A model may give a view it cannot have written to (one row for all): no loop is compiled for those.
        return np.require(scores, requirements=["C", "W"])

    def _rules(self, queries: Queries, given: Candidates | None) -> _Rules:
        nothing, n_items = np.empty(0, np.int32), len(self._bias)
        offsets, excluded = np.zeros(len(queries) + 1, np.int64), nothing
        if self.exclude_history:
            _, excluded = queries.history_items()
            offsets = _offsets(queries.lengths)
            if excluded.max(initial=-1) >= n_items:
                raise DataError(f"a history holds item {excluded.max()}, but the catalogue has {n_items} items")
        given_offsets, given_items = np.empty(0, np.int64), nothing
        if given is not None:
            given_offsets, given_items = given.offsets, given.items
        return _Rules(
            self._bias,
            offsets,
            np.require(excluded, np.int32, ["C", "W"]),
            np.require(given_offsets, np.int64, ["C", "W"]),
            np.require(given_items, np.int32, ["C", "W"]),
        )


def _offsets(lengths: Counts) -> Counts:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


@compiled
def _find_in_rows(start: int, end: int, scores: npt.NDArray[np.float32], rules: _Rules, found: _Found) -> None:
    line = np.empty(scores.shape[1], np.float32)
    for row in range(start, end):
        found.infinite[row] = _mask(row, scores[row], rules, line)
        best_of_line(line, found.values[row], found.items[row])
        first, last = found.offsets[row], found.offsets[row + 1]
        if last - first >= _SORT_FROM:
            _count_by_sorting(line, first, last, found)
        else:
            _count_by_comparing(line, first, last, found)


@compiled
def _mask(row: int, scores: npt.NDArray[np.float32], rules: _Rules, line: npt.NDArray[np.float32]) -> bool:
    """Copy the scores of a query into `line`, minus infinity where it does not rank an item.

    Returns:
        Whether one of them is no finite number.
    """
    n_finite = 0
    for column in range(len(line)):
        n_finite += abs(scores[column]) < np.inf
    if len(rules.given_offsets) > 0:
        line[:] = -np.inf
        for x in range(rules.given_offsets[row], rules.given_offsets[row + 1]):
            line[rules.given[x]] = scores[rules.given[x]] + rules.bias[rules.given[x]]
    else:
        for column in range(len(line)):
            line[column] = scores[column] + rules.bias[column]
    for x in range(rules.excluded_offsets[row], rules.excluded_offsets[row + 1]):
        line[rules.excluded[x]] = -np.inf
    return n_finite < len(line)


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
