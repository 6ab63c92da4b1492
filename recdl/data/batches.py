"""What a training step is fed: pairs with negatives, and windows of histories, cut from the flat arrays."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from recdl.data.interactions import Interactions
from recdl.data.queries import ragged_positions
from recdl.data.sampling import Negatives, Positives
from recdl.errors import DataError

_BATCHES_PER_CALL = 8
_CALLS_PER_DRAW = 8
_BATCHES_PER_POOL = 64


class PairBatch(NamedTuple):
    """Positives with their negatives, for one or several optimizer steps.

    Attributes:
        users: (n,) int64.
        items: (n, 1 + n_negatives) int64; the positive first.
        weights: (n,) float32, of the positives.
    """

    users: torch.Tensor
    items: torch.Tensor
    weights: torch.Tensor


class PairBatches:
    """One epoch of shuffled positive pairs, each with negatives drawn anew.

    Several batches come at once, to be split into steps of `batch_size`; the last, smaller one is kept. What an
    epoch holds depends on `seed` and `epoch` alone.

    Args:
        positives: What to learn from.
        negatives: What to set against it.
        batch_size: Positives an optimizer step.
        seed: Of the shuffle and the negatives.
    """

    def __init__(self, positives: Positives, negatives: Negatives, *, batch_size: int, seed: int) -> None:
        self._users, self._items, self._weights = positives.users, positives.items, positives.weights
        self._sampler = negatives.sampler(positives.known, positives.popularity)
        self._negatives = negatives
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0

    @property
    def n_steps(self) -> int:
        """Optimizer steps an epoch."""
        return -(-len(self._users) // self._batch_size)

    def __len__(self) -> int:
        return -(-self.n_steps // _BATCHES_PER_CALL)

    def __iter__(self) -> Iterator[PairBatch]:
        generator = np.random.default_rng((self._seed, self.epoch))
        order = generator.permutation(len(self._users))
        call = self._batch_size * _BATCHES_PER_CALL
        draw = call * _CALLS_PER_DRAW
        for start in range(0, len(order), draw):
            rows = order[start : start + draw]
            drawn = [self._draw(part, generator) for part in self._pools(rows)]
            items = np.concatenate([self._items[rows][:, None], np.concatenate(drawn)], axis=1)
            users = torch.from_numpy(self._users[rows].astype(np.int64))
            all_items = torch.from_numpy(items.astype(np.int64))
            weights = torch.from_numpy(self._weights[rows])
            for first in range(0, len(rows), call):
                batch = slice(first, first + call)
                yield PairBatch(users[batch], all_items[batch], weights[batch])

    def _pools(self, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Return the rows that draw at once: all of them, or those of a batch where it is what they draw from."""
        if self._negatives.source != "batch":
            return [rows]
        return np.split(rows, range(self._batch_size, len(rows), self._batch_size))

    def _draw(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.int32]:
        pool = self._items[rows] if self._negatives.source == "batch" else None
        return self._sampler.sample(self._users[rows], self._negatives.n, generator, pool=pool)


class RowBatch(NamedTuple):
    """Users with all that they have, set against the catalogue or a draw from it.

    Attributes:
        users: (batch,) int64.
        rows: (n_pairs,) int64, not falling: the position in `users` of each pair.
        items: (n_pairs,) int64.
        weights: (n_pairs,) float32.
        negatives: (m,) int64, items drawn with repetition, for all users; None: the whole catalogue.
        log_expected_count: (m,) float32, log(m q) of each draw.
        held: (batch, m) bool, draws that are no negatives of a user, since it has them.
    """

    users: torch.Tensor
    rows: torch.Tensor
    items: torch.Tensor
    weights: torch.Tensor
    negatives: torch.Tensor | None = None
    log_expected_count: torch.Tensor | None = None
    held: torch.Tensor | None = None


class RowBatches:
    """One epoch of shuffled users, each with all its positives: a step a batch. The last, smaller one is kept.

    What an epoch holds depends on `seed` and `epoch` alone.

    Args:
        positives: What to learn from.
        negatives: What to set against it; None: the whole catalogue.
        batch_size: Users a batch.
        seed: Of the shuffle and the negatives.
    """

    def __init__(self, positives: Positives, negatives: Negatives | None, *, batch_size: int, seed: int) -> None:
        self._positives = positives
        self._users, self._starts, self._counts = np.unique(positives.users, return_index=True, return_counts=True)
        self._negatives = negatives
        self._sampler = None if negatives is None else negatives.sampler(positives.known, positives.popularity)
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0

    @property
    def n_steps(self) -> int:
        """Optimizer steps an epoch."""
        return len(self)

    def __len__(self) -> int:
        return -(-len(self._users) // self._batch_size)

    def __iter__(self) -> Iterator[RowBatch]:
        generator = np.random.default_rng((self._seed, self.epoch))
        order = generator.permutation(len(self._users))
        for first in range(0, len(order), self._batch_size):
            chosen = order[first : first + self._batch_size]
            users, starts, counts = self._users[chosen], self._starts[chosen], self._counts[chosen]
            positions = ragged_positions(starts, starts + counts)
            batch = RowBatch(
                users=torch.from_numpy(users.astype(np.int64)),
                rows=torch.from_numpy(np.repeat(np.arange(len(users)), counts)),
                items=torch.from_numpy(self._positives.items[positions].astype(np.int64)),
                weights=torch.from_numpy(self._positives.weights[positions]),
            )
            yield batch if self._sampler is None else self._with_negatives(batch, generator)

    def _with_negatives(self, batch: RowBatch, generator: np.random.Generator) -> RowBatch:
        assert self._sampler is not None and self._negatives is not None
        n, users = self._negatives.n, batch.users.numpy()
        if self._negatives.source == "batch":
            pool = batch.items.numpy().astype(np.int32)
            drawn = pool[generator.integers(0, len(pool), n)]
            shares = np.bincount(pool, minlength=self._positives.known.n_items)[drawn] / len(pool)
            log_shares = np.log(shares).astype(np.float32)
        else:
            drawn = self._sampler.draw(n, generator)
            log_shares = self._sampler.log_probabilities[drawn]
        # What a user has enters its softmax exactly, as its positives; drawn, it would enter twice.
        keys = (users[:, None] * self._positives.known.n_items + drawn.astype(np.int64)).ravel()
        held = np.zeros(len(keys), np.bool_)
        held[self._sampler.held(keys)] = True
        return batch._replace(
            negatives=torch.from_numpy(drawn.astype(np.int64)),
            log_expected_count=torch.from_numpy(log_shares + np.float32(np.log(n))),
            held=torch.from_numpy(held.reshape(len(users), n)),
        )


class SequenceBatch(NamedTuple):
    """Windows of histories, right-padded: each position's target is the event after its input.

    Attributes:
        items: (batch, length) int64; `n_items` is padding, `n_items + 1` the start of a history.
        behaviors: (batch, length) int64; `n_behaviors` at padding and start.
        targets: (batch, length) int64; the next item, 0 at padding.
        mask: (batch, length) bool; false at padding.
    """

    items: torch.Tensor
    behaviors: torch.Tensor
    targets: torch.Tensor
    mask: torch.Tensor


class SequenceBatches:
    """One epoch of windows of at most `max_length` targets, in which every train event is a target exactly once.

    The first event of a user is predicted from a start token, the first of a later window from the event before
    it. Windows of like length share a batch, so that little is padded; batches come in random order, and the last,
    smaller one is kept. What an epoch holds depends on `seed` and `epoch` alone. Windows are cut from the flat
    arrays when needed, and never stored.

    Args:
        log: The train events.
        batch_size: Windows a batch.
        max_length: Targets a window at most.
        seed: Of the shuffle.

    Raises:
        DataError: If the log has no event.
    """

    def __init__(self, log: Interactions, *, batch_size: int, max_length: int, seed: int) -> None:
        if not log.n_events:
            raise DataError("the train part has no event to learn from; use a longer log or a later cut")
        self._log = log
        self._starts, self._lengths = _windows(log.offsets, max_length)
        self._opens = np.isin(self._starts, log.offsets[:-1])
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0

    @property
    def n_windows(self) -> int:
        """Windows an epoch."""
        return len(self._starts)

    def __len__(self) -> int:
        return -(-self.n_windows // self._batch_size)

    def __iter__(self) -> Iterator[SequenceBatch]:
        generator = np.random.default_rng((self._seed, self.epoch))
        for rows in self._bucketed(generator):
            yield self._cut(rows)

    def _bucketed(self, generator: np.random.Generator) -> list[npt.NDArray[np.int64]]:
        order = generator.permutation(self.n_windows)
        pool = self._batch_size * _BATCHES_PER_POOL
        batches: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(order), pool):
            rows = order[start : start + pool]
            rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            batches += np.split(rows, range(self._batch_size, len(rows), self._batch_size))
        return [batches[place] for place in generator.permutation(len(batches))]

    def _cut(self, rows: npt.NDArray[np.int64]) -> SequenceBatch:
        log, lengths = self._log, self._lengths[rows]
        columns = np.arange(lengths.max())
        mask = columns < lengths[:, None]
        positions = np.where(mask, self._starts[rows][:, None] + columns, 0)
        before = np.maximum(positions - 1, 0)
        items = np.where(mask, log.items[before], log.n_items).astype(np.int64)
        behaviors = np.where(mask, log.behaviors[before], len(log.behavior_names)).astype(np.int64)
        opens = self._opens[rows]
        items[opens, 0] = log.n_items + 1
        behaviors[opens, 0] = len(log.behavior_names)
        targets = np.where(mask, log.items[positions], 0).astype(np.int64)
        return SequenceBatch(*(torch.from_numpy(array) for array in (items, behaviors, targets, mask)))


def _windows(
    offsets: npt.NDArray[np.int64], max_length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cut each user's events into windows; return the (int64) first position and length of each."""
    counts = np.diff(offsets)
    windows = -(-counts // max_length)
    user = np.repeat(np.arange(len(counts)), windows)
    nth = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
    starts = offsets[user] + nth * max_length
    return starts, np.minimum(max_length, offsets[user + 1] - starts)
