"""Sums and counts over a sparse matrix, taken in the order of its entries, without arrays of its size."""

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled
from recdl.data.matrix import Sparse
from recdl.models.compiled import Rows


def row_sums(rows: Sparse, *, power: int = 1) -> npt.NDArray[np.float64]:
    """Return (n,) float64 sums of each row's entries, or of their squares if `power` is 2."""
    assert power in (1, 2), "no other is summed"
    sums = np.zeros(rows.shape[0])
    _sum_rows(Rows.of(rows), power == 2, sums)
    return sums


def column_counts(rows: Sparse) -> npt.NDArray[np.float64]:
    """Return (m,) float64, how many entries each column has."""
    counts = np.zeros(rows.shape[1])
    _count_columns(Rows.of(rows), counts)
    return counts


def column_sums(rows: Sparse) -> npt.NDArray[np.float64]:
    """Return (m,) float64 sums of each column's entries."""
    sums = np.zeros(rows.shape[1])
    _sum_columns(Rows.of(rows), sums)
    return sums


def work_of(left: Sparse, right: Sparse) -> npt.NDArray[np.float64]:
    """Return (n,) how many products each row of `left @ right` sums."""
    work = np.zeros(left.shape[0])
    _sum_lengths(Rows.of(left), np.require(right.indptr, np.int64, ["C", "W"]), work)
    return work


@compiled
def _sum_rows(rows: Rows, squares: bool, sums: npt.NDArray[np.float64]) -> None:
    for row in range(len(sums)):
        total = 0.0
        for place in range(rows.offsets[row], rows.offsets[row + 1]):
            value = np.float64(rows.values[place])
            total += value * value if squares else value
        sums[row] = total


@compiled
def _sum_columns(rows: Rows, sums: npt.NDArray[np.float64]) -> None:
    for place in range(len(rows.indices)):
        sums[rows.indices[place]] += rows.values[place]


@compiled
def _count_columns(rows: Rows, counts: npt.NDArray[np.float64]) -> None:
    for place in range(len(rows.indices)):
        counts[rows.indices[place]] += 1


@compiled
def _sum_lengths(left: Rows, offsets: npt.NDArray[np.int64], work: npt.NDArray[np.float64]) -> None:
    for row in range(len(work)):
        for place in range(left.offsets[row], left.offsets[row + 1]):
            feature = left.indices[place]
            work[row] += offsets[feature + 1] - offsets[feature]
