"""Nearest neighbours among items or among users, by the cosine of who touched what."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse, history_matrix, user_item_matrix
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.models.protocol import RankingTask, State

_BLOCK = 1 << 21
"""Cosines held at once, at about 50 bytes each, which bounds memory whatever the users and items number."""

_LARGEST = np.int64(0x7FFFFFFF)


class ItemKNN:
    """Score an item by its similarity to the items of the history.

    Each item nominates the `k` items whose users have the highest cosine with its own; a query's score for an item
    is the sum of the similarities with which its history nominates it (Deshpande and Karypis, 2004, "Item-based
    top-N recommendation algorithms").
    """

    similarity_: Sparse
    """(n_items, n_items) float32; row j holds the neighbours that j nominates, at most k, never j itself."""

    def __init__(self, *, k: int = 100, shrinkage: float = 0.0) -> None:
        """Set the size of the neighbourhood.

        Args:
            k: Neighbours kept of each item.
            shrinkage: Added to the denominator of the cosine, so that a chance meeting makes no close neighbours.

        Raises:
            ConfigError: If `k` is below 1 or `shrinkage` below 0.
        """
        _check(k, shrinkage)
        self.k = k
        self.shrinkage = shrinkage

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Find the neighbours of each item.

        Raises:
            DataError: If the log holds no event.
        """
        users = user_item_matrix(train)
        itself = np.arange(train.n_items)
        self.similarity_ = nearest(users.T.tocsr(), users, left_out=itself, k=self.k, shrinkage=self.shrinkage)
        return self

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32, 0 where nothing in the history nominates the item.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return _dense_product(history_matrix(queries, self.similarity_.shape[1]), self.similarity_)

    def get_state(self) -> State:
        """Return the parts of the similarity matrix: `offsets`, `indices`, `similarities`."""
        matrix = self.similarity_
        return {"offsets": matrix.indptr, "indices": matrix.indices, "similarities": matrix.data}

    def set_state(self, state: State) -> Self:
        """Take over the neighbours another model found.

        Raises:
            RecordError: If an array is missing or does not fit the others.
        """
        offsets, indices, similarities = (_part(state, name) for name in ("offsets", "indices", "similarities"))
        self.similarity_ = _matrix(offsets, indices, similarities, len(offsets) - 1)
        return self


class UserKNN:
    """Score an item by the similarity of those who touched it.

    The neighbours of a query are the `k` train users whose items have the highest cosine with the items of its
    history, the querying user left out; a score is the sum of the similarities of the neighbours who touched the
    item (Herlocker et al., 1999, "An algorithmic framework for performing collaborative filtering").
    """

    train_: Sparse
    """(n_users, n_items) float32, 1 where the user touched the item."""

    transposed_: Sparse
    """(n_items, n_users) float32, the same by item, so that a query costs only what its items' users cost."""

    def __init__(self, *, k: int = 100, shrinkage: float = 0.0) -> None:
        """Set the size of the neighbourhood.

        Args:
            k: Neighbours of each query.
            shrinkage: Added to the denominator of the cosine, so that a chance meeting makes no close neighbours.

        Raises:
            ConfigError: If `k` is below 1 or `shrinkage` below 0.
        """
        _check(k, shrinkage)
        self.k = k
        self.shrinkage = shrinkage

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Keep who touched what; neighbours are sought when a query comes.

        Raises:
            DataError: If the log holds no event.
        """
        return self._keep(user_item_matrix(train))

    def _keep(self, train: Sparse) -> Self:
        self.train_ = train
        self.transposed_ = train.T.tocsr()
        return self

    def similarities(self, queries: Queries) -> Sparse:
        """Return (n_queries, n_users) float32: the cosine with each of the query's neighbours.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        histories = history_matrix(queries, self.train_.shape[1])
        return nearest(histories, self.transposed_, left_out=queries.users, k=self.k, shrinkage=self.shrinkage)

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32, 0 where no neighbour touched the item.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        return _dense_product(self.similarities(queries), self.train_)

    def get_state(self) -> State:
        """Return the parts of the train matrix: `offsets`, `indices`, and `n_items` (one number)."""
        return {
            "offsets": self.train_.indptr,
            "indices": self.train_.indices,
            "n_items": np.array([self.train_.shape[1]], np.int64),
        }

    def set_state(self, state: State) -> Self:
        """Take over the train matrix of another model.

        Raises:
            RecordError: If an array is missing or does not fit the others.
        """
        offsets, indices, n_items = (_part(state, name) for name in ("offsets", "indices", "n_items"))
        if not len(n_items):
            raise RecordError("the state of a neighbour model has an empty 'n_items'; export the run again")
        return self._keep(_matrix(offsets, indices, np.ones(len(indices), np.float32), int(n_items[0])))


def nearest(
    queries: Sparse, others: Sparse, *, left_out: npt.NDArray[np.integer], k: int, shrinkage: float
) -> Sparse:
    """Return the cosines between each query and the `k` others most similar to it, from two binary matrices.

    The cosine of a with b is |a and b| / (sqrt(|a| |b|) + shrinkage). Those that share nothing are no neighbours;
    of the equally similar the first are kept.

    Args:
        queries: (n_queries, n_features), a query a row.
        others: (n_features, n_others), one a column.
        left_out: (n_queries,) which of the others is no neighbour of the query; -1 for none.
        k: Neighbours kept a query.
        shrinkage: Added to the denominator.

    Returns:
        (n_queries, n_others) float32, at most `k` entries a row, sorted by index.
    """
    query_sizes = np.diff(queries.indptr)
    sizes = np.bincount(others.indices, minlength=others.shape[1])
    work = queries @ np.diff(others.indptr).astype(np.float64)
    counts, indices, similarities = [], [], []
    for start, end in _blocks(np.minimum(work, len(sizes))):
        shared = queries[start:end] @ others
        lengths = np.diff(shared.indptr)
        products = query_sizes[start:end].repeat(lengths).astype(np.float64) * sizes[shared.indices]
        cosines = (shared.data / (np.sqrt(products) + shrinkage)).astype(np.float32)
        cosines[shared.indices == left_out[start:end].repeat(lengths)] = 0
        kept, chosen, values = _top_k(shared.indptr, shared.indices, cosines, k)
        counts.append(kept)
        indices.append(chosen)
        similarities.append(values)
    offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
    flat_indices = np.concatenate([np.empty(0, np.int32), *indices])
    flat_similarities = np.concatenate([np.empty(0, np.float32), *similarities])
    found = csr_array((flat_similarities, flat_indices, offsets), shape=(len(query_sizes), len(sizes)))
    found.sort_indices()
    return found


def _blocks(work: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Give ranges of rows whose work sums to `_BLOCK` at most, or of a single row."""
    total = np.append(0.0, np.cumsum(work))
    start = 0
    while start < len(work):
        end = int(np.searchsorted(total, total[start] + _BLOCK, side="right")) - 1
        end = max(end, start + 1)
        yield start, end
        start = end


def _top_k(
    offsets: npt.NDArray[np.integer],
    indices: npt.NDArray[np.integer],
    values: npt.NDArray[np.float32],
    k: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Keep the `k` highest positive values of each sparse row: entries a row, their indices, their values.

    Value and index are packed into one integer. Its upper half holds the bits of the positive float32, which sort
    like the float itself, so that one partition settles ties by the lower index, however the row was ordered.
    """
    keys = values.view(np.int32).astype(np.int64) << 32
    keys |= _LARGEST - indices
    lengths = np.diff(offsets)
    rows = np.arange(len(lengths)).repeat(lengths)
    kept = keys > _LARGEST
    for row in np.flatnonzero(lengths > k):
        start, end = offsets[row], offsets[row + 1]
        keys[start:end].partition(end - start - k)
        kept[start : end - k] = False
        kept[end - k : end] = keys[end - k : end] > _LARGEST
    counts = np.bincount(rows[kept], minlength=len(lengths))
    keys = keys[kept]
    return counts, (_LARGEST - (keys & _LARGEST)).astype(np.int32), (keys >> 32).astype(np.int32).view(np.float32)


def _dense_product(left: Sparse, right: Sparse) -> npt.NDArray[np.float32]:
    """Return `left @ right`, summed in float64 so that scores that are equal by symmetry come out equal."""
    # Only the rows that are asked for, since scipy copies the whole of a float32 matrix to multiply it by float64.
    used, columns = np.unique(left.indices, return_inverse=True)
    narrow = csr_array((left.data.astype(np.float64), columns, left.indptr), shape=(left.shape[0], len(used)))
    return (narrow @ right[used]).astype(np.float32).toarray()


def _check(k: int, shrinkage: float) -> None:
    if k < 1:
        raise ConfigError(f"model.k must be at least 1, but is {k}")
    if not 0 <= shrinkage < np.inf:
        raise ConfigError(f"model.shrinkage must be 0 or more, and finite, but is {shrinkage}")


def _part(state: State, name: str) -> npt.NDArray[Any]:
    array = state.get(name)
    if array is None or array.ndim != 1:
        raise RecordError(f"the state of a neighbour model needs a flat array {name!r}; export the run again")
    return array


def _matrix(
    offsets: npt.NDArray[Any], indices: npt.NDArray[Any], data: npt.NDArray[Any], n_columns: int
) -> Sparse:
    """Put a matrix together from arrays that come from outside, of which nothing is taken for granted."""
    fits = len(offsets) and offsets[0] == 0 and offsets[-1] == len(indices) == len(data)
    if (
        not fits
        or (np.diff(offsets) < 0).any()
        or (len(indices) and not 0 <= indices.min() <= indices.max() < n_columns)
    ):
        raise RecordError(
            "the arrays in the state of a neighbour model do not fit each other; export the run again"
        )
    return csr_array((data, indices, offsets), shape=(len(offsets) - 1, n_columns))
