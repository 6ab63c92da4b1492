"""What a visitor has looked at, or put into the cart, and not bought yet."""

from typing import Self

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, ragged_positions
from recdl.errors import ConfigError
from recdl.models.matrix_state import flat
from recdl.models.popularity import PersonalPopularity
from recdl.models.protocol import RankingTask, State
from recdl.models.weights import EventWeights

_RECENT = EventWeights(half_life_events=10.0, repeats="sum")


class Unbought(PersonalPopularity):
    """Score an item by the weight of its events in the history, unless the history says that it was bought.

    The floor under models of the next purchase: much of what is bought was clicked or carted shortly before. What
    the history does not hold, or holds as bought, is scored by popularity, below the rest while
    `popularity_weight` is small.
    """

    buys_: npt.NDArray[np.bool_]
    """(n_behaviors,) bool, whether a behaviour is a purchase, by code."""

    def __init__(
        self,
        *,
        purchases: tuple[str, ...] | None = None,
        popularity_weight: float = 0.001,
        history_weights: EventWeights = _RECENT,
    ) -> None:
        """Choose what counts.

        Args:
            purchases: Behaviours after which an item is bought; None: the last of the log's, which are in order,
                the least committed first.
            popularity_weight: Of the share of users who touched the item, where an event of the history weighs 1.
            history_weights: How much an event of the history counts.

        Raises:
            ConfigError: If `popularity_weight` is below 0, or `purchases` empty.
        """
        super().__init__(popularity_weight=popularity_weight, history_weights=history_weights)
        if purchases is not None and not purchases:
            raise ConfigError("model.purchases is empty; name at least one behavior, or null for the log's last")
        self.purchases = purchases

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Count the users of each item.

        Raises:
            DataError: If the log holds no event, or lacks a behaviour that is named.
        """
        super().fit(train, validation)
        purchases = train.behavior_names[-1:] if self.purchases is None else self.purchases
        self.buys_ = np.zeros(len(train.behavior_names), np.bool_)
        self.buys_[train.behavior_codes(purchases)] = True
        return self

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32; an empty history has the scores of popularity alone.

        Raises:
            DataError: If a history holds an item outside the catalogue, or a behaviour that the log did not have.
        """
        scores = super().score(queries)
        positions = ragged_positions(queries.starts, queries.ends)
        rows = np.repeat(np.arange(len(queries)), queries.lengths)
        bought = self.buys_[queries.behaviors[positions]]
        items = queries.items[positions][bought]
        scores[rows[bought], items] = self.prior[items]
        return scores

    def get_state(self) -> State:
        """Return `counts`, `n_users` (one number), `behavior_weights`, and `buys`."""
        return {**super().get_state(), "buys": self.buys_.astype(np.int8)}

    def set_state(self, state: State) -> Self:
        """Take over what another model learned.

        Raises:
            RecordError: If an array is missing or not flat.
        """
        super().set_state(state)
        self.buys_ = flat(state, "buys").astype(np.bool_)
        return self
