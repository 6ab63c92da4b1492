"""Negatives for factorization: drawn in bulk, uniformly or by popularity."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.errors import ConfigError, DataError

_EXACT_TABLE_LIMIT = 1 << 28
_HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing, Knuth vol. 3, 6.4
_MAX_ROUNDS = 64
_SPARSE_DRAW = 32
"""How many times a draw the catalogue must be for `auto` to draw by popularity. On Complete Journey (134 times)
validation's NDCG@10 of NeuMF goes from .168 to .200 by it; on Tmall (19 times) it stays (.078, .079)."""

NegativeSource = Literal["auto", "uniform", "popularity", "batch"]


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """Which items stand for what a user does not want.

    Attributes:
        n: Negatives a positive; of a softmax, negatives a step, shared by all its users.
        source: `uniform` over the catalogue, by `popularity`, or from the items of the `batch`. `auto` is uniform
            but for a softmax whose draw is small beside the catalogue: see `for_softmax`.
        popularity_exponent: Items are drawn in proportion to their train events to this power.
        exclude_positives: Whether what the user has is never its negative.
    """

    n: int = 4
    source: NegativeSource = "auto"
    popularity_exponent: float = 0.75
    exclude_positives: bool = True

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"model.negatives.n must be at least 1, not {self.n}")
        if self.source not in get_args(NegativeSource):
            known = ", ".join(get_args(NegativeSource))
            raise ConfigError(f"model.negatives.source must be one of {known}, not {self.source!r}")
        if not self.popularity_exponent >= 0:
            raise ConfigError(
                f"model.negatives.popularity_exponent must be at least 0, not {self.popularity_exponent}"
            )

    def for_softmax(self, n_items: int) -> Self:
        """Return these with `auto` settled for a sampled softmax over `n_items`.

        Of a large catalogue a uniform draw has hardly any of the popular items, which make most of the normalizer;
        its estimate is then poor. A draw by popularity has them, and the softmax takes back what it favours.
        Losses of pairs do not, and stay with uniform draws.
        """
        if self.source != "auto":
            return self
        return replace(self, source="popularity" if n_items > _SPARSE_DRAW * self.n else "uniform")

    def sampler(self, pairs: "Pairs", popularity: npt.NDArray[np.integer]) -> "NegativeSampler":
        """Return what draws them from the items whose `popularity` (n_items,) is not 0.

        Raises:
            DataError: If a user has the whole catalogue, and what it has is excluded.
        """
        exponent = self.popularity_exponent if self.source == "popularity" else 0.0
        return NegativeSampler(
            pairs,
            np.flatnonzero(popularity).astype(np.int32),
            exclude_pairs=self.exclude_positives,
            weights=None if exponent == 0 else popularity.astype(np.float64) ** exponent,
        )


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
        keys = log.users.astype(np.int64) * log.n_items + log.items
        keys.sort()  # not np.unique, which looks each key up in a table: ten million take it 4 s, and this 0.6 s
        keys = keys[np.flatnonzero(np.diff(keys, prepend=-1))]
        return cls(
            (keys // log.n_items).astype(np.int32), (keys % log.n_items).astype(np.int32), log.n_users, log.n_items
        )

    def keys(self) -> npt.NDArray[np.int64]:
        """(n_pairs,) int64, `user * n_items + item`, rising."""
        return self.users.astype(np.int64) * self.n_items + self.items

    def weights(self, log: Interactions, behavior_weights: Mapping[str, float] | None) -> npt.NDArray[np.float32]:
        """Return (n_pairs,) float32: of the behaviours that a pair of `log` was seen with, the largest weight.

        Args:
            log: The log that the pairs are of.
            behavior_weights: Weight of each behaviour; one that is not named weighs 1. None: all weigh 1.

        Raises:
            DataError: If the log has no behaviour of a name.
        """
        weights = np.ones(len(self.users), np.float32)
        if behavior_weights is None:
            return weights
        log.behavior_codes(tuple(behavior_weights))
        by_code = [behavior_weights.get(name, 1.0) for name in log.behavior_names]
        keys, event_keys = self.keys(), log.users.astype(np.int64) * log.n_items + log.items
        for code in np.argsort(by_code, kind="stable"):  # the largest is written last, and stays
            weights[np.searchsorted(keys, event_keys[log.behaviors == code])] = by_code[code]
        return weights


@dataclass(frozen=True, eq=False)
class Positives:
    """The pairs to learn from, and what is known beside them.

    Attributes:
        users: (n,) int32, not falling.
        items: (n,) int32.
        weights: (n,) float32, above 0.
        known: All pairs of the log; those of weight 0 are not learned from, but are no negatives either.
        popularity: (n_items,) int64, events of each item.
    """

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    known: Pairs
    popularity: npt.NDArray[np.int64]

    @classmethod
    def of(cls, log: Interactions, behavior_weights: Mapping[str, float] | None = None) -> Self:
        """Take the distinct pairs of a log; users who have the whole catalogue are left out.

        Raises:
            DataError: If no pair is left to learn from, or the log has no behaviour of a name.
        """
        popularity = np.bincount(log.items, minlength=log.n_items).astype(np.int64)
        pairs = Pairs.of(log)
        weights = pairs.weights(log, behavior_weights)
        sated = np.bincount(pairs.users, minlength=log.n_users) >= np.count_nonzero(popularity)
        keep = ~sated[pairs.users]
        if not (keep & (weights > 0)).any():
            raise DataError(
                "no user is left to learn from: the train part is empty, each of its users has interacted with "
                "every item, or every behaviour has weight 0; use a longer log, a later cut or other "
                "model.behavior_weights"
            )
        known = Pairs(pairs.users[keep], pairs.items[keep], log.n_users, log.n_items)
        keep &= weights > 0
        return cls(pairs.users[keep], pairs.items[keep], weights[keep], known, popularity)


class NegativeSampler:
    """Draws items from a catalogue, uniformly or by popularity, rejecting those that the user has among `pairs`.

    One byte a pair says "surely new" for most draws. Where the user-item matrix is small the table is exact; where
    it is not, it is hashed, and the few draws it does not clear are looked up in the sorted pairs.

    Args:
        pairs: What each user has.
        catalogue: int32 items to draw from.
        exclude_pairs: False draws over the whole catalogue, what the user has included.
        weights: float (n_items,), positive on the catalogue: items are drawn in proportion to them; None draws
            uniformly.
        exact: Whether the table is exact; None decides by its size.

    Raises:
        DataError: If a user has the whole catalogue, so that there is no negative to draw.
    """

    def __init__(
        self,
        pairs: Pairs,
        catalogue: npt.NDArray[np.int32],
        *,
        exclude_pairs: bool = True,
        weights: npt.NDArray[np.floating] | None = None,
        exact: bool | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._cumulative = None if weights is None else _cumulative(weights[catalogue])
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

    def held(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the positions in flat `keys` (`user * n_items + item`) of those that are among the pairs."""
        suspects = np.flatnonzero(self._table[self._slots(keys)])
        if self._exact or not len(suspects):
            return suspects
        places = np.minimum(np.searchsorted(self._keys, keys[suspects]), len(self._keys) - 1)
        held: npt.NDArray[np.int64] = suspects[self._keys[places] == keys[suspects]]
        return held

    def sample(
        self,
        users: npt.NDArray[np.int32],
        n: int,
        generator: np.random.Generator,
        *,
        pool: npt.NDArray[np.int32] | None = None,
    ) -> npt.NDArray[np.int32]:
        """Draw (len(users), n) int32 items of those that each user does not have, with repetition.

        Args:
            users: int32, for whom.
            n: How many for each.
            generator: Of the draws.
            pool: Items to draw from in place of the catalogue. A user who has all of them gets others.
        """
        draw = self.draw if pool is None else partial(_draw_from, pool)
        drawn = draw(len(users) * n, generator)
        if not self._exclude:
            return drawn.reshape(-1, n)
        rows = np.repeat(users.astype(np.int64) * self._n_items, n)
        rejected = self.held(rows + drawn)
        for _ in range(_MAX_ROUNDS):
            if not len(rejected):
                return drawn.reshape(-1, n)
            drawn[rejected] = draw(len(rejected), generator)
            rejected = rejected[self.held(rows[rejected] + drawn[rejected])]
        for position in rejected:  # users who have nearly all of it: draw from what is left to them
            free = np.isin(rows[position] + self._catalogue, self._keys, invert=True)
            shares = np.exp(self.log_probabilities[self._catalogue[free]].astype(np.float64))
            drawn[position] = generator.choice(self._catalogue[free], p=shares / shares.sum())
        return drawn.reshape(-1, n)

    @property
    def log_probabilities(self) -> npt.NDArray[np.float32]:
        """(n_items,) float32, log share of each item in the draws before rejection; -inf off the catalogue."""
        shares = np.zeros(self._n_items)
        shares[self._catalogue] = (
            1.0 / len(self._catalogue) if self._cumulative is None else np.diff(self._cumulative, prepend=0.0)
        )
        with np.errstate(divide="ignore"):
            return np.log(shares).astype(np.float32)

    def draw(self, n: int, generator: np.random.Generator) -> npt.NDArray[np.int32]:
        """Draw (n,) int32 items with repetition, whoever has them."""
        if self._cumulative is not None:
            return self._catalogue[np.searchsorted(self._cumulative, generator.random(n), side="right")]
        return self._catalogue[generator.integers(0, len(self._catalogue), n, dtype=np.int32)]


def _draw_from(pool: npt.NDArray[np.int32], n: int, generator: np.random.Generator) -> npt.NDArray[np.int32]:
    return pool[generator.integers(0, len(pool), n, dtype=np.int32)]


def _cumulative(weights: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the distribution function of draws in proportion to `weights`."""
    assert (weights > 0).all(), "an item of the catalogue would never be drawn"
    sums = np.cumsum(weights, dtype=np.float64)
    sums /= sums[-1]  # the last is 1 exactly, above any draw
    return sums
