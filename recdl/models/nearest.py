"""The k nearest rows of a sparse matrix, in memory that does not grow with all pairs, and sparse products."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled
from recdl.data.matrix import Sparse, sparse_rows
from recdl.models.compiled import Rows
from recdl.models.heap import sift_down, sift_up, worse
from recdl.models.memory import check_memory
from recdl.models.sums import work_of
from recdl.threads import in_threads, thread_count

_ROUNDING = 1e-12
"""What is left of a difference of sums that should be 0 is below this share of them."""


_BYTES_PER_NEIGHBOR = 17
"""Its value and index, where they are found and where they are kept, and whether it is one."""

_BYTES_PER_OTHER = 16


class Terms(NamedTuple):
    """What of a vector goes into its similarities, beside its products with others.

    Attributes:
        factor: (n,) float64, or empty for 0: taken off a product are `factor[a] * factor[b]` ...
        addend: (n,) float64, or empty for 0: ... and `addend[a] + addend[b]`.
        size: (n,) float64, its part of the denominator.
    """

    factor: npt.NDArray[np.float64]
    addend: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]


class _Best(NamedTuple):
    values: npt.NDArray[np.float32]  # (n_rows, k)
    indices: npt.NDArray[np.int32]  # (n_rows, k)
    counts: npt.NDArray[np.int64]  # (n_rows,) how many of each row are set


class _Search(NamedTuple):
    left: Rows
    right: Rows
    left_terms: Terms
    right_terms: Terms
    left_out: npt.NDArray[np.int64]
    shrinkage: float
    tanimoto: bool
    best: _Best


def nearest(
    left: Sparse,
    right: Sparse,
    left_terms: Terms,
    right_terms: Terms,
    *,
    left_out: npt.NDArray[np.integer[Any]],
    k: int,
    shrinkage: float = 0.0,
    tanimoto: bool = False,
) -> Sparse:
    """Return the similarities of each row of `left` with the `k` columns of `right` most similar to it.

    The similarity of a with b is (product - factors - addends) / (size of a * size of b + shrinkage), or, if
    `tanimoto`, with size of a + size of b - product in the place of the product of the sizes. Only what shares a
    feature and has a similarity above 0 is a neighbour; a denominator without size makes none. Of equals, as
    float32, the first are kept.

    Memory is what the result takes, and some 12 bytes a column of `right` for each thread.

    Args:
        left: (n, n_features), no entry below 0.
        right: (n_features, n_others), no entry below 0.
        left_terms: Of the n rows.
        right_terms: Of the n_others columns.
        left_out: (n,) which of the columns is no neighbour of the row; -1 for none.
        k: Neighbours of each row.
        shrinkage: Added to the denominator.
        tanimoto: Which denominator.

    Returns:
        (n, n_others) float32, at most `k` entries a row, sorted by index.

    Raises:
        DataError: If that would not fit into memory.
    """
    n, n_others = left.shape[0], right.shape[1]
    width = min(k, n_others)
    check_memory(
        _BYTES_PER_NEIGHBOR * n * width + _BYTES_PER_OTHER * n_others * thread_count(),
        what=f"finding the {width:,} nearest of {n_others:,} for each of {n:,}",
        advice="lower model.k (of an approximate EASE model.max_neighbors), or keep fewer items",
    )
    best = _Best(np.empty((n, width), np.float32), np.empty((n, width), np.int32), np.zeros(n, np.int64))
    # Where all entries are 1, whole numbers are counted, in two thirds of the time.
    binary = bool((left.data == 1).all() and (right.data == 1).all())
    left_rows, right_rows = Rows.of(left, drop_ones=binary), Rows.of(right, drop_ones=binary)
    skipped = np.require(left_out, np.int64, ["C", "W"])
    search = _Search(left_rows, right_rows, left_terms, right_terms, skipped, float(shrinkage), tanimoto, best)
    dtype = np.int32 if binary else np.float64

    def search_rows(start: int, end: int) -> None:
        _nearest_rows(start, end, search, np.zeros(n_others, dtype))

    in_threads(search_rows, work_of(left, right))
    kept = np.arange(width) < best.counts[:, None]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(best.counts)])
    found = sparse_rows(best.values[kept], best.indices[kept], offsets, n_others)
    found.sort_indices()
    return found


def product(left: Sparse, right: "Sparse | npt.NDArray[np.float32]") -> npt.NDArray[np.float32]:
    """Return `left @ right`, dense, by `multiply_dense` or `multiply`."""
    return multiply_dense(left, right) if isinstance(right, np.ndarray) else multiply(left, right)


def multiply(left: Sparse, right: Sparse) -> npt.NDArray[np.float32]:
    """Return `left @ right`, dense (n, m) float32, summed in float64: sums equal by symmetry come out equal."""
    product = np.empty((left.shape[0], right.shape[1]), np.float32)
    left_rows, right_rows = Rows.of(left), Rows.of(right)

    def multiply_rows(start: int, end: int) -> None:
        _multiply_rows(start, end, left_rows, right_rows, np.zeros(right.shape[1]), product)

    in_threads(multiply_rows, work_of(left, right) + right.shape[1])
    return product


def multiply_dense(left: Sparse, right: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return `left @ right` of a sparse (n, m) and a dense (m, p) matrix, (n, p) float32, row by row.

    A row's result does not depend on what other rows there are, as that of a BLAS product does.
    """
    product = np.zeros((left.shape[0], right.shape[1]), np.float32)
    rows = Rows.of(left)
    matrix = np.require(right, np.float32, ["C", "W"])
    in_threads(lambda start, end: _multiply_dense_rows(start, end, rows, matrix, product), np.diff(rows.offsets))
    return product


def gram_triangle(rows: Sparse) -> npt.NDArray[np.float32]:
    """Return the upper triangle of `rows.T @ rows`, (m, m) float32, each entry summed in float64, above zeros."""
    columns = rows.T.tocsr()
    by_row, by_column = Rows.of(rows), Rows.of(columns)
    product = np.zeros((rows.shape[1], rows.shape[1]), np.float32)

    def multiply_columns(start: int, end: int) -> None:
        _gram_rows(start, end, by_column, by_row, np.zeros(rows.shape[1]), product)

    in_threads(multiply_columns, work_of(columns, rows) + rows.shape[1])
    return product


@compiled
def add_products(row: int, left: Rows, right: Rows, sums: npt.NDArray[Any]) -> None:
    """Add the products of a row with every column to `sums`."""
    for x in range(left.offsets[row], left.offsets[row + 1]):
        columns, values = _entries(right, left.indices[x])
        if len(left.values):
            weight = np.float64(left.values[x])
            for y in range(len(columns)):
                sums[np.uint32(columns[y])] += weight * values[y]  # unsigned, no index counts from the end
        else:
            for y in range(len(columns)):
                sums[np.uint32(columns[y])] += 1


@compiled
def _entries(rows: Rows, row: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the columns and values of a row; the values are empty where those of `rows` are."""
    first, last = rows.offsets[row], rows.offsets[row + 1]
    return rows.indices[first:last], rows.values[first:last]


@compiled
def _add_and_note(
    row: int, left: Rows, right: Rows, sums: npt.NDArray[Any], touched: npt.NDArray[np.int32]
) -> int:
    """As `add_products`, and list in `touched` the columns, at 0 before, that got something; return how many."""
    n_touched = 0
    for x in range(left.offsets[row], left.offsets[row + 1]):
        columns, values = _entries(right, left.indices[x])
        weight = np.float64(left.values[x]) if len(left.values) else 1.0
        for y in range(len(columns)):
            other = np.uint32(columns[y])
            touched[n_touched] = other  # without a branch, which could not be foreseen
            n_touched += sums[other] == 0
            if len(left.values):
                sums[other] += weight * values[y]
            else:
                sums[other] += 1
    return n_touched


@compiled
def add_products_and_mark(
    row: int,
    left: Rows,
    right: Rows,
    sums: npt.NDArray[Any],
    touched: npt.NDArray[np.int32],
    seen: npt.NDArray[np.bool_],
) -> int:
    """As `add_products`, of entries of any sign: list the columns in `touched` and mark them; return how many.

    Args:
        row: Of `left`.
        left: (n, m).
        right: (m, n_columns).
        sums: (n_columns,), added to.
        touched: (n_columns + 1,), of which the first ones are set.
        seen: (n_columns,), false before.
    """
    n_touched = 0
    for x in range(left.offsets[row], left.offsets[row + 1]):
        columns, values = _entries(right, left.indices[x])
        weight = np.float64(left.values[x])
        for y in range(len(columns)):
            column = np.uint32(columns[y])
            touched[n_touched] = column
            n_touched += not seen[column]
            seen[column] = True
            sums[column] += weight * values[y]
    return n_touched


@compiled
def _similarity(row: int, other: int, shared: float, search: _Search) -> float:
    above = shared
    if len(search.left_terms.factor):
        above -= search.left_terms.factor[row] * search.right_terms.factor[other]
    if len(search.left_terms.addend):
        above -= search.left_terms.addend[row] + search.right_terms.addend[other]
    if search.tanimoto:
        below = search.left_terms.size[row] + search.right_terms.size[other] - shared
    else:
        below = search.left_terms.size[row] * search.right_terms.size[other]
    similar = (shared > 0) & (above > _ROUNDING * shared) & (below > 0)
    return above / (below + search.shrinkage) if similar else 0.0


@compiled
def _nearest_rows(start: int, end: int, search: _Search, sums: npt.NDArray[Any]) -> None:
    """Set the rows of `search.best` from `start` to `end`; `sums` (n_others,) is at 0 before and after."""
    n_others = len(sums)
    touched = np.empty(n_others + 1, np.int32)
    found = np.empty(n_others, np.float32)
    for row in range(start, end):
        work = 0
        for x in range(search.left.offsets[row], search.left.offsets[row + 1]):
            feature = search.left.indices[x]
            work += search.right.offsets[feature + 1] - search.right.offsets[feature]
        if 4 * work > n_others:  # most others are touched: to go through all in order is faster
            add_products(row, search.left, search.right, sums)
            for other in range(n_others):
                found[other] = _similarity(row, other, np.float64(sums[other]), search)
            sums[:] = 0
            _keep_best(row, found, touched[:0], search)
        else:
            n_touched = _add_and_note(row, search.left, search.right, sums, touched)
            for place in range(n_touched):
                found[place] = _similarity(row, touched[place], np.float64(sums[touched[place]]), search)
                sums[touched[place]] = 0
            _keep_best(row, found[:n_touched], touched[:n_touched], search)


@compiled
def _keep_best(row: int, found: npt.NDArray[np.float32], columns: npt.NDArray[np.int32], search: _Search) -> None:
    """Put the best of `found`, which stand in `columns` (in their own place where that is empty), into a heap."""
    values, indices = search.best.values[row], search.best.indices[row]
    count, floor = 0, np.float32(0)
    for place in range(len(found)):
        value = found[place]
        if value < floor or value == 0:
            continue
        other = columns[place] if len(columns) else place
        if other == search.left_out[row]:
            continue
        if count < len(values):
            values[count], indices[count] = value, other
            sift_up(values, indices, count)
            count += 1
        elif worse(values[0], indices[0], value, other):
            values[0], indices[0] = value, other
            sift_down(values, indices)
        if count == len(values):
            floor = values[0]
    search.best.counts[row] = count


@compiled
def _multiply_rows(
    start: int, end: int, left: Rows, right: Rows, sums: npt.NDArray[np.float64], product: npt.NDArray[np.float32]
) -> None:
    for row in range(start, end):
        sums[:] = 0
        add_products(row, left, right, sums)
        product[row] = sums


@compiled
def _multiply_dense_rows(
    start: int, end: int, left: Rows, right: npt.NDArray[np.float32], product: npt.NDArray[np.float32]
) -> None:
    for row in range(start, end):
        total = product[row]
        for x in range(left.offsets[row], left.offsets[row + 1]):
            weight = left.values[x]
            added = right[left.indices[x]]
            for column in range(len(total)):
                total[column] += weight * added[column]


@compiled
def _gram_rows(
    start: int, end: int, left: Rows, right: Rows, sums: npt.NDArray[np.float64], product: npt.NDArray[np.float32]
) -> None:
    """Set the upper triangle of the rows, the diagonal included; the columns of `right` rise within a row."""
    for row in range(start, end):
        sums[row:] = 0
        for x in range(left.offsets[row], left.offsets[row + 1]):
            feature = left.indices[x]
            weight = np.float64(left.values[x])
            for y in range(right.offsets[feature + 1] - 1, right.offsets[feature] - 1, -1):
                if right.indices[y] < row:
                    break
                sums[right.indices[y]] += weight * right.values[y]
        product[row, row:] = sums[row:]


@compiled
def mirror(square: npt.NDArray[np.float32]) -> None:
    """Copy the upper triangle to the lower one, in tiles that stay in the processor's cache."""
    n, tile = len(square), 64
    for top in range(0, n, tile):
        for left in range(top, n, tile):
            for row in range(top, min(top + tile, n)):
                for column in range(max(left, row + 1), min(left + tile, n)):
                    square[column, row] = square[row, column]
