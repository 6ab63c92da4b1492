"""Sparse matrices as named arrays, of which nothing is taken for granted when they come back."""

from typing import Any

import numpy as np
import numpy.typing as npt

from recdl.data.matrix import Sparse, sparse_rows
from recdl.errors import RecordError
from recdl.models.protocol import State


def flat(state: State, name: str) -> npt.NDArray[Any]:
    """Return the flat array `name`.

    Raises:
        RecordError: If it is missing or not flat.
    """
    array = state.get(name)
    if array is None or array.ndim != 1:
        raise RecordError(f"the state of the model needs a flat array {name!r}; export the run again")
    return array


def restored_matrix(state: State, values: str, *, n_columns: int | None = None) -> Sparse:
    """Put a matrix together from the arrays `offsets`, `indices` and that called `values`; square by default.

    Raises:
        RecordError: If an array is missing or does not fit the others.
    """
    offsets, indices, data = flat(state, "offsets"), flat(state, "indices"), flat(state, values)
    width = len(offsets) - 1 if n_columns is None else n_columns
    fits = len(offsets) and offsets[0] == 0 and offsets[-1] == len(indices) == len(data)
    if (
        not fits
        or (np.diff(offsets) < 0).any()
        or (len(indices) and not 0 <= indices.min() <= indices.max() < width)
    ):
        raise RecordError("the arrays in the state of the model do not fit each other; export the run again")
    return sparse_rows(data.astype(np.float32), indices, offsets, width)
