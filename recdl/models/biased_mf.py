"""Matrix factorization with biases of explicit ratings, by alternating least squares."""

import sys
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.cholesky import solve_in_place
from recdl.models.compiled import Rows, compiled_fast, scratch
from recdl.models.memory import check_memory
from recdl.models.protocol import RankingTask, State
from recdl.threads import in_threads

_INITIAL_DEVIATION = 0.1

Vectors = npt.NDArray[np.float32]


class BiasedMF:
    """Predict a rating r_ui = mu + b_u + b_i + q_i . p_u, and rank items by it.

    The parameters minimise (Koren, Bell and Volinsky 2009, Matrix Factorization Techniques for Recommender
    Systems, eq. 5)

        sum over ratings of (r_ui - mu - b_u - b_i - q_i . p_u)^2
        + l2 * (sum over u of n_u^nu (|p_u|^2 + b_u^2) + sum over i of n_i^nu (|q_i|^2 + b_i^2)),

    mu being the mean rating, n_u and n_i the numbers of ratings of a user and of an item, and nu the
    `frequency_exponent`: 0 in the paper, 1 in Zhou et al. 2008 (Large-Scale Parallel Collaborative Filtering for
    the Netflix Prize). All users, then all items, are solved for exactly, in turns.

    A rating is the number in the log's weight column; of several of a user for an item the latest counts. Queries
    are folded in: b_u and p_u are solved for from the ratings in the history, for known users as for visitors. Who
    has rated nothing is predicted mu + b_i, and so is an item without ratings mu + b_u.
    """

    items_: Vectors
    """(n_items, embedding_size + 1) float32: q_i, then b_i."""

    def __init__(
        self,
        *,
        embedding_size: int = 32,
        n_epochs: int = 15,
        l2: float = 0.06,
        frequency_exponent: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Set the objective and how long it is worked at.

        Raises:
            ConfigError: If a size is below 1, `l2` not above 0 or `frequency_exponent` below 0.
        """
        for name, size in (("embedding_size", embedding_size), ("n_epochs", n_epochs)):
            if size < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {size}")
        if not 0 < l2 < np.inf:
            raise ConfigError(f"model.l2 must be above 0, and finite, but is {l2}")
        if not 0 <= frequency_exponent < np.inf:
            raise ConfigError(f"model.frequency_exponent must be 0 or more, but is {frequency_exponent}")
        self.embedding_size = embedding_size
        self.n_epochs = n_epochs
        self.l2 = l2
        self.frequency_exponent = frequency_exponent
        self.seed = seed

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Find the parameters. A log without a weight column is taken for ratings that all are 1, with a warning.

        Raises:
            DataError: If the log holds no event, or the memory would not suffice.
        """
        if not train.n_events:
            raise DataError("the log holds no event, so that there is no rating to learn from; use a longer log")
        check_memory(
            4 * (self.embedding_size + 1) * (train.n_users + 3 * train.n_items) + 24 * train.n_events,
            what=f"biased_mf of {train.n_users:,} users and {train.n_items:,} items",
            advice=f"lower model.embedding_size (now {self.embedding_size}), or keep fewer users and items",
        )
        ratings = train.weights
        if ratings is None:
            print(
                "warning: the log has no ratings (data.columns.weight), so that biased_mf takes each event for a 1"
                " and learns nothing",
                file=sys.stderr,
            )
            ratings = np.ones(train.n_events, np.float32)
        by_user = _latest(train.users, train.items, ratings, (train.n_users, train.n_items))
        self.range_ = np.array([by_user.data.min(), by_user.data.max()], np.float32)
        self.mean_ = np.array([by_user.data.mean(dtype=np.float64)], np.float64)
        by_user.data -= self.mean_.astype(np.float32)
        by_item = by_user.T.tocsr()
        generator = np.random.default_rng(self.seed)
        size = (train.n_items, self.embedding_size + 1)
        items = generator.normal(0, _INITIAL_DEVIATION, size).astype(np.float32)
        counts = np.diff(by_item.indptr)
        items[:, -1] = np.asarray(by_item.sum(1)).ravel() / (
            counts + self.l2 * counts**self.frequency_exponent + 1e-9
        )
        for _ in range(self.n_epochs):
            items = self._solve(by_item, self._solve(by_user, items))
        self.items_ = items
        return self

    def _solve(self, ratings: Sparse, others: Vectors) -> Vectors:
        """Return (n, embedding_size + 1) float32, the best vectors and biases of the rows for the other side's."""
        counts = np.diff(ratings.indptr)
        solved = np.zeros((ratings.shape[0], others.shape[1]), np.float32)
        rows = Rows.of(ratings)
        l2 = (self.l2 * counts.astype(np.float64) ** self.frequency_exponent).astype(np.float32)
        in_threads(lambda start, end: _solve_rows(start, end, rows, others, l2, solved), counts + 1.0)
        return solved

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32, the ratings predicted.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        users = self._folded(queries)
        offsets = users[:, -1:] + np.float32(self.mean_[0])
        scores: npt.NDArray[np.float32] = users[:, :-1] @ self.items_[:, :-1].T + offsets + self.items_[:, -1]
        return scores

    def predict_ratings(
        self, queries: Queries, rows: npt.NDArray[np.int64], items: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float64]:
        """Return (n,) float64, the rating that query `rows[k]` gives `items[k]`, within the range of train's.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        users, factors = self._folded(queries)[rows].astype(np.float64), self.items_[items].astype(np.float64)
        products = (users[:, :-1] * factors[:, :-1]).sum(1)
        ratings: npt.NDArray[np.float64] = np.clip(
            self.mean_[0] + users[:, -1] + factors[:, -1] + products, *self.range_.astype(np.float64)
        )
        return ratings

    def _folded(self, queries: Queries) -> Vectors:
        """Return (n_queries, embedding_size + 1) float32: p_u, then b_u."""
        n_items = len(self.items_)
        rows, items = queries.history_items()
        if len(items) and items.max() >= n_items:
            raise DataError(f"a history holds item {items.max()}, but the catalogue has {n_items} items")
        if queries.weights is None:  # nothing is known of what was thought of the items
            rows, items, ratings = rows[:0], items[:0], np.zeros(0, np.float32)
        else:
            ratings = queries.history_weights() - np.float32(self.mean_[0])
        return self._solve(_latest(rows, items, ratings, (len(queries), n_items)), self.items_)

    def get_state(self) -> State:
        """Return `items`, `mean` (1,) and `range` (2,), the lowest and the highest rating."""
        return {"items": self.items_, "mean": self.mean_, "range": self.range_}

    def set_state(self, state: State) -> Self:
        """Take over the parameters of another model.

        Raises:
            RecordError: If an array is missing or of another shape.
        """
        shapes = {"items": (-1, self.embedding_size + 1), "mean": (1,), "range": (2,)}
        for name, shape in shapes.items():
            array = state.get(name)
            if array is None or array.ndim != len(shape) or array.shape[-1] != shape[-1]:
                raise RecordError(
                    f"the state of the model needs an array {name!r} of {shape}; export the run again"
                )
        self.items_ = np.require(state["items"], np.float32, ["C", "W"])
        self.mean_, self.range_ = np.asarray(state["mean"], np.float64), np.asarray(state["range"], np.float32)
        return self


def _latest(
    rows: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    ratings: npt.NDArray[np.float32],
    shape: tuple[int, int],
) -> Sparse:
    """Return ratings as a matrix; of several of a pair, which come in the order of time, the last."""
    keys = rows.astype(np.int64) * shape[1] + items
    pairs, from_end = np.unique(keys[::-1], return_index=True)
    values = np.asarray(ratings[::-1][from_end], np.float32)
    counts = np.bincount(pairs // shape[1], minlength=shape[0])
    offsets = np.append(0, np.cumsum(counts))
    return csr_array((values, (pairs % shape[1]).astype(np.int32), offsets), shape=shape)


@compiled_fast
def _solve_rows(start: int, end: int, rows: Rows, others: Vectors, l2: Vectors, solved: Vectors) -> None:
    """Solve the ridge regression of each row's ratings, less the others' biases, on the others' vectors and 1."""
    size = others.shape[1]
    matrix = scratch(size, size)
    vector = scratch(1, size)[0]
    for row in range(start, end):
        x, first, last = solved[row], rows.offsets[row], rows.offsets[row + 1]
        if first == last:
            continue
        matrix[:] = 0
        for i in range(size):
            matrix[i, i] = l2[row]
        for place in range(first, last):
            other = others[rows.indices[place]]
            target = rows.values[place] - other[size - 1]
            vector[:] = other
            vector[size - 1] = 1
            for i in range(size):
                factor, line = vector[i], matrix[i]
                x[i] += factor * target
                for j in range(i + 1):
                    line[j] += factor * vector[j]
        solve_in_place(matrix, x)
