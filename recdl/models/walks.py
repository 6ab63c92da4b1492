"""Random walks of three steps: from the user to an item, to another user of it, to an item of theirs."""

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse
from recdl.data.queries import Queries
from recdl.errors import ConfigError
from recdl.models.matrix_state import restored_matrix
from recdl.models.nearest import Terms, nearest, product
from recdl.models.protocol import RankingTask, State
from recdl.models.sums import row_sums
from recdl.models.weights import EventWeights, Weighing

_PLAIN = EventWeights()


class RP3Beta:
    """Score an item by the probability to reach it from the history in a walk, held back by its popularity.

    A step's probability is the share of the edge's weight among those of its node, to the power of `alpha`; a
    candidate's score is divided by its popularity to the power of `beta` (Paudel et al., 2016, "Updatable,
    accurate, diverse, and scalable recommendations for interactive applications"). With `beta` 0 this is P3alpha
    (Cooper et al., 2014, "Random walks in recommender systems"). Unlike there, only the `k` best are kept of each
    item, and a walk never ends where it began.
    """

    transitions_: Sparse
    """(n_items, n_items) float32; row j holds what an item j of the history adds to the scores."""

    weighing_: Weighing
    """How the events of a history weigh."""

    def __init__(
        self,
        *,
        k: int = 100,
        alpha: float = 1.0,
        beta: float = 0.5,
        normalize: bool = False,
        neighbors_of: Literal["history", "candidate"] = "history",
        train_weights: EventWeights = _PLAIN,
        history_weights: EventWeights = _PLAIN,
    ) -> None:
        """Set the walk.

        Args:
            k: Candidates kept of each item; more than there are items keeps all.
            alpha: Exponent of each step's probability.
            beta: Exponent of the popularity that a score is divided by.
            normalize: Whether what an item of the history adds sums to 1 over the candidates kept.
            neighbors_of: Whose k best count: the candidates that each item of the history leads to, or the items
                that each candidate is reached from.
            train_weights: How the log's events weigh.
            history_weights: How the events of a history weigh when it is scored.

        Raises:
            ConfigError: If `k` is below 1, or an exponent below 0.
        """
        if k < 1:
            raise ConfigError(f"model.k must be at least 1, but is {k}")
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0 <= value < np.inf:
                raise ConfigError(f"model.{name} must be 0 or more, and finite, but is {value}")
        self.k = k
        self.alpha = alpha
        self.beta = beta
        self.normalize = normalize
        self.neighbors_of = neighbors_of
        self.train_weights = train_weights
        self.history_weights = history_weights

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Find where walks from each item lead.

        Raises:
            DataError: If the log holds no event that weighs anything, or lacks a behaviour that is given a weight.
        """
        self.weighing_ = Weighing.of(self.history_weights, train)
        users = Weighing.of(self.train_weights, train).log_matrix(train)
        items = users.T.tocsr()
        popularity = row_sums(items)
        to_users, to_items = self._steps(items), self._steps(users)
        nothing = np.empty(0)
        same = Terms(nothing, nothing, np.ones(train.n_items))
        held_back = Terms(nothing, nothing, popularity**self.beta)
        itself = np.arange(train.n_items)
        if self.neighbors_of == "history":
            found = nearest(to_users, to_items, same, held_back, left_out=itself, k=self.k)
        else:
            reached, started = to_items.T.tocsr(), to_users.T.tocsr()
            found = nearest(reached, started, held_back, same, left_out=itself, k=self.k).T.tocsr()
        if self.normalize:
            found.data /= row_sums(found).astype(np.float32).repeat(np.diff(found.indptr))
        self.transitions_ = found
        return self

    def _steps(self, edges: Sparse) -> Sparse:
        """Return the probabilities of a step from each row, to the power of `alpha`."""
        shares = edges.data / row_sums(edges).repeat(np.diff(edges.indptr))
        return csr_array(((shares**self.alpha).astype(np.float32), edges.indices, edges.indptr), shape=edges.shape)

    def factors(self, queries: Queries) -> tuple[Sparse, Sparse]:
        """Return the weights of the histories (n_queries, n_items), and what each item of them adds.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return self.weighing_.history_matrix(queries, self.transitions_.shape[1]), self.transitions_

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32, 0 where no walk from the history leads.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return product(*self.factors(queries))

    def get_state(self) -> State:
        """Return the transitions (`offsets`, `indices`, `transitions`) and `behavior_weights`."""
        matrix = self.transitions_
        return {
            "offsets": matrix.indptr,
            "indices": matrix.indices,
            "transitions": matrix.data,
            "behavior_weights": self.weighing_.by_behavior,
        }

    def set_state(self, state: State) -> Self:
        """Take over the transitions another model found.

        Raises:
            RecordError: If an array is missing or does not fit the others.
        """
        self.transitions_ = restored_matrix(state, "transitions")
        self.weighing_ = Weighing.restored(self.history_weights, state)
        return self
