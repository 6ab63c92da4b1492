"""The floor under every comparison: the same most popular items for everyone."""

from typing import Self

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.matrix import user_item_matrix
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.models.protocol import RankingTask, State


class Popularity:
    """Score an item by the number of distinct users who touched it in train.

    Users are counted, not events: a few users who come back to an item every day do not make it popular.
    """

    counts_: npt.NDArray[np.int64]
    """(n_items,) int64, distinct users of each item."""

    def __init__(self, *, behaviors: tuple[str, ...] | None = None) -> None:
        """Choose what counts.

        Args:
            behaviors: Behaviours that make an item popular; all of them when None.

        Raises:
            ConfigError: If `behaviors` is empty.
        """
        if behaviors is not None and not behaviors:
            raise ConfigError("model.behaviors is empty; name at least one behavior, or null for all of them")
        self.behaviors = behaviors

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Count the users of each item.

        Raises:
            DataError: If no event is left to count, or the log lacks one of the behaviours.
        """
        if self.behaviors is not None:
            train = train.where(np.isin(train.behaviors, train.behavior_codes(self.behaviors)))
        self.counts_ = np.bincount(user_item_matrix(train).indices, minlength=train.n_items).astype(np.int64)
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
        counts = state.get("counts")
        if counts is None or counts.ndim != 1:
            raise RecordError("the state of a popularity model needs a flat array 'counts'; export the run again")
        self.counts_ = counts.astype(np.int64)
        return self
