import numpy as np
import pytest

from recdl.metrics.catalogue import coverage

LISTS = np.array([[0, 1, 2], [0, 3, -1], [1, 0, 5]], np.int32)


def test_coverage_is_the_share_of_the_candidates_that_stand_in_any_list() -> None:
    # Items 0, 1, 2, 3 and 5 of 0 ... 7 are shown; at cutoff 1 only 0 and 1 are.
    candidates = np.ones(8, np.bool_)
    assert [coverage(LISTS, candidates, k) for k in (1, 3)] == [2 / 8, 5 / 8]


def test_padding_covers_nothing_and_not_the_last_item() -> None:
    assert coverage(np.full((2, 3), -1, np.int32), np.ones(4, np.bool_), 3) == 0


def test_only_candidates_are_counted() -> None:
    candidates = np.array([True, True, True, True, False, False, True, True])
    assert coverage(LISTS, candidates, 3) == 4 / 6


@pytest.mark.parametrize("k", [0, 4])
def test_a_cutoff_the_lists_do_not_reach_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"must lie in 1 ... 3, the length of the lists, not {k}"):
        coverage(LISTS, np.ones(8, np.bool_), k)
