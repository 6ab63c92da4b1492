"""Matrix factorization of who touched what, by alternating least squares over all pairs."""

from typing import Self

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.models.cholesky import solve_in_place
from recdl.models.compiled import Rows, compiled_fast, scratch, scratch_vectors
from recdl.models.memory import check_memory
from recdl.models.protocol import RankingTask, State
from recdl.models.sums import row_sums
from recdl.models.weights import EventWeights, Weighing
from recdl.threads import in_threads

_PLAIN = EventWeights()
_INITIAL_DEVIATION = 0.1
"""Of the product of two embeddings; Rendle et al. (2021) keep it, whatever the embedding size."""

_STEPS = 3

Embeddings = npt.NDArray[np.float32]


class ALS:
    """Score an item by the product of its embedding with that of the history.

    The embeddings minimise (Hu et al., 2008; weighted as by Rendle et al., 2021, "iALS++: speeding up matrix
    factorization with subspace optimization" and "Revisiting the performance of iALS on item recommendation
    benchmarks")

        sum over observed (u, i) of w_ui (1 - <u, i>)^2 + unobserved_weight * sum over all (u, i) of <u, i>^2
        + l2 * (sum over u of r_u |u|^2 + sum over i of r_i |i|^2),

    r_u being (the weights of u's items + unobserved_weight * n_items)^frequency_exponent, and r_i likewise. In an
    epoch all users, then all items, take conjugate gradient steps from where they are (Takacs et al., 2011,
    "Applications of the conjugate gradient method for implicit feedback collaborative filtering").

    Queries are folded in: the embedding is solved for exactly from the history, for known users as for visitors.
    An empty history scores 0 everywhere, and so does an item without events.
    """

    items_: Embeddings
    """(n_items, embedding_size) float32."""

    weighing_: Weighing
    """How the events of a history weigh."""

    def __init__(
        self,
        *,
        embedding_size: int = 64,
        n_epochs: int = 16,
        l2: float = 0.01,
        unobserved_weight: float = 0.3,
        frequency_exponent: float = 1.0,
        weights: EventWeights = _PLAIN,
        seed: int = 0,
    ) -> None:
        """Set the objective and how long it is worked at.

        Args:
            embedding_size: Of users and items.
            n_epochs: Times that all users and all items are improved.
            l2: Regularisation.
            unobserved_weight: Of each pair, observed or not, towards a score of 0 (alpha_0 in the paper).
            frequency_exponent: How the regularisation grows with activity and popularity (nu): 0 not, 1 in
                proportion, as where every observed pair brings its own.
            weights: How events weigh, in the log and in the history of a query.
            seed: Of the first embeddings.

        Raises:
            ConfigError: If a size is below 1, or a weight not above 0.
        """
        for name, size in (("embedding_size", embedding_size), ("n_epochs", n_epochs)):
            if size < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {size}")
        for name, value in (("l2", l2), ("unobserved_weight", unobserved_weight)):
            if not 0 < value < np.inf:
                raise ConfigError(f"model.{name} must be above 0, and finite, but is {value}")
        if not 0 <= frequency_exponent < np.inf:
            raise ConfigError(f"model.frequency_exponent must be 0 or more, but is {frequency_exponent}")
        self.embedding_size = embedding_size
        self.n_epochs = n_epochs
        self.l2 = l2
        self.unobserved_weight = unobserved_weight
        self.frequency_exponent = frequency_exponent
        self.weights = weights
        self.seed = seed

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Find the embeddings.

        Raises:
            DataError: If the log holds no event that weighs anything, lacks a behaviour that is given a weight, or
                if the memory would not suffice.
        """
        check_memory(
            # Drawn in float64 and kept in float32, the users' first.
            4 * self.embedding_size * (train.n_users + train.n_items + 2 * max(train.n_users, train.n_items)),
            what=f"ALS of {train.n_users:,} users and {train.n_items:,} items",
            advice=f"lower model.embedding_size (now {self.embedding_size}), or keep fewer users and items",
        )
        self.weighing_ = Weighing.of(self.weights, train)
        by_user = self.weighing_.log_matrix(train)
        by_item = by_user.T.tocsr()
        generator = np.random.default_rng(self.seed)
        deviation = _INITIAL_DEVIATION / np.sqrt(self.embedding_size)
        users, items = (
            generator.normal(0, deviation, (n, self.embedding_size)).astype(np.float32) for n in by_user.shape
        )
        for _ in range(self.n_epochs):
            self._improve(users, by_user, items)
            self._improve(items, by_item, users)
        self.items_ = items
        return self

    def _improve(self, embeddings: Embeddings, events: Sparse, fixed: Embeddings) -> None:
        """Bring one side's embeddings nearer to the best for the other side's, in place."""
        rows, square, l2 = self._system(events, fixed)
        in_threads(
            lambda start, end: _step_rows(start, end, rows, fixed, square, l2, embeddings, _STEPS),
            np.diff(rows.offsets) + self.embedding_size / 2.0,
        )

    def _solve(self, events: Sparse, fixed: Embeddings) -> Embeddings:
        """Return (n, embedding_size) float32, the best embeddings for the other side's."""
        rows, square, l2 = self._system(events, fixed)
        embeddings = np.zeros((events.shape[0], fixed.shape[1]), np.float32)
        in_threads(
            lambda start, end: _solve_rows(start, end, rows, fixed, square, l2, embeddings),
            np.diff(rows.offsets) + self.embedding_size / 2.0,
        )
        return embeddings

    def _system(self, events: Sparse, fixed: Embeddings) -> tuple[Rows, Embeddings, Embeddings]:
        """Return the rows, what all of them share of the normal equations, and the diagonal that each adds."""
        square = self.unobserved_weight * (fixed.T @ fixed)
        activity = row_sums(events) + self.unobserved_weight * events.shape[1]
        l2 = self.l2 * activity**self.frequency_exponent
        return Rows.of(events), square.astype(np.float32), l2.astype(np.float32)

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        users, items = self.embeddings(queries)
        scores: npt.NDArray[np.float32] = users @ items.T
        return scores

    def embeddings(self, queries: Queries) -> tuple[Embeddings, Embeddings]:
        """Return (n_queries, d) and (n_items, d) float32, whose products are the scores.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        histories = self.weighing_.history_matrix(queries, len(self.items_))
        return self._solve(histories, self.items_), self.items_

    def item_embeddings(self) -> Embeddings:
        """Return (n_items, d) float32, the items' embeddings."""
        return self.items_

    def get_state(self) -> State:
        """Return `items`, the items' embeddings, and `behavior_weights`."""
        return {"items": self.items_, "behavior_weights": self.weighing_.by_behavior}

    def set_state(self, state: State) -> Self:
        """Take over the embeddings of another model.

        Raises:
            RecordError: If an array is missing or of another shape.
        """
        items = state.get("items")
        if items is None or items.ndim != 2 or items.shape[1] != self.embedding_size:
            raise RecordError(
                f"the state of the model needs an array 'items' of (n_items, {self.embedding_size}); export the"
                " run again"
            )
        self.items_ = np.require(items, np.float32, ["C", "W"])
        self.weighing_ = Weighing.restored(self.weights, state)
        return self


@compiled_fast
def _add_outer(
    first: int, last: int, rows: Rows, fixed: Embeddings, wanted: np.float32, x: Embeddings, out: Embeddings
) -> None:
    """Add to `out` the sum over the entries of w (wanted - <f, x>) f; four at a time, which is twice as fast."""
    size = len(x)
    whole = first + (last - first) // 4 * 4
    for place in range(first, whole, 4):
        a, b = fixed[rows.indices[place]], fixed[rows.indices[place + 1]]
        c, d = fixed[rows.indices[place + 2]], fixed[rows.indices[place + 3]]
        pa, pb, pc, pd = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for i in range(size):
            pa += a[i] * x[i]
            pb += b[i] * x[i]
            pc += c[i] * x[i]
            pd += d[i] * x[i]
        pa, pb = rows.values[place] * (wanted - pa), rows.values[place + 1] * (wanted - pb)
        pc, pd = rows.values[place + 2] * (wanted - pc), rows.values[place + 3] * (wanted - pd)
        for i in range(size):
            out[i] += pa * a[i] + pb * b[i] + pc * c[i] + pd * d[i]
    for place in range(whole, last):
        a = fixed[rows.indices[place]]
        pa = np.float32(0)
        for i in range(size):
            pa += a[i] * x[i]
        pa = rows.values[place] * (wanted - pa)
        for i in range(size):
            out[i] += pa * a[i]


@compiled_fast
def _subtract_shared(square: Embeddings, l2: float, x: Embeddings, out: Embeddings) -> None:
    """Subtract `(square + l2) @ x` from `out`; `square` is symmetric."""
    for i in range(len(x)):
        out[i] -= l2 * x[i]
        line, factor = square[i], x[i]
        for j in range(len(x)):
            out[j] -= factor * line[j]


@compiled_fast
def _step_rows(
    start: int,
    end: int,
    rows: Rows,
    fixed: Embeddings,
    square: Embeddings,
    l2: Embeddings,
    embeddings: Embeddings,
    n_steps: int,
) -> None:
    """Take conjugate gradient steps from the embeddings of the rows, in place; a row without entries becomes 0."""
    size = fixed.shape[1]
    applied, residual, direction = scratch_vectors(size)
    for row in range(start, end):
        x, first, last = embeddings[row], rows.offsets[row], rows.offsets[row + 1]
        if first == last:
            x[:] = 0
            continue
        residual[:] = 0
        _add_outer(first, last, rows, fixed, np.float32(1), x, residual)
        _subtract_shared(square, l2[row], x, residual)
        error = np.float32(0)
        for i in range(size):
            direction[i] = residual[i]
            error += residual[i] * residual[i]
        for _ in range(n_steps):
            if error < 1e-20:
                break
            applied[:] = 0  # what follows makes it minus the matrix times the direction
            _add_outer(first, last, rows, fixed, np.float32(0), direction, applied)
            _subtract_shared(square, l2[row], direction, applied)
            curvature = np.float32(0)
            for i in range(size):
                curvature -= direction[i] * applied[i]
            length = error / curvature
            before, error = error, np.float32(0)
            for i in range(size):
                x[i] += length * direction[i]
                residual[i] += length * applied[i]
                error += residual[i] * residual[i]
            ratio = error / before
            for i in range(size):
                direction[i] = residual[i] + ratio * direction[i]


@compiled_fast
def _add_squares(first: int, last: int, rows: Rows, fixed: Embeddings, matrix: Embeddings, x: Embeddings) -> None:
    """Add to the lower triangle of `matrix` the sum over the entries of w f f', and that of w f to `x`."""
    size = len(x)
    whole = first + (last - first) // 4 * 4
    for place in range(first, whole, 4):
        a, b = fixed[rows.indices[place]], fixed[rows.indices[place + 1]]
        c, d = fixed[rows.indices[place + 2]], fixed[rows.indices[place + 3]]
        for i in range(size):
            wa, wb = rows.values[place] * a[i], rows.values[place + 1] * b[i]
            wc, wd = rows.values[place + 2] * c[i], rows.values[place + 3] * d[i]
            x[i] += wa + wb + wc + wd
            line = matrix[i]
            for j in range(i + 1):
                line[j] += wa * a[j] + wb * b[j] + wc * c[j] + wd * d[j]
    for place in range(whole, last):
        a = fixed[rows.indices[place]]
        for i in range(size):
            wa = rows.values[place] * a[i]
            x[i] += wa
            line = matrix[i]
            for j in range(i + 1):
                line[j] += wa * a[j]


@compiled_fast
def _solve_rows(
    start: int,
    end: int,
    rows: Rows,
    fixed: Embeddings,
    square: Embeddings,
    l2: Embeddings,
    embeddings: Embeddings,
) -> None:
    """Set the embeddings of the rows to the solutions of their normal equations."""
    size = fixed.shape[1]
    matrix = scratch(size, size)
    for row in range(start, end):
        x, first, last = embeddings[row], rows.offsets[row], rows.offsets[row + 1]
        x[:] = 0
        if first == last:
            continue
        matrix[:] = square
        for i in range(size):
            matrix[i, i] += l2[row]
        _add_squares(first, last, rows, fixed, matrix, x)
        solve_in_place(matrix, x)
