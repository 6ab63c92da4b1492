"""Ranks and lists from the scores of any model: masking, ties, chunks and memory, written once for all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import Progress

from recdl.data.queries import Candidates, Queries, ragged_positions
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import DataError
from recdl.models.best import best_of_rows
from recdl.models.protocol import RankingTask, Recommender

MEMORY_BUDGET = 256 * 2**20

# Measured on 3,706 items: more at once leave the processor's cache, and fewer let threads wait for each other.
_MOST_QUERIES = 512
# Sorting a row costs as much as comparing it with about this many targets (measured on 3,706 and 50,000 items).
_SORT_FROM = 40
# What a chunk takes: the scores as the model gives them, made contiguous, masked; the marks of a comparison ...
_BYTES_PER_SCORE = 4 * 4
# ... and int64 indices with their temporaries, of a place in a list, a target, an event of an excluded history.
_BYTES_PER_PLACE = 64
_BYTES_PER_TARGET = 64
_BYTES_PER_EVENT = 40

Counts = npt.NDArray[np.int64]
_Count = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


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
        memory_budget: Bytes that a chunk may take, all arrays counted: the model's scores, their masked copy, the
            marks of a comparison, the lists, the targets and, where it is excluded, the history. A single query is
            ranked whatever it takes. On top come the result, and what the model itself allocates while it scores.
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
    costs = _costs(queries, task.candidates, k, task.exclude_history) + _BYTES_PER_TARGET * counts
    chunks = _chunks(costs, memory_budget)
    masking = _Masking(recommender, task.candidates, task.exclude_history, n_rows=_longest(chunks))
    marks = torch.empty_like(masking.buffer)
    lists = np.full((len(queries), k), -1, np.int32)
    above, equal = np.zeros((2, len(targets)), np.int64)
    with _progress(progress) as bar:
        for start, end in bar.track(chunks, description=f"ranking with {type(recommender).__name__}"):
            # Most targets first: the queries with a j-th target are then the first rows, for any j.
            rows = start + np.argsort(-counts[start:end], kind="stable")
            given = None if query_set.candidates is None else query_set.candidates.take(rows)
            scores = masking.scores(queries[rows], given)
            items, _ = best_of_rows(scores.numpy(), k)
            lists[rows, : items.shape[1]] = items
            places = ragged_positions(offsets[rows], offsets[rows + 1])
            above[places], equal[places] = _count(scores, targets[places], counts[rows], marks)
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
    chunks = _chunks(_costs(queries, candidates, k, exclude_history), memory_budget)
    masking = _Masking(recommender, candidates, exclude_history, n_rows=_longest(chunks))
    lists = np.full((len(queries), k), -1, np.int32)
    values = np.full((len(queries), k), np.nan, np.float32)
    for start, end in chunks:
        items, scores = best_of_rows(masking.scores(queries[start:end]).numpy(), k)
        lists[start:end, : items.shape[1]] = items
        values[start:end, : items.shape[1]] = scores
    return lists, values


class _Masking:
    """Scores queries and puts at minus infinity what may not be recommended to them."""

    def __init__(
        self, recommender: Recommender, candidates: npt.NDArray[np.bool_], exclude_history: bool, *, n_rows: int
    ) -> None:
        self.recommender = recommender
        self.exclude_history = exclude_history
        self.buffer = torch.empty(n_rows, len(candidates), dtype=torch.float32)
        # Added to the scores it masks while it copies, several times faster than filling where a mask is set.
        self._bias = torch.from_numpy(np.where(candidates, np.float32(0), np.float32(-np.inf)))

    def scores(self, queries: Queries, given: Candidates | None = None) -> torch.Tensor:
        """Return the (n_queries, n_items) scores in `buffer`: finite, or minus infinity where masked.

        Args:
            queries: Whom to score.
            given: The only items that each of them ranks; None ranks all.
        """
        scores = self.recommender.score(queries)
        n_items = self.buffer.shape[1]
        name = type(self.recommender).__name__
        if scores.dtype != np.float32 or scores.shape != (len(queries), n_items):
            raise DataError(
                f"{name} gave {scores.dtype} scores of shape {scores.shape} for {len(queries)} queries; a model "
                f"must give float32 of shape ({len(queries)}, {n_items})"
            )
        # A model may give a view it cannot have written to (one row for all): torch takes none of those.
        tensor = torch.from_numpy(np.require(scores, requirements=["C", "W"]))
        lowest, highest = torch.aminmax(tensor)
        if not (torch.isfinite(lowest) and torch.isfinite(highest)):
            wrong = int((~np.isfinite(scores)).any(axis=1).sum())
            raise DataError(
                f"{name} gave NaN or infinite scores for {wrong} of {len(queries)} queries, which cannot be "
                "ranked; a learned model may have diverged: lower its learning rate"
            )
        masked = torch.add(tensor, self._bias, out=self.buffer[: len(queries)])
        if given is not None:
            rows = np.repeat(np.arange(len(queries), dtype=np.int64), given.counts)
            places = torch.from_numpy(rows * n_items + given.items)
            kept = masked.view(-1)[places]
            masked.fill_(-torch.inf).view(-1)[places] = kept
        if self.exclude_history:
            rows, items = queries.history_items()
            if items.max(initial=-1) >= n_items:
                raise DataError(f"a history holds item {items.max()}, but the catalogue has {n_items} items")
            masked.view(-1).index_fill_(0, torch.from_numpy(rows * n_items + items), -torch.inf)
        return masked


def _check_request(queries: Queries, candidates: npt.NDArray[np.bool_], k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if not len(queries):
        raise DataError("there is no query to rank for; choose a split that leaves some")
    if not candidates.any():
        raise DataError("no item may be recommended: the candidates are empty; train on a log with events")


def _costs(queries: Queries, candidates: npt.NDArray[np.bool_], k: int, exclude_history: bool) -> Counts:
    """Bytes that each query takes in a chunk, without its targets."""
    fixed = _BYTES_PER_SCORE * len(candidates) + _BYTES_PER_PLACE * min(k + 1, len(candidates))
    return fixed + _BYTES_PER_EVENT * queries.lengths * exclude_history


def _chunks(costs: Counts, memory_budget: int) -> list[tuple[int, int]]:
    """Cut the queries into ranges that keep the budget, of one query at least."""
    spent = np.concatenate([np.zeros(1, np.int64), np.cumsum(costs)])
    chunks: list[tuple[int, int]] = []
    start = 0
    while start < len(costs):
        fits = int(np.searchsorted(spent, spent[start] + memory_budget, side="right")) - 1
        end = min(max(fits, start + 1), start + _MOST_QUERIES)
        chunks.append((start, end))
        start = end
    return chunks


def _longest(chunks: list[tuple[int, int]]) -> int:
    return max(end - start for start, end in chunks)


def _progress(wanted: bool) -> Progress:
    console = Console(stderr=True)
    shown = wanted and console.is_terminal  # in a file, what is wiped from a screen would stay as empty lines
    return Progress(console=console, transient=True, disable=not shown, auto_refresh=shown)


def _count(
    scores: torch.Tensor, targets: npt.NDArray[np.int32], counts: Counts, marks: torch.Tensor
) -> tuple[Counts, Counts]:
    """Count, for each target, the items strictly above it and those equal to it (itself included).

    Args:
        scores: (n_queries, n_items), minus infinity where masked.
        targets: Flat, grouped by query.
        counts: (n_queries,) targets of each query, not rising.
        marks: A float32 buffer of at least the shape of `scores`.

    Returns:
        Two flat int64 arrays aligned with `targets`; a masked or unknown target is equal to 0 items.
    """
    rows = np.repeat(np.arange(len(counts)), counts)
    wanted = scores[torch.from_numpy(rows), torch.from_numpy(targets.astype(np.int64))]
    wanted[torch.from_numpy(targets == UNKNOWN)] = -torch.inf  # -1 has read another item's score
    above, equal = torch.zeros((2, len(targets)), dtype=torch.int64)
    firsts = np.cumsum(counts) - counts
    n_sorted = int(np.searchsorted(-counts, -_SORT_FROM, side="right"))
    for part, count in (
        (slice(0, n_sorted), _by_sorting(scores[:n_sorted], marks)),
        (slice(n_sorted, len(counts)), _by_comparing(scores[n_sorted:], marks)),
    ):
        for slot in range(int(counts[part].max(initial=0))):
            n_rows = int(np.searchsorted(-counts[part], -slot, side="left"))
            places = torch.from_numpy(firsts[part][:n_rows] + slot)
            above[places], equal[places] = count(wanted[places, None])
    equal[torch.isneginf(wanted)] = 0
    return above.numpy(), equal.numpy()


def _by_comparing(scores: torch.Tensor, marks: torch.Tensor) -> _Count:
    """Count by comparing the first rows of `scores` with one wanted score each, cheap for few targets."""
    # Ones are written and summed as float32, ten times faster than as booleans, and exactly up to 2^24 of them.
    dtype = torch.float32 if scores.shape[1] <= 1 << 24 else torch.float64

    def count(wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, out = scores[: len(wanted)], marks[: len(wanted)]
        above = torch.gt(rows, wanted, out=out).sum(1, dtype=dtype).long()
        return above, torch.eq(rows, wanted, out=out).sum(1, dtype=dtype).long()

    return count


def _by_sorting(scores: torch.Tensor, marks: torch.Tensor) -> _Count:
    """Count by searching in sorted rows, cheap for many targets."""
    rising = marks[: len(scores)].copy_(scores)
    rising.numpy().sort(axis=1)

    def count(wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = rising[: len(wanted)]
        not_above = torch.searchsorted(rows, wanted, right=True)[:, 0]
        return rows.shape[1] - not_above, not_above - torch.searchsorted(rows, wanted)[:, 0]

    return count


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
