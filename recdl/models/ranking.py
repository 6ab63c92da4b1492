"""Ranks and lists from the scores of any model: masking, ties, chunks and memory, written once for all."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from recdl.compiling import compiled
from recdl.data.queries import Candidates, Queries
from recdl.errors import DataError
from recdl.models.compiled import read_only
from recdl.models.dense import DenseSearch
from recdl.models.fused import FusedSearch
from recdl.models.listed import ListedSearch
from recdl.models.protocol import Factored, Listed, RankingTask, Recommender

MEMORY_BUDGET = 256 * 2**20

# Queries of a chunk, measured on 3,706 and 50,000 items: 4 MiB of scores stay in the processor's cache, but a
# product with fewer than 160 queries takes longer; and what a model keeps of each query should not add up.
_CACHED_SCORES = 2**20
_WORTHWHILE_QUERIES = 160
_MOST_QUERIES = 512
# 30 MiB of scores: of arrays above 32 MiB glibc asks the system for each anew, page by page, which on 50,000 items
# took a quarter of the ranking.
_MOST_SCORES = 30 * 2**18
_MOST_FACTORED = 2048  # queries whose scores are never made; their histories are
# What a chunk takes: the scores as the model gives them, and made contiguous ...
_BYTES_PER_SCORE = 2 * 4
# ... and int64 indices with their temporaries, of a place in a list, a target, an event of an excluded history.
_BYTES_PER_PLACE = 64
_BYTES_PER_TARGET = 64
_BYTES_PER_EVENT = 40

Counts = npt.NDArray[np.int64]


class _Search(Protocol):
    """What ranks a chunk of queries; see `DenseSearch`."""

    def best(self, queries: Queries, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]: ...

    def rank(
        self,
        queries: Queries,
        k: int,
        targets: npt.NDArray[np.int32],
        counts: Counts,
        given: Candidates | None = None,
    ) -> tuple[npt.NDArray[np.int32], Counts, Counts]: ...


@dataclass(frozen=True, eq=False)
class Ranking:
    """Where the targets of each query stand, and what stands before them.

    Attributes:
        ranks: (n_targets,) float64, aligned with `QuerySet.target_items`; 1 is the best, `inf` a target that is no
            candidate, or that the log does not hold. Among equal scores a target has its expected position when
            ties are broken at random: of t targets among e items of one score, below g better items, the j-th in
            item order has rank g + j (e + 1) / (t + 1).
        lists: (n_queries, k) int32 item indices, best first, equal scores by rising item index; -1 where the
            candidates run out.
    """

    ranks: npt.NDArray[np.float64]
    lists: npt.NDArray[np.int32]


def rank(
    recommender: Recommender,
    task: RankingTask,
    *,
    k: int,
    memory_budget: int = MEMORY_BUDGET,
    progress: bool = False,
) -> Ranking:
    """Rank every target exactly among all candidates, and list the `k` best candidates of each query.

    A query set with candidates of its own ranks, for each query, these alone.

    One pass over the queries, a chunk at a time. Given equal scores, the result is the same to the bit for chunks
    of any size.

    Args:
        recommender: A fitted model.
        task: Whom to rank for, among what, by which rules.
        k: Length of the lists; more than there are candidates is allowed.
        memory_budget: Bytes that a chunk may take, all arrays counted: the model's scores and a copy of them, the
            lists, the targets and, where it is excluded, the history; a row for each thread apart. The scores of a
            `Factored` model are never made, and not counted. A single query is ranked whatever it takes. On top
            come the result, and what the model itself allocates while it scores.
        progress: Whether to show a progress bar on standard error, if that is a terminal.

    Raises:
        DataError: If there is no query or no candidate, if a query names an item outside the catalogue, or if the
            scores of the model are not finite float32 of shape (n_queries, n_items).
    """
    query_set = task.query_set
    queries, offsets, counts = query_set.queries, query_set.target_offsets, query_set.target_counts
    targets = query_set.target_items
    _check_request(queries, task.candidates, k)
    if targets.max() >= len(task.candidates):
        raise DataError(f"a target is item {targets.max()}, but the catalogue has {len(task.candidates)} items")
    # Of candidates that are given, so few are ranked that nothing is gained by not making all scores.
    factored = recommender if isinstance(recommender, Factored) and query_set.candidates is None else None
    costs = _costs(queries, task.candidates, k, task.exclude_history, fused=factored is not None)
    most = _most_queries(len(task.candidates), fused=factored is not None)
    chunks = _chunks(costs + _BYTES_PER_TARGET * counts, memory_budget, most)
    search = _search(recommender, factored, task.candidates, task.exclude_history)
    lists = np.full((len(queries), k), -1, np.int32)
    above, equal = np.zeros((2, len(targets)), np.int64)
    with _progress(progress) as bar:
        for start, end in bar.track(chunks, description=f"ranking with {type(recommender).__name__}"):
            places = slice(offsets[start], offsets[end])
            given = None if query_set.candidates is None else query_set.candidates.take(np.arange(start, end))
            items, above[places], equal[places] = search.rank(
                queries[start:end], k, targets[places], counts[start:end], given
            )
            lists[start:end, : items.shape[1]] = items
    return Ranking(_expected_positions(above, equal, offsets), lists)


def recommend(
    recommender: Recommender,
    queries: Queries,
    *,
    k: int,
    candidates: npt.NDArray[np.bool_],
    exclude_history: bool,
    memory_budget: int = MEMORY_BUDGET,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """List the `k` best candidates of each query, just as `rank` does.

    Args:
        recommender: A fitted model.
        queries: Whom to recommend to.
        k: Length of the lists.
        candidates: (n_items,) bool, items that may be recommended.
        exclude_history: Whether the items of a query's own history are taken out of its candidates.
        memory_budget: Bytes that a chunk may take, counted as in `rank`.

    Returns:
        (n_queries, k) int32 item indices, best first, equal scores by rising item index, -1 where the candidates
        run out; and their (n_queries, k) float32 scores, `nan` there.

    Raises:
        DataError: As `rank`.
    """
    _check_request(queries, candidates, k)
    factored = recommender if isinstance(recommender, Factored) else None
    costs = _costs(queries, candidates, k, exclude_history, fused=factored is not None)
    chunks = _chunks(costs, memory_budget, _most_queries(len(candidates), fused=factored is not None))
    search = _search(recommender, factored, candidates, exclude_history)
    lists = np.full((len(queries), k), -1, np.int32)
    values = np.full((len(queries), k), np.nan, np.float32)
    for start, end in chunks:
        items, scores = search.best(queries[start:end], k)
        lists[start:end, : items.shape[1]] = items
        values[start:end, : items.shape[1]] = scores
    return lists, values


def count_ranked(task: RankingTask) -> Counts:
    """Return (n_queries,) int64, how many items each query ranks, without those that its history takes out."""
    queries, given, allowed = task.query_set.queries, task.query_set.candidates, task.candidates
    counts = np.full(len(queries), np.count_nonzero(allowed), np.int64)
    if given is not None:
        within = np.concatenate([np.zeros(1, np.int64), np.cumsum(allowed[given.items], dtype=np.int64)])
        counts[:] = within[given.offsets[1:]] - within[given.offsets[:-1]]
    if task.exclude_history:
        among = (np.empty(0, np.int64), np.empty(0, np.int32)) if given is None else (given.offsets, given.items)
        _take_off(queries.starts, queries.ends, read_only(queries.items), allowed, *among, counts)
    return counts


@compiled
def _take_off(
    starts: Counts,
    ends: Counts,
    items: npt.NDArray[np.int32],
    allowed: npt.NDArray[np.bool_],
    given_offsets: Counts,
    given: npt.NDArray[np.int32],
    counts: Counts,
) -> None:
    """Take from `counts` the distinct items of each query's history that it would rank."""
    last = np.full(len(allowed), -1, np.int64)  # the last query by which an item was given; or had, if none is
    for query in range(len(starts)):
        if len(given_offsets):
            last[given[given_offsets[query] : given_offsets[query + 1]]] = query
        for event in range(starts[query], ends[query]):
            item = items[event]
            if item >= len(allowed) or not allowed[item]:
                continue
            if len(given_offsets):
                counts[query] -= last[item] == query
                last[item] = -1
            else:
                counts[query] -= last[item] != query
                last[item] = query


def _check_request(queries: Queries, candidates: npt.NDArray[np.bool_], k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if not len(queries):
        raise DataError("there is no query to rank for; choose a split that leaves some")
    if not candidates.any():
        raise DataError("no item may be recommended: the candidates are empty; train on a log with events")


def _costs(
    queries: Queries, candidates: npt.NDArray[np.bool_], k: int, exclude_history: bool, *, fused: bool
) -> Counts:
    """Bytes that each query takes in a chunk, without its targets."""
    fixed = _BYTES_PER_SCORE * len(candidates) * (not fused) + _BYTES_PER_PLACE * min(k + 1, len(candidates))
    costs: Counts = fixed + _BYTES_PER_EVENT * queries.lengths * (exclude_history or fused)
    return costs


def _most_queries(n_items: int, *, fused: bool) -> int:
    if fused:
        return _MOST_FACTORED
    wanted = max(_WORTHWHILE_QUERIES, _CACHED_SCORES // n_items)
    return max(1, min(wanted, _MOST_QUERIES, _MOST_SCORES // n_items))


def _chunks(costs: Counts, memory_budget: int, most_queries: int) -> list[tuple[int, int]]:
    """Cut the queries into ranges that keep the budget, of one query at least."""
    spent = np.concatenate([np.zeros(1, np.int64), np.cumsum(costs)])
    chunks: list[tuple[int, int]] = []
    start = 0
    while start < len(costs):
        fits = int(np.searchsorted(spent, spent[start] + memory_budget, side="right")) - 1
        end = min(max(fits, start + 1), start + most_queries)
        chunks.append((start, end))
        start = end
    return chunks


def _search(
    recommender: Recommender,
    factored: Factored | None,
    candidates: npt.NDArray[np.bool_],
    exclude_history: bool,
) -> _Search:
    if isinstance(recommender, Listed):
        return ListedSearch(recommender, candidates, exclude_history)
    if factored is not None:
        return FusedSearch(factored, candidates, exclude_history)
    return DenseSearch(recommender, candidates, exclude_history)


def _progress(wanted: bool) -> Progress:
    console = Console(stderr=True)
    shown = wanted and console.is_terminal  # in a file, what is wiped from a screen would stay as empty lines
    return Progress(console=console, transient=True, disable=not shown, auto_refresh=shown)


def _expected_positions(above: Counts, equal: Counts, offsets: Counts) -> npt.NDArray[np.float64]:
    """Turn the counts of each target into its rank by the rule of `Ranking`; those equal to 0 items get `inf`."""
    ranks = np.full(len(above), np.inf)
    ranked = np.flatnonzero(equal)
    rows = np.searchsorted(offsets, ranked, side="right") - 1
    order = np.lexsort((above[ranked], rows))  # stable: by item within a tie
    rows, ranked = rows[order], ranked[order]
    # Within a query two targets have equal scores exactly if as many items are above both.
    starts = np.ones(len(ranked), np.bool_)
    starts[1:] = (np.diff(rows) != 0) | (np.diff(above[ranked]) != 0)
    firsts = np.flatnonzero(starts)
    tied = np.diff(np.append(firsts, len(ranked)))
    positions = np.arange(1, len(ranked) + 1) - np.repeat(firsts, tied)
    ranks[ranked] = above[ranked] + positions * (equal[ranked] + 1) / (np.repeat(tied, tied) + 1)
    return ranks
