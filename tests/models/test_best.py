import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recdl.models.best import best_of_rows

SCORES = arrays(np.float32, (3, 7), elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]))


@given(SCORES, st.integers(1, 9))
def test_the_best_equal_those_of_a_sort_with_ties_by_column(scores: np.ndarray, k: int) -> None:
    columns, values = best_of_rows(scores, k)
    assert columns.shape == values.shape == (3, min(k, 7))
    for row in range(3):
        order = sorted((-score, column) for column, score in enumerate(scores[row].tolist()) if score > -np.inf)[
            :k
        ]
        assert columns[row, : len(order)].tolist() == [column for _, column in order]
        assert values[row, : len(order)].tolist() == [-score for score, _ in order]
        assert (columns[row, len(order) :] == -1).all()
        assert np.isnan(values[row, len(order) :]).all()


def test_no_rows_have_no_best() -> None:
    columns, values = best_of_rows(np.empty((0, 3), np.float32), 2)
    assert columns.shape == values.shape == (0, 2)
