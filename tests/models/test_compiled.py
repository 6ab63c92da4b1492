"""Memory that compiled loops write to."""

from itertools import pairwise

import numpy as np

from recdl.models.compiled import scratch, scratch_vectors


def bounds(array: np.ndarray) -> tuple[int, int]:
    first: int = array.__array_interface__["data"][0]
    return first, first + array.nbytes


def test_what_loops_write_to_lies_apart_from_all_else_so_that_sums_are_taken_in_one_order() -> None:
    arrays = [scratch(2, 8) for _ in range(20)] + [vector for _ in range(20) for vector in scratch_vectors(8)]
    spans = sorted(bounds(array) for array in arrays)
    gaps = [following[0] - before[1] for before, following in pairwise(spans)]
    assert min(gaps) >= 4 * 128
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays)
