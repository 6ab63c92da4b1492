"""Sums over sparse matrices, beside those of dense ones."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from recdl.models.sums import column_counts, column_sums, row_sums, work_of

MATRICES = arrays(np.float32, (4, 5), elements=st.sampled_from([0, 0.25, 1, 3]))


@given(MATRICES, MATRICES)
def test_sums_equal_those_of_the_dense_matrix(dense: np.ndarray, other: np.ndarray) -> None:
    rows, right = csr_array(dense), csr_array(other.T)
    exact = dense.astype(np.float64)
    np.testing.assert_allclose(row_sums(rows), exact.sum(1), rtol=1e-15)
    np.testing.assert_allclose(row_sums(rows, power=2), (exact**2).sum(1), rtol=1e-15)
    np.testing.assert_allclose(column_sums(rows), exact.sum(0), rtol=1e-15)
    assert column_counts(rows).tolist() == (dense > 0).sum(0).tolist()
    assert work_of(rows, right).tolist() == ((dense > 0).astype(int) @ (other.T > 0).sum(1)).tolist()
