import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.metrics.catalogue import coverage, entropy, gini
from recdl.metrics.lists import Lists

ITEMS = np.array([[0, 1, 2], [0, 3, -1], [1, 0, 5]], np.int32)
LISTS = Lists(ITEMS, np.ones(8, np.bool_))


def test_coverage_is_the_share_of_the_candidates_that_stand_in_any_list() -> None:
    # Items 0, 1, 2, 3 and 5 of 0 ... 7 are shown; at cutoff 1 only 0 and 1 are.
    assert [coverage(LISTS, k) for k in (1, 3)] == [2 / 8, 5 / 8]


def test_padding_covers_nothing_and_not_the_last_item() -> None:
    assert coverage(Lists(np.full((2, 3), -1, np.int32), np.ones(4, np.bool_)), 3) == 0


def test_only_candidates_are_counted() -> None:
    candidates = np.array([True, True, True, True, False, False, True, True])
    assert coverage(Lists(ITEMS, candidates), 3) == 4 / 6


def test_gini_is_worked_from_the_exposures_in_rising_order() -> None:
    # At 2 the lists hold 0 three times, 1 twice, 3 once, and five items never: 2 i - 9 is 3, 5, 7 for the last.
    assert gini(LISTS, 2) == pytest.approx((3 * 1 + 5 * 2 + 7 * 3) / (8 * 6))


def test_entropy_is_worked_from_the_shares_of_the_places() -> None:
    # At 2: shares 3/6, 2/6 and 1/6.
    assert entropy(LISTS, 2) == pytest.approx(1 / 2 + math.log2(3) / 3 + math.log2(6) / 6)


def test_equal_exposure_has_no_inequality_and_the_most_entropy_and_one_item_for_all_the_reverse() -> None:
    equal = Lists(np.array([[0, 1], [2, 3]], np.int32), np.ones(4, np.bool_))
    one = Lists(np.zeros((5, 1), np.int32), np.ones(4, np.bool_))
    assert (gini(equal, 2), entropy(equal, 2)) == (0, 2)
    assert (gini(one, 1), entropy(one, 1)) == (3 / 4, 0)


def test_lists_of_nothing_have_no_inequality_and_no_entropy() -> None:
    nothing = Lists(np.full((2, 3), -1, np.int32), np.ones(4, np.bool_))
    assert (gini(nothing, 3), entropy(nothing, 3)) == (0, 0)


@given(st.lists(st.lists(st.integers(-1, 5), min_size=3, max_size=3), min_size=1), st.integers(1, 3))
def test_gini_and_entropy_equal_twins_that_look_at_every_pair_and_place(rows: list[list[int]], k: int) -> None:
    lists = Lists(np.array(rows, np.int32), np.ones(6, np.bool_))
    shown = [item for row in rows for item in row[:k] if item >= 0]
    x = [shown.count(item) for item in range(6)]
    pairs = sum(abs(a - b) for a in x for b in x)
    assert gini(lists, k) == pytest.approx(pairs / (2 * 6 * sum(x)) if shown else 0)
    assert entropy(lists, k) == pytest.approx(-sum(n / len(shown) * math.log2(n / len(shown)) for n in x if n))


@pytest.mark.parametrize("metric", [coverage, gini, entropy])
@pytest.mark.parametrize("k", [0, 4])
def test_a_cutoff_the_lists_do_not_reach_is_refused(k: int, metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match=f"must lie in 1 ... 3, the length of the lists, not {k}"):
        metric(LISTS, k)
