"""What every model is to the rest of recdl: something that fits a log and scores queries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse
from recdl.data.queries import Queries, QuerySet

State = Mapping[str, npt.NDArray[Any]]
"""What a fitted model learned, as named arrays: what a bundle stores."""

Factor: TypeAlias = "Sparse | npt.NDArray[np.float32]"


@dataclass(frozen=True, eq=False)
class RankingTask:
    """What is to be ranked, for whom, and by which rules; the same for every model.

    Attributes:
        query_set: The queries and their targets.
        candidates: (n_items,) bool, items that may be recommended. A target that is no candidate is a miss.
        exclude_history: Whether the items of a query's own history are taken out of its candidates.
    """

    query_set: QuerySet
    candidates: npt.NDArray[np.bool_]
    exclude_history: bool

    def at_most(self, n_queries: int | None) -> "RankingTask":
        """Return the task for `n_queries` of its queries, or all: a draw that no model or seed changes."""
        n = len(self.query_set)
        if n_queries is None or n <= n_queries:
            return self
        rows = np.sort(np.random.default_rng(0).choice(n, n_queries, replace=False))
        return replace(self, query_set=self.query_set.take(rows))


@runtime_checkable
class Recommender(Protocol):
    """A model. Hyperparameters are given to `__init__`, sizes are read from the data in `fit`."""

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Learn from `train`; `validation` may only decide when to stop and which epoch to keep.

        Raises:
            DataError: If the log cannot be learned from (no events, say).
        """
        ...

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32 scores, the higher the better, all finite.

        Neither the batch a query is scored in nor anything after its history changes its scores.
        """
        ...

    def get_state(self) -> State:
        """Return everything `fit` learned, so that `set_state` on an equal, unfitted model gives equal scores."""
        ...

    def set_state(self, state: State) -> Self:
        """Take over what another model of the same hyperparameters learned.

        Raises:
            RecordError: If an array is missing or of the wrong shape.
        """
        ...


@runtime_checkable
class Factored(Protocol):
    """A recommender whose scores are a product, so that ranks and lists come without ever making all scores."""

    def factors(self, queries: Queries) -> tuple[Sparse, Factor]:
        """Return (n_queries, m) and (m, n_items), whose product, in the order of the entries, is `score`.

        Products are summed in float64 if the second is sparse and in float32 if it is dense, as
        `recdl.models.nearest.product` does.
        """
        ...


class ListedItems(NamedTuple):
    """Lists of items, one a query, the best first.

    Attributes:
        offsets: (n_queries + 1,) int64, between which the items of each query lie.
        items: Flat int32, none twice in a list but `UNKNOWN` (-1), an item that the log does not hold.
        places: Flat int32, never falling within a list; items of one place are tied.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]


@runtime_checkable
class Listed(Protocol):
    """A recommender that names some items and says nothing of the others, which then are misses."""

    def lists(self, queries: Queries) -> ListedItems:
        """Return what is recommended to each query."""
        ...


@runtime_checkable
class Embedded(Protocol):
    """A recommender whose score is the product of two vectors."""

    embedding_size: int

    def embeddings(self, queries: Queries) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return (n_queries, embedding_size) and (n_items, embedding_size)."""
        ...


@runtime_checkable
class ItemEmbedded(Protocol):
    """A fitted recommender that has a vector for each item."""

    def item_embeddings(self) -> npt.NDArray[np.float32]:
        """Return (n_items, embedding_size) float32; near vectors are of items that are recommended alike."""
        ...


@runtime_checkable
class RatingPredictor(Protocol):
    """A recommender that predicts ratings: the log's number for an event."""

    def predict_ratings(
        self, queries: Queries, rows: npt.NDArray[np.int64], items: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float64]:
        """Return (n,) float64, what query `rows[k]` gives `items[k]`, all finite."""
        ...


class ModelFactory(Protocol):
    """Makes a model from what the run decides, so far as its signature asks for it (a trainer, a seed)."""

    def __call__(self, **extras: Any) -> Recommender:
        """Return a fresh model."""
        ...


@runtime_checkable
class Refittable(Protocol):
    """A recommender that knows by itself what of its fit with validation a fit without it has to keep."""

    def refit(self, train: Interactions) -> Recommender:
        """Return a fresh model that learned from `train` as validation had decided."""
        ...


@runtime_checkable
class Startable(Protocol):
    """A recommender whose fit may start from what others have learned."""

    def start_from(self, models: Mapping[str, Recommender]) -> Self:
        """Let the next fits start from these fitted models, by what they are called in messages.

        Raises:
            ConfigError: If one is of a kind or a size that this model cannot start from.
        """
        ...
