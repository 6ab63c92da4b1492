"""EASE: the linear map from a history to scores that reconstructs histories best, in closed form."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack
from scipy.sparse import csr_array

from recdl.compiling import compiled
from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.cholesky import solve_in_place
from recdl.models.compiled import Rows, scratch
from recdl.models.matrix_state import restored_matrix
from recdl.models.memory import check_memory
from recdl.models.nearest import Terms, gram_triangle, mirror, nearest, product
from recdl.models.protocol import Factor, RankingTask, State
from recdl.models.sums import row_sums
from recdl.models.weights import EventWeights, Weighing
from recdl.threads import in_threads

_PLAIN = EventWeights()
_ROWS = 256  # of coefficients that are computed at a time

Square = npt.NDArray[np.float32]


class EASE:
    """Score an item by a linear combination of the items of the history, other than itself.

    The coefficients B minimise |X - X B|^2 + l2 |B|^2 with a diagonal of 0: with P = (X'X + l2)^-1, they are
    -P_ij / P_jj (Steck, 2019, "Embarrassingly shallow autoencoders for sparse data"). P takes 4 n_items^2 bytes,
    and time grows with n_items^3. Where that is too much, `max_neighbors` lets each item draw on the most similar
    ones alone, and takes those of them that are not among each other's most similar for unrelated (Steck, 2019,
    "Markov random fields for collaborative filtering").

    With a `transition_share` of s the map is to find the next item too: what is minimised is
    (1 - s) |X - X B|^2 + s |T - S B|^2, where each row of S holds one item of a user and that of T the one that
    followed at once, both parts being of the same size at s = 1/2 (after Choe et al., 2021, "Session-aware linear
    item-item models for session-based recommendation", with steps of one item).
    """

    coefficients_: "Square | Sparse"
    """(n_items, n_items) float32; row j holds what an item j of the history adds to the scores."""

    weighing_: Weighing
    """How the events of a history weigh."""

    def __init__(
        self,
        *,
        l2: float = 300.0,
        dropout: float = 0.0,
        activity_exponent: float = 0.0,
        transition_share: float = 0.0,
        max_neighbors: int | None = None,
        train_weights: EventWeights = _PLAIN,
        history_weights: EventWeights = _PLAIN,
    ) -> None:
        """Set the regularisation.

        Args:
            l2: Regularisation.
            dropout: Share of the history's items that the coefficients must do without.
            activity_exponent: How much less a user weighs for having touched much; 0: not.
            transition_share: Share of what is learned from which item followed which.
            max_neighbors: Items that each item's score is made of; None for all of them, exactly.
            train_weights: How the log's events weigh.
            history_weights: How the events of a history weigh when it is scored.

        Raises:
            ConfigError: If `l2` is not above 0, `dropout` or `transition_share` not in [0, 1), `activity_exponent`
                below 0 or `max_neighbors` below 1, or if there are both of the last two.
        """
        if not 0 < l2 < np.inf:
            raise ConfigError(f"model.l2 must be above 0, and finite, but is {l2}")
        for name, share in (("dropout", dropout), ("transition_share", transition_share)):
            if not 0 <= share < 1:
                raise ConfigError(f"model.{name} must be at least 0 and below 1, but is {share}")
        if not 0 <= activity_exponent < np.inf:
            raise ConfigError(f"model.activity_exponent must be 0 or more, and finite, but is {activity_exponent}")
        if max_neighbors is not None and max_neighbors < 1:
            raise ConfigError(f"model.max_neighbors must be at least 1, or null for all, but is {max_neighbors}")
        if max_neighbors is not None and transition_share:
            raise ConfigError("model.transition_share needs the exact form; set model.max_neighbors to null")
        self.l2 = l2
        self.dropout = dropout
        self.activity_exponent = activity_exponent
        self.transition_share = transition_share
        self.max_neighbors = max_neighbors
        self.train_weights = train_weights
        self.history_weights = history_weights

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Find the coefficients.

        Raises:
            DataError: If the log holds no event that weighs anything or lacks a behaviour that is given a weight,
                if nothing in it follows anything else where that counts, if the memory would not suffice, or if
                the regularisation does not for arithmetic in float32.
        """
        self.weighing_ = Weighing.of(self.history_weights, train)
        if self.max_neighbors is None:
            check_memory(
                4 * train.n_items**2,
                what=f"EASE over {train.n_items:,} items",
                advice="set model.max_neighbors (to 200, say) for an approximation, or keep fewer items",
            )
        weighing = Weighing.of(self.train_weights, train)
        users = _by_activity(weighing.log_matrix(train), self.activity_exponent)
        missing = self.dropout / (1 - self.dropout)
        if self.transition_share:
            followers = _shared(weighing.transition_matrix(train), users, self.transition_share)
            self.coefficients_ = _exact((1 - self.transition_share) ** 0.5 * users, self.l2, missing, followers)
        elif self.max_neighbors is None:
            self.coefficients_ = _exact(users, self.l2, missing)
        else:
            self.coefficients_ = _approximate(users, self.l2, missing, self.max_neighbors)
        return self

    def factors(self, queries: Queries) -> tuple[Sparse, Factor]:
        """Return the weights of the histories (n_queries, n_items), and what each item of them adds.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return self.weighing_.history_matrix(queries, self.coefficients_.shape[1]), self.coefficients_

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return product(*self.factors(queries))

    def get_state(self) -> State:
        """Return `coefficients`, square or, with `offsets` and `indices`, sparse; and `behavior_weights`."""
        matrix = self.coefficients_
        if isinstance(matrix, np.ndarray):
            parts: dict[str, npt.NDArray[Any]] = {"coefficients": matrix}
        else:
            parts = {"offsets": matrix.indptr, "indices": matrix.indices, "coefficients": matrix.data}
        return {**parts, "behavior_weights": self.weighing_.by_behavior}

    def set_state(self, state: State) -> Self:
        """Take over the coefficients another model found.

        Raises:
            RecordError: If an array is missing or of the wrong shape.
        """
        matrix = state.get("coefficients")
        if self.max_neighbors is not None:
            self.coefficients_ = restored_matrix(state, "coefficients")
        elif matrix is None or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise RecordError("the state of the model needs a square array 'coefficients'; export the run again")
        else:
            self.coefficients_ = np.require(matrix, np.float32, ["C", "W"])
        self.weighing_ = Weighing.restored(self.history_weights, state)
        return self


def _by_activity(users: Sparse, exponent: float) -> Sparse:
    """Let rows weigh by their number of entries to the power of `-exponent`, one that has any 1 on average."""
    if not exponent:
        return users
    lengths = np.diff(users.indptr)
    weights = np.zeros(len(lengths))
    np.power(lengths, -exponent, where=lengths > 0, out=weights)
    weights *= (lengths > 0).sum() / weights.sum()
    # A row counts twice in each product of columns.
    values = (users.data * np.sqrt(weights).repeat(lengths)).astype(np.float32)
    return csr_array((values, users.indices, users.indptr), shape=users.shape)


def _shared(transitions: Sparse, users: Sparse, share: float) -> Sparse:
    """Scale transitions so that, at a share of one half, they weigh what the pairs of users and items do."""
    total = float(transitions.data.sum(dtype=np.float64))
    if not total:
        raise DataError("no item follows another one of the same user; set model.transition_share=0")
    scale = share * float(np.square(users.data, dtype=np.float64).sum()) / total
    return (np.float32(scale) * transitions).tocsr()


def _exact(users: Sparse, l2: float, missing: float, followers: "Sparse | None" = None) -> Square:
    """Return (n_items, n_items) float32 coefficients, computed in place of the only square array there is.

    Args:
        users: (n_users, n_items) X.
        l2: Regularisation.
        missing: That of each item, over its product with itself.
        followers: (n_items, n_items) S'T, where what items follow counts too.
    """
    square = gram_triangle(users)
    diagonal = np.einsum("ii->i", square)
    if followers is not None:
        diagonal += row_sums(followers, power=1).astype(np.float32)  # S'S: each row of S holds one item
    diagonal *= np.float32(1 + missing)
    diagonal += np.float32(l2)
    # LAPACK counts by column: what is the upper triangle here is the lower one there.
    factor, failed = lapack.spotrf(square.T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        factor, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError(f"model.l2={l2} is too small for items this alike (in float32); raise it")
    inverse: Square = np.ascontiguousarray(factor.T)
    mirror(inverse)
    if followers is None:
        inverse /= -inverse.diagonal().copy()
    else:
        _follow(inverse, followers)
    np.fill_diagonal(inverse, 0)
    return inverse


def _follow(inverse: Square, followers: Sparse) -> None:
    """Turn the inverse P, in place, into coefficients but for their diagonal, which is to be 0.

    P times (X'X + S'T) is 1 - P E + P S'T, E being what the diagonal has beside X'X. A multiple of each column of
    P is then taken off, such that the diagonal is 0: E is gone with it.
    """
    rows, columns = followers.nonzero()
    own = np.bincount(columns, followers.data * inverse[rows, columns], len(inverse))
    factors = ((1 + own) / inverse.diagonal()).astype(np.float32)
    into = followers.T.tocsr()

    def follow(start: int, end: int) -> None:
        for first in range(start, end, _ROWS):
            block = inverse[first : min(first + _ROWS, end)]
            block[:] = (into @ block.T).T - block * factors

    in_threads(follow, np.ones(len(inverse)))


def _approximate(users: Sparse, l2: float, missing: float, max_neighbors: int) -> Sparse:
    """Return (n_items, n_items) float32 coefficients, at most `max_neighbors` a column."""
    n_items = users.shape[1]
    squares = row_sums(users.T.tocsr(), power=2)
    nothing = np.empty(0)
    terms = Terms(nothing, nothing, np.sqrt(squares))
    items = np.arange(n_items)
    neighbors = nearest(users.T.tocsr(), users, terms, terms, left_out=items, k=max_neighbors)
    rows = items.repeat(np.diff(neighbors.indptr))
    products = neighbors.data * np.sqrt(squares[rows] * squares[neighbors.indices])
    supports = Rows.of(csr_array((products, neighbors.indices, neighbors.indptr), shape=neighbors.shape))
    diagonal = (squares * (1 + missing) + l2).astype(np.float32)
    coefficients = np.empty(len(products), np.float32)
    work = np.diff(neighbors.indptr).astype(np.float64) ** 3
    in_threads(lambda start, end: _regress_rows(start, end, supports, diagonal, coefficients), work)
    by_candidate: Sparse = csr_array((coefficients, neighbors.indices, neighbors.indptr), shape=neighbors.shape)
    return by_candidate.T.tocsr()


@compiled
def _regress_rows(
    start: int,
    end: int,
    supports: Rows,
    diagonal: npt.NDArray[np.float32],
    coefficients: npt.NDArray[np.float32],
) -> None:
    """Regress each item of the rows on the items of its support.

    Args:
        start: First row ...
        end: ... and the one after the last.
        supports: (n_items, n_items): the similar items of each, with the product of the two columns.
        diagonal: (n_items,) each column's product with itself, regularisation included.
        coefficients: Flat, aligned with `supports.values`; the result.
    """
    places = np.full(len(diagonal), -1, np.int32)
    for item in range(start, end):
        first, last = supports.offsets[item], supports.offsets[item + 1]
        support = supports.indices[first:last]
        matrix = scratch(len(support), len(support))
        matrix[:] = 0
        for place in range(len(support)):
            places[support[place]] = place
            matrix[place, place] = diagonal[support[place]]
        for place in range(len(support)):
            for x in range(supports.offsets[support[place]], supports.offsets[support[place] + 1]):
                other = places[supports.indices[x]]
                if other >= 0:
                    matrix[place, other] = supports.values[x]
                    matrix[other, place] = supports.values[x]
        solution = coefficients[first:last]
        solution[:] = supports.values[first:last]
        solve_in_place(matrix, solution)
        for other in support:
            places[other] = -1
