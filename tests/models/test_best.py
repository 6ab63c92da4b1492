import numpy as np
import pytest
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


@pytest.mark.parametrize("n", [15, 16, 17, 300, 1009])
@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize("levels", [1, 3, 10_000])
def test_the_best_of_long_rows_equal_those_of_a_sort(n: int, k: int, levels: int) -> None:
    generator = np.random.default_rng(n + k + levels)
    scores = (generator.integers(0, levels, (20, n)) - levels // 2).astype(np.float32)
    scores *= np.float32(10.0) ** generator.integers(-30, 30, (20, 1))  # of any size, and with both zeros
    scores[::2][generator.random((10, n)) < 0.9] = -np.inf
    scores[0] = -np.inf
    columns, values = best_of_rows(scores, k)
    for row, found, what in zip(scores, columns, values, strict=True):
        expected = [int(x) for x in np.argsort(-row, kind="stable")[:k] if row[x] > -np.inf]
        assert found.tolist() == expected + [-1] * (min(k, n) - len(expected))
        assert what[: len(expected)].tolist() == row[expected].tolist()


def test_one_value_far_above_the_others_does_not_hide_their_order() -> None:
    row = np.linspace(1, 2, 500, dtype=np.float32)
    row[7] = 3e38
    columns, _ = best_of_rows(row[None], 4)
    assert columns.tolist() == [[7, 499, 498, 497]]


def test_no_rows_have_no_best() -> None:
    columns, values = best_of_rows(np.empty((0, 3), np.float32), 2)
    assert columns.shape == values.shape == (0, 2)
