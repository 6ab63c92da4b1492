"""Recommendations that were made elsewhere, as a model."""

from typing import Self

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, ragged_positions
from recdl.errors import RecordError
from recdl.models.protocol import ListedItems, RankingTask, State

_ARRAYS = ("users", "offsets", "items", "places", "n_items")


class GivenLists:
    """A list of items for each of some users; everyone else gets none.

    It learns nothing: what it knows is set by `set_state`, as `state_of` makes it.
    """

    users_: npt.NDArray[np.int32]
    lists_: ListedItems
    n_items_: int

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Keep the lists as they are."""
        return self

    def lists(self, queries: Queries) -> ListedItems:
        """Return the list of each query's user, empty for users of whom none was given."""
        offsets, items, places = self.lists_
        found = np.searchsorted(self.users_, queries.users)
        found[~np.isin(queries.users, self.users_)] = len(self.users_)  # an empty list stands behind the last
        bounds = np.append(offsets, offsets[-1])
        starts, ends = bounds[found], bounds[found + 1]
        at = ragged_positions(starts, ends)
        own = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts)])
        return ListedItems(own, items[at], places[at])

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) scores: minus the place of what is listed, and less for all the rest."""
        offsets, items, places = self.lists(queries)
        rows = np.repeat(np.arange(len(queries)), np.diff(offsets))
        scores = np.full((len(queries), self.n_items_), -float(self.lists_.places.max(initial=0) + 1), np.float32)
        known = items >= 0
        scores[rows[known], items[known]] = -places[known]
        return scores

    def get_state(self) -> State:
        """Return the lists as arrays."""
        return state_of(self.users_, self.lists_, self.n_items_)

    def set_state(self, state: State) -> Self:
        """Take over lists.

        Raises:
            RecordError: If an array is missing.
        """
        for name in _ARRAYS:
            if name not in state:
                raise RecordError(f"the state of given lists has no array {name!r}; evaluate the file again")
        self.users_ = np.asarray(state["users"], np.int32)
        self.lists_ = ListedItems(
            np.asarray(state["offsets"], np.int64),
            np.asarray(state["items"], np.int32),
            np.asarray(state["places"], np.int32),
        )
        self.n_items_ = int(state["n_items"])
        return self


def state_of(users: npt.NDArray[np.int32], lists: ListedItems, n_items: int) -> State:
    """Return the state of `GivenLists`: list `j` is that of user `users[j]`; `users` (n,) int32 must rise."""
    assert (np.diff(users) > 0).all(), "one list a user, in their order"
    return {**lists._asdict(), "users": users, "n_items": np.array(n_items, np.int64)}
