"""What a training step is fed: pairs with negatives, and users with all that they have."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from recdl.data.queries import ragged_positions
from recdl.data.sampling import Negatives, Positives

_BATCHES_PER_CALL = 8
_CALLS_PER_DRAW = 8


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

    Several batches come at once, to be split into steps of `batch_size`; the last, smaller one is kept. What a
    batch holds depends on `seed`, `epoch` and its place alone, so that an epoch can be gone on with from `first`.

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
        self.first = 0

    @property
    def n_events(self) -> int:
        """Positives an epoch."""
        return len(self._users)

    @property
    def n_steps(self) -> int:
        """Optimizer steps an epoch."""
        return -(-len(self._users) // self._batch_size)

    def __len__(self) -> int:
        return -(-self.n_steps // _BATCHES_PER_CALL)

    def __iter__(self) -> Iterator[PairBatch]:
        shuffle = np.random.default_rng((self._seed, self.epoch))
        order = shuffle.permutation(len(self._users))
        call = self._batch_size * _BATCHES_PER_CALL
        for draw in range(self.first // _CALLS_PER_DRAW, -(-len(self) // _CALLS_PER_DRAW)):
            start = draw * call * _CALLS_PER_DRAW
            rows = order[start : start + call * _CALLS_PER_DRAW]
            # Of draw 0 this seed would be the shuffle's again.
            generator = np.random.default_rng((self._seed, self.epoch, draw)) if draw else shuffle
            drawn = [self._draw(part, generator) for part in self._pools(rows)]
            items = np.concatenate([self._items[rows][:, None], np.concatenate(drawn)], axis=1)
            users = torch.from_numpy(self._users[rows].astype(np.int64))
            all_items = torch.from_numpy(items.astype(np.int64))
            weights = torch.from_numpy(self._weights[rows])
            for first in range(max(0, self.first * call - start), len(rows), call):
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

    What a batch holds depends on `seed`, `epoch` and its place alone, so that an epoch can be gone on with from
    `first`.

    Args:
        positives: What to learn from.
        negatives: What to set against it; None: the whole catalogue.
        batch_size: Users a batch.
        seed: Of the shuffle and the negatives.
    """

    def __init__(self, positives: Positives, negatives: Negatives | None, *, batch_size: int, seed: int) -> None:
        self._positives = positives
        self._users, self._starts, self._counts = np.unique(positives.users, return_index=True, return_counts=True)
        settled = None if negatives is None else negatives.for_softmax(int(np.count_nonzero(positives.popularity)))
        self._negatives = settled
        self._sampler = None if settled is None else settled.sampler(positives.known, positives.popularity)
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0
        self.first = 0

    @property
    def n_events(self) -> int:
        """Positives an epoch."""
        return len(self._positives.users)

    @property
    def n_steps(self) -> int:
        """Optimizer steps an epoch."""
        return len(self)

    def __len__(self) -> int:
        return -(-len(self._users) // self._batch_size)

    def __iter__(self) -> Iterator[RowBatch]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(len(self._users))
        for place in range(self.first, len(self)):
            chosen = order[place * self._batch_size : (place + 1) * self._batch_size]
            users, starts, counts = self._users[chosen], self._starts[chosen], self._counts[chosen]
            positions = ragged_positions(starts, starts + counts)
            batch = RowBatch(
                users=torch.from_numpy(users.astype(np.int64)),
                rows=torch.from_numpy(np.repeat(np.arange(len(users)), counts)),
                items=torch.from_numpy(self._positives.items[positions].astype(np.int64)),
                weights=torch.from_numpy(self._positives.weights[positions]),
            )
            if self._sampler is not None:
                generator = np.random.default_rng((self._seed, self.epoch, 1 + place))  # 0 is the shuffle's
                batch = self._with_negatives(batch, generator)
            yield batch

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
