"""What a training step is fed: pairs with negatives, and windows of histories, cut from the flat arrays."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from recdl.data.interactions import Interactions
from recdl.data.sampling import NegativeSampler, Pairs
from recdl.errors import DataError

_BATCHES_PER_DRAW = 64
_BATCHES_PER_POOL = 64


class PairBatch(NamedTuple):
    """Positives with their negatives.

    Attributes:
        users: (batch,) int64.
        items: (batch, 1 + n_negatives) int64; the positive first.
    """

    users: torch.Tensor
    items: torch.Tensor


class PairBatches:
    """One epoch of shuffled positive pairs, each with negatives drawn anew. The last, smaller batch is kept.

    What an epoch holds depends on `seed` and `epoch` alone. Users who have the whole catalogue are left out, since
    nothing can be ranked below what they have.

    Args:
        log: The train events; the catalogue is the items that occur in it.
        batch_size: Positives a batch.
        n_negatives: Negatives a positive.
        seed: Of the shuffle and the negatives.

    Raises:
        DataError: If no pair is left to train on.
    """

    def __init__(self, log: Interactions, *, batch_size: int, n_negatives: int, seed: int) -> None:
        catalogue = np.flatnonzero(np.bincount(log.items, minlength=log.n_items)).astype(np.int32)
        pairs = Pairs.of(log)
        sated = np.bincount(pairs.users, minlength=log.n_users) >= len(catalogue)
        keep = ~sated[pairs.users]
        self._pairs = Pairs(pairs.users[keep], pairs.items[keep], log.n_users, log.n_items)
        if not keep.any():
            raise DataError(
                "no user is left to learn from: the train part is empty, or each of its users has interacted with "
                "every item; use a longer log or a later cut"
            )
        self._sampler = NegativeSampler(self._pairs, catalogue)
        self._batch_size = batch_size
        self._n_negatives = n_negatives
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self._pairs.users) // self._batch_size)

    def __iter__(self) -> Iterator[PairBatch]:
        generator = np.random.default_rng((self._seed, self.epoch))
        order = generator.permutation(len(self._pairs.users))
        draw = self._batch_size * _BATCHES_PER_DRAW
        for start in range(0, len(order), draw):
            rows = order[start : start + draw]
            users = self._pairs.users[rows]
            negatives = self._sampler.sample(users, self._n_negatives, generator)
            items = np.concatenate([self._pairs.items[rows][:, None], negatives], axis=1)
            all_users = torch.from_numpy(users.astype(np.int64))
            all_items = torch.from_numpy(items.astype(np.int64))
            for first in range(0, len(rows), self._batch_size):
                batch = slice(first, first + self._batch_size)
                yield PairBatch(all_users[batch], all_items[batch])


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
