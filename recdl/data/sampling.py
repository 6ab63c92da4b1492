"""Negatives for factorization: uniform over the catalogue, drawn in bulk."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.errors import DataError

_EXACT_TABLE_LIMIT = 1 << 28
_HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing, Knuth vol. 3, 6.4
_MAX_ROUNDS = 64


@dataclass(frozen=True, eq=False)
class Pairs:
    """The distinct (user, item) pairs of a log, sorted by user, then item.

    Attributes:
        users: (n_pairs,) int32.
        items: (n_pairs,) int32.
        n_users: Size of the user table.
        n_items: Size of the catalogue.
    """

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    n_users: int
    n_items: int

    @classmethod
    def of(cls, log: Interactions) -> Self:
        """Reduce a log to the pairs that occur in it, whatever the behaviour and however often."""
        keys = np.unique(log.users.astype(np.int64) * log.n_items + log.items)
        return cls(
            (keys // log.n_items).astype(np.int32), (keys % log.n_items).astype(np.int32), log.n_users, log.n_items
        )

    def keys(self) -> npt.NDArray[np.int64]:
        """(n_pairs,) int64, `user * n_items + item`, rising."""
        return self.users.astype(np.int64) * self.n_items + self.items


class NegativeSampler:
    """Draws items uniformly from a catalogue, rejecting those that the user has among `pairs`.

    One byte a pair says "surely new" for most draws. Where the user-item matrix is small the table is exact; where
    it is not, it is hashed, and the few draws it does not clear are looked up in the sorted pairs.

    Args:
        pairs: What each user has.
        catalogue: int32 items to draw from.
        exclude_pairs: False draws over the whole catalogue, what the user has included.

    Raises:
        DataError: If a user has the whole catalogue, so that there is no negative to draw.
    """

    def __init__(
        self,
        pairs: Pairs,
        catalogue: npt.NDArray[np.int32],
        *,
        exclude_pairs: bool = True,
        exact: bool | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._n_items = pairs.n_items
        self._exclude = exclude_pairs
        in_catalogue = np.zeros(pairs.n_items, np.bool_)
        in_catalogue[catalogue] = True
        held = np.bincount(pairs.users[in_catalogue[pairs.items]], minlength=pairs.n_users)
        if exclude_pairs and (held >= len(catalogue)).any():
            raise DataError(
                f"{(held >= len(catalogue)).sum()} users have interacted with all {len(catalogue)} items of the "
                "catalogue, so that no negative is left for them; leave them out or set exclude_pairs=False"
            )
        self._keys = pairs.keys()
        size = pairs.n_users * pairs.n_items
        self._exact = size <= _EXACT_TABLE_LIMIT if exact is None else exact
        bits = max(16, int(np.ceil(np.log2(max(len(self._keys), 1) * 16))))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(size if self._exact else 1 << bits, np.bool_)
        self._table[self._slots(self._keys)] = True

    def _slots(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if self._exact:
            return keys
        return ((keys.astype(np.uint64) * _HASH_MULTIPLIER) >> self._shift).astype(np.int64)

    def _held(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the positions of `keys` that are among the pairs."""
        suspects = np.flatnonzero(self._table[self._slots(keys)])
        if self._exact or not len(suspects):
            return suspects
        places = np.minimum(np.searchsorted(self._keys, keys[suspects]), len(self._keys) - 1)
        held: npt.NDArray[np.int64] = suspects[self._keys[places] == keys[suspects]]
        return held

    def sample(
        self, users: npt.NDArray[np.int32], n: int, generator: np.random.Generator
    ) -> npt.NDArray[np.int32]:
        """Draw (len(users), n) int32 items, uniform over what each user does not have, with repetition."""
        drawn = self._draw(len(users) * n, generator)
        if not self._exclude:
            return drawn.reshape(-1, n)
        rows = np.repeat(users.astype(np.int64) * self._n_items, n)
        rejected = self._held(rows + drawn)
        for _ in range(_MAX_ROUNDS):
            if not len(rejected):
                return drawn.reshape(-1, n)
            drawn[rejected] = self._draw(len(rejected), generator)
            rejected = rejected[self._held(rows[rejected] + drawn[rejected])]
        for position in rejected:  # users who have nearly everything: draw from what is left to them
            left = self._catalogue[np.isin(rows[position] + self._catalogue, self._keys, invert=True)]
            drawn[position] = generator.choice(left)
        return drawn.reshape(-1, n)

    def _draw(self, n: int, generator: np.random.Generator) -> npt.NDArray[np.int32]:
        return self._catalogue[generator.integers(0, len(self._catalogue), n, dtype=np.int32)]
