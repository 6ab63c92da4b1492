"""The floor under every comparison: the same most popular items for everyone, and everyone's own items again."""

from typing import Self

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError
from recdl.models.matrix_state import flat
from recdl.models.protocol import RankingTask, State
from recdl.models.weights import EventWeights, Weighing

_PLAIN = EventWeights()
_SUMMED = EventWeights(repeats="sum")
_MICROSECONDS_A_DAY = 86_400 * 10**6


class Popularity:
    """Score an item by the number of distinct users who touched it in train.

    Users are counted, not events: a few users who come back to an item every day do not make it popular. With
    `weights` a user counts as much as its events with the item weigh.
    """

    counts_: npt.NDArray[np.float64]
    """(n_items,) float64, the users of each item."""

    def __init__(
        self,
        *,
        behaviors: tuple[str, ...] | None = None,
        window_days: float | None = None,
        weights: EventWeights = _PLAIN,
    ) -> None:
        """Choose what counts.

        Args:
            behaviors: Behaviours that make an item popular; all of them when None.
            window_days: Days before the log's last event that count; all of them when None.
            weights: How much an event counts, by its behaviour and its age, and how several of one user do.

        Raises:
            ConfigError: If `behaviors` is empty, or `window_days` not above 0.
        """
        if behaviors is not None and not behaviors:
            raise ConfigError("model.behaviors is empty; name at least one behavior, or null for all of them")
        _check_window(window_days)
        self.behaviors = behaviors
        self.window_days = window_days
        self.weights = weights

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Count the users of each item.

        Raises:
            DataError: If no event is left to count, or the log lacks one of the behaviours, or the
                times that a window needs.
        """
        if not train.n_events:
            raise DataError("there is no event to learn from; check the split")
        counted = np.ones(train.n_events, np.bool_)
        if self.behaviors is not None:
            counted &= np.isin(train.behaviors, train.behavior_codes(self.behaviors))
        if self.window_days is not None:
            if not train.timed:
                raise DataError("window_days: this log has an order and no times; set it to null")
            counted &= train.timestamps.max() - train.timestamps <= self.window_days * _MICROSECONDS_A_DAY
        if not counted.all():
            train = train.where(counted)
        pairs = Weighing.of(self.weights, train).log_matrix(train)
        counts = np.bincount(pairs.indices, weights=pairs.data, minlength=train.n_items)
        self.counts_ = counts.astype(np.float64)
        return self

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32, the same row for every query."""
        return np.tile(self.counts_.astype(np.float32), (len(queries), 1))

    def get_state(self) -> State:
        """Return `counts`."""
        return {"counts": self.counts_}

    def set_state(self, state: State) -> Self:
        """Take over the counts of another model.

        Raises:
            RecordError: If `counts` is missing or not flat.
        """
        self.counts_ = flat(state, "counts").astype(np.float64)
        return self


class PersonalPopularity:
    """Score an item by how often the history holds it, and what it does not hold by popularity.

    An item's score is the weight of its events in the history, plus `popularity_weight` times the share of all
    users who touched it: a tie-breaker while that is small, a prior when it is not. What comes again and again,
    as in a grocery, is hard to beat (Hu et al., 2020, "Modeling personalized item frequency information for
    next-basket recommendation").
    """

    counts_: npt.NDArray[np.float64]
    """(n_items,) float64, the users of each item."""

    n_users_: int
    """Users of the log."""

    weighing_: Weighing
    """How the events of a history weigh."""

    def __init__(self, *, popularity_weight: float = 0.001, history_weights: EventWeights = _SUMMED) -> None:
        """Choose what counts.

        Args:
            popularity_weight: Of the share of users who touched the item, where an event of the history weighs 1.
            history_weights: How much an event of the history counts.

        Raises:
            ConfigError: If `popularity_weight` is below 0.
        """
        if not 0 <= popularity_weight < np.inf:
            raise ConfigError(f"model.popularity_weight must be 0 or more, and finite, but is {popularity_weight}")
        self.popularity_weight = popularity_weight
        self.history_weights = history_weights

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Count the users of each item.

        Raises:
            DataError: If the log holds no event, or lacks a behaviour that is given a weight.
        """
        self.counts_ = Popularity().fit(train).counts_
        self.n_users_ = train.n_users
        self.weighing_ = Weighing.of(self.history_weights, train)
        return self

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32; an empty history has the scores of popularity alone.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        prior = self.prior
        own = self.weighing_.history_matrix(queries, len(prior))
        scores = np.tile(prior, (len(queries), 1))
        scores[np.repeat(np.arange(len(queries)), np.diff(own.indptr)), own.indices] += own.data
        return scores

    @property
    def prior(self) -> npt.NDArray[np.float32]:
        """(n_items,) float32, what an item scores that the history does not hold."""
        return (self.popularity_weight * self.counts_ / self.n_users_).astype(np.float32)

    def get_state(self) -> State:
        """Return `counts`, `n_users` (one number), and `behavior_weights`."""
        n_users = np.array([self.n_users_], np.int64)
        return {"counts": self.counts_, "n_users": n_users, "behavior_weights": self.weighing_.by_behavior}

    def set_state(self, state: State) -> Self:
        """Take over the counts of another model.

        Raises:
            RecordError: If an array is missing or not flat.
        """
        self.counts_ = flat(state, "counts").astype(np.float64)
        self.n_users_ = int(flat(state, "n_users").sum())
        self.weighing_ = Weighing.restored(self.history_weights, state)
        return self


def _check_window(days: float | None) -> None:
    if days is not None and not 0 < days < np.inf:
        raise ConfigError(f"model.window_days must be above 0, and finite, or null for all, but is {days}")
