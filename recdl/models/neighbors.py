"""Nearest neighbours among items or among users."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.models.matrix_state import flat, restored_matrix
from recdl.models.nearest import product
from recdl.models.protocol import RankingTask, State
from recdl.models.similarity import Corpus, Measure, Similarity, Weighting
from recdl.models.weights import EventWeights, Weighing

_PLAIN = EventWeights()
_UNWEIGHTED = Weighting()


class ItemKNN:
    """Score an item by its similarity to the items of the history.

    A query's score for an item is the sum, over the items of its history, of their weight times the similarity of
    the two, where one is a neighbour of the other (Deshpande and Karypis, 2004, "Item-based top-N recommendation
    algorithms"). An item without events has no neighbours, and is none.
    """

    similarity_: Sparse
    """(n_items, n_items) float32; row j: what an item j of the history adds to the scores, never to its own."""

    weighing_: Weighing
    """How the events of a history weigh."""

    def __init__(
        self,
        *,
        k: int = 100,
        similarity: Measure = "cosine",
        shrinkage: float = 0.0,
        alpha: float = 0.5,
        weighting: Weighting = _UNWEIGHTED,
        neighbors_of: Literal["history", "candidate"] = "history",
        train_weights: EventWeights = _PLAIN,
        history_weights: EventWeights = _PLAIN,
    ) -> None:
        """Set how items are compared.

        Args:
            k: Neighbours kept of each item; more than there are items keeps all.
            similarity: Of the items' columns; see `Similarity`.
            shrinkage: Added to the denominator, so that a chance meeting makes no close neighbours.
            alpha: The exponent of the history's item in the denominator.
            weighting: Of the entries before items are compared, items being the documents and users the terms.
            neighbors_of: Whose k neighbours count: those of each item of the history, or those of each candidate.
            train_weights: How the log's events weigh.
            history_weights: How the events of a history weigh when it is scored.

        Raises:
            ConfigError: If `k` is below 1, `shrinkage` below 0, or `alpha` outside [0, 1].
        """
        _check(k)
        self.k = k
        self.similarity = Similarity(similarity, shrinkage, alpha)
        self.weighting = weighting
        self.neighbors_of = neighbors_of
        self.train_weights = train_weights
        self.history_weights = history_weights

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Find the neighbours of each item.

        Raises:
            DataError: If the log holds no event that weighs anything, or lacks a behaviour that is given a weight.
        """
        self.weighing_ = Weighing.of(self.history_weights, train)
        users = Weighing.of(self.train_weights, train).log_matrix(train)
        corpus, items = Corpus.of(users.T.tocsr(), self.weighting)
        others = users if self.weighting.kind == "none" else items.T.tocsr()
        of_history = self.neighbors_of == "history"
        alpha = self.similarity.alpha if of_history else 1 - self.similarity.alpha
        found = self.similarity.nearest(
            items,
            others,
            self.similarity.terms(items, corpus, exponent=alpha),
            self.similarity.terms(items, corpus, exponent=1 - alpha),
            left_out=np.arange(train.n_items),
            k=self.k,
        )
        self.similarity_ = found if of_history else found.T.tocsr()
        return self

    def factors(self, queries: Queries) -> tuple[Sparse, Sparse]:
        """Return the weights of the histories (n_queries, n_items), and what each item of them adds.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return self.weighing_.history_matrix(queries, self.similarity_.shape[1]), self.similarity_

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32, 0 where nothing in the history is a neighbour of the item.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return product(*self.factors(queries))

    def get_state(self) -> State:
        """Return the similarity matrix (`offsets`, `indices`, `similarities`) and `behavior_weights`."""
        matrix = self.similarity_
        return {
            "offsets": matrix.indptr,
            "indices": matrix.indices,
            "similarities": matrix.data,
            "behavior_weights": self.weighing_.by_behavior,
        }

    def set_state(self, state: State) -> Self:
        """Take over the neighbours another model found.

        Raises:
            RecordError: If an array is missing or does not fit the others.
        """
        self.similarity_ = restored_matrix(state, "similarities")
        self.weighing_ = Weighing.restored(self.history_weights, state)
        return self


@dataclass(frozen=True)
class Votes:
    """What a neighbour's similarity is worth to the items it touched.

    Attributes:
        amplification: Exponent of the similarities, above 1 to favour the nearest (Breese et al., 1998, "Empirical
            analysis of predictive algorithms for collaborative filtering").
        popularity_exponent: An item's votes are divided by its users to this power.
    """

    amplification: float = 1.0
    popularity_exponent: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.amplification < np.inf:
            raise ConfigError(f"amplification must be above 0, and finite, but is {self.amplification}")
        if not 0 <= self.popularity_exponent < np.inf:
            raise ConfigError(
                f"popularity_exponent must be 0 or more, and finite, but is {self.popularity_exponent}"
            )


_PLAIN_VOTES = Votes()


class UserKNN:
    """Score an item by the similarity of those who touched it.

    The neighbours of a query are the `k` train users whose rows are most similar to its history, the querying user
    left out; a score is the sum of the similarities of the neighbours who touched the item, times the weight of
    the item with them, as `votes` has it (Herlocker et al., 1999, "An algorithmic framework for performing
    collaborative filtering"). An empty history has no neighbours.
    """

    train_: Sparse
    """(n_users, n_items) float32, what each user touched, and how much it weighs."""

    weighing_: Weighing
    """How the events of a history weigh."""

    def __init__(
        self,
        *,
        k: int = 100,
        similarity: Measure = "cosine",
        shrinkage: float = 0.0,
        alpha: float = 0.5,
        weighting: Weighting = _UNWEIGHTED,
        votes: Votes = _PLAIN_VOTES,
        train_weights: EventWeights = _PLAIN,
        history_weights: EventWeights = _PLAIN,
    ) -> None:
        """Set how users are compared.

        Args:
            k: Neighbours of each query; more than there are users takes all.
            similarity: Of the history with the users' rows; see `Similarity`.
            shrinkage: Added to the denominator, so that a chance meeting makes no close neighbours.
            alpha: The exponent of the history in the denominator.
            weighting: Of the entries before users are compared, users being the documents and items the terms.
            votes: What the neighbours' similarities are worth.
            train_weights: How the log's events weigh.
            history_weights: How the events of a history weigh.

        Raises:
            ConfigError: If `k` is below 1, `shrinkage` below 0, or `alpha` outside [0, 1].
        """
        _check(k)
        self.k = k
        self.similarity = Similarity(similarity, shrinkage, alpha)
        self.weighting = weighting
        self.votes = votes
        self.train_weights = train_weights
        self.history_weights = history_weights

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Keep who touched what; neighbours are sought when a query comes.

        Raises:
            DataError: If the log holds no event that weighs anything, or lacks a behaviour that is given a weight.
        """
        self.weighing_ = Weighing.of(self.history_weights, train)
        return self._keep(Weighing.of(self.train_weights, train).log_matrix(train))

    def _keep(self, train: Sparse) -> Self:
        self.train_ = train
        self._corpus, rows = Corpus.of(train, self.weighting)
        discounts = np.maximum(self._corpus.row_counts, 1) ** -self.votes.popularity_exponent
        weights = (train.data * discounts[train.indices]).astype(np.float32)
        self._votes: Sparse = csr_array((weights, train.indices, train.indptr), shape=train.shape)
        self._others = rows.T.tocsr()
        self._other_terms = self.similarity.terms(rows, self._corpus, exponent=1 - self.similarity.alpha)
        return self

    def similarities(self, queries: Queries) -> Sparse:
        """Return (n_queries, n_users) float32: the similarity with each of the query's neighbours.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        histories = self.weighing_.history_matrix(queries, self.train_.shape[1])
        rows = self._corpus.weighted(histories, self.weighting)
        terms = self.similarity.terms(rows, self._corpus, exponent=self.similarity.alpha)
        return self.similarity.nearest(
            rows, self._others, terms, self._other_terms, left_out=queries.users, k=self.k
        )

    def factors(self, queries: Queries) -> tuple[Sparse, Sparse]:
        """Return the votes of the neighbours (n_queries, n_users), and what each of them votes for.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        neighbors = self.similarities(queries)
        neighbors.data **= self.votes.amplification
        return neighbors, self._votes

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32, 0 where no neighbour touched the item.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return product(*self.factors(queries))

    def get_state(self) -> State:
        """Return the train matrix (`offsets`, `indices`, `weights`), `n_items` (one) and `behavior_weights`."""
        return {
            "offsets": self.train_.indptr,
            "indices": self.train_.indices,
            "weights": self.train_.data,
            "n_items": np.array([self.train_.shape[1]], np.int64),
            "behavior_weights": self.weighing_.by_behavior,
        }

    def set_state(self, state: State) -> Self:
        """Take over the train matrix of another model.

        Raises:
            RecordError: If an array is missing or does not fit the others.
        """
        _, n_items = flat(state, "offsets"), flat(state, "n_items")
        if not len(n_items):
            raise RecordError("the state of a neighbour model has an empty 'n_items'; export the run again")
        self.weighing_ = Weighing.restored(self.history_weights, state)
        return self._keep(restored_matrix(state, "weights", n_columns=int(n_items[0])))


def _check(k: int) -> None:
    if k < 1:
        raise ConfigError(f"model.k must be at least 1, but is {k}")
