"""Ranks and lists from scores that are a product of two matrices, of which no more than a row is ever made."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled
from recdl.data.matrix import Sparse
from recdl.data.queries import Candidates, Queries
from recdl.errors import DataError
from recdl.models.compiled import Rows
from recdl.models.heap import N_BUCKETS, into_order, lower_bound, sift_down, sift_up, worse
from recdl.models.nearest import add_products, add_products_and_mark
from recdl.models.protocol import Factor, Factored
from recdl.models.sums import work_of
from recdl.threads import in_threads

_ALL_FROM = 4  # products an item from which on it is faster to go through all items than through those touched


class Rules(NamedTuple):
    """What may not be recommended.

    Attributes:
        candidates: (n_items,) bool.
        offsets: (n_queries + 1,) int64, between which the items lie that a query excludes ...
        excluded: ... flat int32, any number of times.
    """

    candidates: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    excluded: npt.NDArray[np.int32]


class Found(NamedTuple):
    """What is found of each query, written to in place.

    Attributes:
        items: (n_queries, k) int32, best first, equal scores by rising item; -1 where they run out.
        values: (n_queries, k) float32, their scores, `nan` there.
        offsets: (n_queries + 1,) int64, between which the targets of each query lie.
        targets: Flat int32.
        above: Flat int64, how many items that may be recommended have a higher score than the target ...
        equal: ... and how many the same, itself included; 0 where the target may not be recommended.
        infinite: (n_queries,) bool, whether a score is no finite number.
    """

    items: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int32]
    above: npt.NDArray[np.int64]
    equal: npt.NDArray[np.int64]
    infinite: npt.NDArray[np.bool_]


class FusedSearch:
    """Finds what `DenseSearch` finds, to the bit, in the scores of a model that gives their factors.

    Args:
        recommender: A fitted model.
        candidates: (n_items,) bool, items that may be recommended.
        exclude_history: Whether the items of a query's own history are taken out of them.
    """

    def __init__(self, recommender: Factored, candidates: npt.NDArray[np.bool_], exclude_history: bool) -> None:
        self._recommender = recommender
        self._candidates = np.require(candidates, np.bool_, ["C", "W"])
        self._exclude_history = exclude_history

    def best(self, queries: Queries, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return (n_queries, min(k, n_items)) items, best first, and their scores; -1 and `nan` at the end.

        Raises:
            DataError: If the scores cannot be ranked, or a history lies outside the catalogue.
        """
        found = self._found(queries, k, np.empty(0, np.int32), np.zeros(len(queries), np.int64))
        return found.items, found.values

    def rank(
        self,
        queries: Queries,
        k: int,
        targets: npt.NDArray[np.int32],
        counts: npt.NDArray[np.int64],
        given: Candidates | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the items of `best`, and of each target how many items are above it, and equal to it.

        Args:
            queries: n queries.
            k: How many to list.
            targets: Flat, grouped by query.
            counts: (n,) targets of each query.
            given: None; candidates of each query are left to `DenseSearch`.

        Raises:
            DataError: As `best`.
        """
        assert given is None, "candidates of each query are ranked by their dense scores"
        found = self._found(queries, k, targets, counts)
        return found.items, found.above, found.equal

    def _found(
        self, queries: Queries, k: int, targets: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
    ) -> Found:
        left, right = self._recommender.factors(queries)
        n, n_items, name = len(queries), len(self._candidates), type(self._recommender).__name__
        if (left.shape[0], right.shape[1]) != (n, n_items):
            raise DataError(
                f"{name} gave scores of shape ({left.shape[0]}, {right.shape[1]}) for {n} queries; a model must "
                f"give them of shape ({n}, {n_items})"
            )
        width = min(k, n_items)
        above, equal = np.zeros((2, len(targets)), np.int64)
        found = Found(
            items=np.full((n, width), -1, np.int32),
            values=np.full((n, width), np.nan, np.float32),
            offsets=_offsets(counts),
            targets=np.require(targets, np.int32, ["C", "W"]),
            above=above,
            equal=equal,
            infinite=np.zeros(n, np.bool_),
        )
        find(left, right, self._rules(queries), found)
        if found.infinite.any():
            raise DataError(
                f"{name} gave NaN or infinite scores for {found.infinite.sum()} of {n} queries, which cannot be "
                "ranked; weights or exponents in its settings may be too large"
            )
        return found

    def _rules(self, queries: Queries) -> Rules:
        if not self._exclude_history:
            return Rules(self._candidates, np.zeros(len(queries) + 1, np.int64), np.empty(0, np.int32))
        _, items = queries.history_items()
        if items.max(initial=-1) >= len(self._candidates):
            raise DataError(
                f"a history holds item {items.max()}, but the catalogue has {len(self._candidates)} items"
            )
        return Rules(self._candidates, _offsets(queries.lengths), np.require(items, np.int32, ["C", "W"]))


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def find(left: Sparse, right: Factor, rules: Rules, found: Found) -> None:
    """Fill `found` from the scores `left @ right`, of which each thread holds one row at a time.

    Args:
        left: (n_queries, m).
        right: (m, n_items). Products are summed in the order of the entries of `left`, in float64 if it is sparse
            and in float32 if it is dense: to the bit what `multiply` and `multiply_dense` give.
        rules: What may not be recommended.
        found: What is written to.
    """
    rows = Rows.of(left)
    if isinstance(right, np.ndarray):
        matrix = np.require(right, np.float32, ["C", "W"])
        in_threads(
            lambda start, end: _find_in_dense(start, end, rows, matrix, rules, found), 1.0 + np.diff(rows.offsets)
        )
        return
    columns = Rows.of(right)
    work = work_of(left, right) + len(rules.candidates) / _ALL_FROM
    in_threads(lambda start, end: _find_in_sparse(start, end, rows, columns, rules, found), work)


@compiled
def _find_in_sparse(start: int, end: int, left: Rows, right: Rows, rules: Rules, found: Found) -> None:
    n_items = len(rules.candidates)
    sums, seen = np.zeros(n_items, np.float64), np.zeros(n_items, np.bool_)
    allowed, n_candidates = rules.candidates.copy(), rules.candidates.sum()
    values, columns = np.empty(n_items, np.float32), np.empty(n_items + 1, np.int32)
    buckets = np.empty(N_BUCKETS, np.int32)
    for row in range(start, end):
        n_allowed = n_candidates - _forbid(row, rules, allowed)
        work = 0
        for x in range(left.offsets[row], left.offsets[row + 1]):
            work += right.offsets[left.indices[x] + 1] - right.offsets[left.indices[x]]
        if _ALL_FROM * work > n_items:
            add_products(row, left, right, sums)
            n_kept = _keep_all(row, sums, allowed, values, columns, found)
            _note(row, n_kept, 0, sums, allowed, seen, values, columns, buckets, found)
            sums[:] = 0
        else:
            n_touched = add_products_and_mark(row, left, right, sums, columns, seen)
            touched = columns[:n_touched].copy()
            n_kept = _keep_touched(row, sums, allowed, values, columns[:n_touched], found)
            _note(row, n_kept, n_allowed - n_kept, sums, allowed, seen, values, columns, buckets, found)
            for column in touched:
                sums[column] = 0
                seen[column] = False
        _allow(row, rules, allowed)


@compiled
def _find_in_dense(
    start: int, end: int, left: Rows, right: npt.NDArray[np.float32], rules: Rules, found: Found
) -> None:
    n_items = len(rules.candidates)
    sums, seen = np.zeros(n_items, np.float32), np.zeros(0, np.bool_)
    allowed = rules.candidates.copy()
    values, columns = np.empty(n_items, np.float32), np.empty(n_items + 1, np.int32)
    buckets = np.empty(N_BUCKETS, np.int32)
    for row in range(start, end):
        _forbid(row, rules, allowed)
        sums[:] = 0
        for x in range(left.offsets[row], left.offsets[row + 1]):
            weight = left.values[x]
            added = right[left.indices[x]]
            for column in range(n_items):
                sums[column] += weight * added[column]
        n_kept = _keep_all(row, sums, allowed, values, columns, found)
        _note(row, n_kept, 0, sums, allowed, seen, values, columns, buckets, found)
        _allow(row, rules, allowed)


@compiled
def _forbid(row: int, rules: Rules, allowed: npt.NDArray[np.bool_]) -> int:
    """Take what the query excludes out of `allowed`; return how many items that are."""
    n_forbidden = 0
    for place in range(rules.offsets[row], rules.offsets[row + 1]):
        n_forbidden += allowed[rules.excluded[place]]
        allowed[rules.excluded[place]] = False
    return n_forbidden


@compiled
def _allow(row: int, rules: Rules, allowed: npt.NDArray[np.bool_]) -> None:
    for place in range(rules.offsets[row], rules.offsets[row + 1]):
        allowed[rules.excluded[place]] = rules.candidates[rules.excluded[place]]


@compiled
def _keep_all(
    row: int,
    sums: npt.NDArray[Any],
    allowed: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int32],
    found: Found,
) -> int:
    """Set `values` and `columns` to the scores of the items that are allowed; return how many these are."""
    n_kept, n_finite = 0, 0
    for column in range(len(sums)):
        value = np.float32(sums[column])
        values[n_kept], columns[n_kept] = value, column  # without a branch, which could not be foreseen
        n_kept += int(allowed[column])
        n_finite += int(abs(value) < np.inf)
    found.infinite[row] = n_finite < len(sums)
    return n_kept


@compiled
def _keep_touched(
    row: int,
    sums: npt.NDArray[Any],
    allowed: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int32],
    found: Found,
) -> int:
    """As `_keep_all`, of the items that stand in `columns`."""
    n_kept, n_finite = 0, 0
    for place in range(len(columns)):
        column = columns[place]
        value = np.float32(sums[column])
        values[n_kept], columns[n_kept] = value, column
        n_kept += int(allowed[column])
        n_finite += int(abs(value) < np.inf)
    found.infinite[row] = n_finite < len(columns)
    return n_kept


@compiled
def _note(
    row: int,
    n_kept: int,
    n_others: int,
    sums: npt.NDArray[Any],
    allowed: npt.NDArray[np.bool_],
    seen: npt.NDArray[np.bool_],
    values: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int32],
    buckets: npt.NDArray[np.int32],
    found: Found,
) -> None:
    """Note the best of a row, and where its targets stand.

    Args:
        row: Which.
        n_kept: How many of `values` and `columns` are set: items that are allowed.
        n_others: How many other items are allowed; their scores are 0, and `seen` is false there.
        sums: (n_items,) the scores.
        allowed: (n_items,) what may be recommended to the query.
        seen: (n_items,), or empty if there are no others.
        values: Scores.
        columns: Items.
        buckets: (N_BUCKETS,), overwritten.
        found: What is written to.
    """
    for place in range(found.offsets[row], found.offsets[row + 1]):
        item = found.targets[place]
        if item < 0 or not allowed[item]:  # unknown, or masked
            found.above[place], found.equal[place] = 0, 0
            continue
        wanted = np.float32(sums[item])
        above = n_others if wanted < 0 else 0
        equal = n_others if wanted == 0 else 0
        for x in range(n_kept):
            above += values[x] > wanted
            equal += values[x] == wanted
        found.above[place], found.equal[place] = above, equal
    kept, places = found.values[row], found.items[row]
    count, floor = 0, lower_bound(values[:n_kept], len(kept), buckets)
    for x in range(n_kept):
        if values[x] < floor:  # nearly all are: they cost a comparison and no call
            continue
        count = _offer(values[x], columns[x], kept, places, count)
        if count == len(kept):
            floor = kept[0]
    item = 0
    while n_others > 0 and (count < len(kept) or worse(kept[0], places[0], 0.0, item)):
        if allowed[item] and not seen[item]:
            count = _offer(0.0, item, kept, places, count)
            n_others -= 1
        item += 1
    into_order(kept[:count], places[:count])
    for x in range(count):
        kept[x] += np.float32(0)  # minus zero is zero


@compiled
def _offer(
    value: float, item: int, kept: npt.NDArray[np.float32], places: npt.NDArray[np.int32], count: int
) -> int:
    """Put an item among the best, of which there are `count`, if it is one; return how many there are then."""
    if count < len(kept):
        kept[count], places[count] = value, item
        sift_up(kept, places, count)
        return count + 1
    if worse(kept[0], places[0], value, item):
        kept[0], places[0] = value, item
        sift_down(kept, places)
    return count
