"""Logs and histories as sparse matrices that say who touched what."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import DataError

Sparse: TypeAlias = "csr_array[np.float32, tuple[int, int]]"


def sparse_rows(
    values: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int32] | npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32] | npt.NDArray[np.int64],
    n_columns: int,
) -> Sparse:
    """Return the matrix of these parts, its indices in int32 where that suffices.

    Scipy keeps columns and offsets in the wider type of the two: int64 offsets would double what the columns take.

    Args:
        values: Flat, of the rows one after the other.
        columns: Aligned with `values`.
        offsets: (n_rows + 1,), between which each row lies.
        n_columns: How many there are.
    """
    shape = (len(offsets) - 1, n_columns)
    if max(n_columns, len(columns)) <= np.iinfo(np.int32).max:
        return csr_array((values, columns.astype(np.int32, copy=False), offsets.astype(np.int32)), shape=shape)
    return csr_array((values, columns, offsets), shape=shape)


def user_item_matrix(log: Interactions) -> Sparse:
    """Return (n_users, n_items) float32: 1 where the user has any event with the item.

    Raises:
        DataError: If the log holds no event.
    """
    if not log.n_events:
        raise DataError("there is no event to learn from; check the split and the behaviors asked for")
    return _binary(log.offsets, np.asarray(log.items), log.n_items)


def history_matrix(queries: Queries, n_items: int) -> Sparse:
    """Return (n_queries, n_items) float32: 1 where the query's history holds the item.

    Raises:
        DataError: If a history holds an item outside the catalogue of `n_items`.
    """
    _, items = queries.history_items()
    check_items(items, n_items)
    offsets = np.zeros(len(queries) + 1, np.int64)
    np.cumsum(queries.lengths, out=offsets[1:])
    return _binary(offsets, items, n_items)


def check_items(items: npt.NDArray[np.int32], n_items: int) -> None:
    """Check that the items of histories are in the catalogue.

    Raises:
        DataError: If one is not.
    """
    if len(items) and items.min() < 0:
        raise DataError(
            f"a history holds item index {items.min()}, which stands for no item; leave events of items that the"
            " vocabulary does not know out of histories"
        )
    if len(items) and items.max() >= n_items:
        raise DataError(
            f"a history holds item index {items.max()}, but the model was fitted on {n_items} items; encode"
            " histories with the vocabulary of the log that the model was fitted on"
        )


def _binary(offsets: npt.NDArray[np.int64], items: npt.NDArray[np.int32], n_items: int) -> Sparse:
    # Copies, for sum_duplicates works in place and the log may be memory-mapped.
    data = np.ones(len(items), np.float32)
    matrix = sparse_rows(data, items.copy(), offsets.copy(), n_items)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
