"""Ranks and lists from dense scores, as most models give them: masked, compared, sorted."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from recdl.data.queries import Candidates, Queries
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import DataError
from recdl.models.best import best_of_rows
from recdl.models.protocol import Recommender

# Sorting a row costs as much as comparing it with about this many targets (measured on 3,706 and 50,000 items).
_SORT_FROM = 40

Counts = npt.NDArray[np.int64]
_Count = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class DenseSearch:
    """Scores queries, puts at minus infinity what may not be recommended to them, and looks at the rest.

    Args:
        recommender: A fitted model.
        candidates: (n_items,) bool, items that may be recommended.
        exclude_history: Whether the items of a query's own history are taken out of them.
        n_rows: How many queries there are at most at once.
    """

    def __init__(
        self, recommender: Recommender, candidates: npt.NDArray[np.bool_], exclude_history: bool, *, n_rows: int
    ) -> None:
        self.recommender = recommender
        self.exclude_history = exclude_history
        self.buffer = torch.empty(n_rows, len(candidates), dtype=torch.float32)
        self._marks: torch.Tensor | None = None
        # Added to the scores it masks while it copies, several times faster than filling where a mask is set.
        self._bias = torch.from_numpy(np.where(candidates, np.float32(0), np.float32(-np.inf)))

    def best(self, queries: Queries, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return (n_queries, min(k, n_items)) items, best first, and their scores; -1 and `nan` at the end.

        Raises:
            DataError: If the scores cannot be ranked, or a history that is excluded lies outside the catalogue.
        """
        return best_of_rows(self.scores(queries).numpy(), k)

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
            counts: (n,) targets of each query, not rising.
            given: The only items that each of them ranks; None ranks all.

        Raises:
            DataError: As `best`.
        """
        if self._marks is None:
            self._marks = torch.empty_like(self.buffer)
        scores = self.scores(queries, given)
        items, _ = best_of_rows(scores.numpy(), k)
        return items, *_count(scores, targets, counts, self._marks)

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
