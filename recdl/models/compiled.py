"""Loops over matrices: further ways to compile them, and what they work on."""

from typing import Any, NamedTuple, cast

import numba
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recdl.compiling import Loop, compiled

_MARGIN = 128
"""Elements, more than any vector unit takes in one turn of a loop."""


def compiled_fast(loop: Loop) -> Loop:
    """As `compiled`, but sums are taken in another order, several elements at a time, the same on every call."""
    allowed = {"reassoc", "contract", "nsz", "arcp"}  # but NaN and infinity stay what they are
    return cast(Loop, numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=allowed)(loop))


def compiled_without_nan(loop: Loop) -> Loop:
    """As `compiled`, but void for arrays with NaN, so that maxima are found several at once."""
    return cast(Loop, numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"nnan", "nsz"})(loop))


@compiled
def scratch(n_rows: int, size: int) -> npt.NDArray[np.float32]:
    """Return (n_rows, size) float32, not set, for a loop of `compiled_fast` to write to.

    The machine code first looks whether what it writes to lies so close to what it reads that whole vectors of
    elements cannot be written at once, and then takes its sums in the order of the elements. Arrays come to lie
    where memory is free: short ones would now be summed in one order and now in the other. So that equal input
    gives equal bits, nothing else lies within `_MARGIN` elements of these.
    """
    whole = np.empty(n_rows * size + 2 * _MARGIN, np.float32)
    return whole[_MARGIN : _MARGIN + n_rows * size].reshape(n_rows, size)


@compiled
def scratch_vectors(size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return three vectors of `size`, each as apart from all else as `scratch`."""
    rows = scratch(3, size + _MARGIN)
    return rows[0, :size], rows[1, :size], rows[2, :size]


class Rows(NamedTuple):
    """The parts of a CSR matrix.

    Attributes:
        offsets: (n_rows + 1,) int64.
        indices: Flat int32 columns.
        values: Flat float32, aligned with `indices`, all above 0; or empty, where all are 1.
    """

    offsets: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    @classmethod
    def of(cls, matrix: "csr_array[Any, tuple[int, int]]", *, drop_ones: bool = False) -> "Rows":
        """Return the parts of `matrix`, its values left out if that is asked for and all are 1."""
        values = matrix.data
        if drop_ones and (values == 1).all():
            values = np.empty(0, np.float32)
        # Writable and of one type each, since a loop is compiled once for each combination of types.
        return cls(
            np.require(matrix.indptr, np.int64, ["C", "W"]),
            np.require(matrix.indices, np.int32, ["C", "W"]),
            np.require(values, np.float32, ["C", "W"]),
        )


def read_only(items: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return a view that cannot be written to, also of a mapped file: one type, for which loops are compiled."""
    view = np.require(items, np.int32, ["C"]).view(np.ndarray)
    view.flags.writeable = False
    return view
