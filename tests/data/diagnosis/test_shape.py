import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.diagnosis.findings import Finding
from recdl.data.diagnosis.shape import DROP_ADVICE, Shape, gini, lorenz_curve, measure_shape, shape_findings
from recdl.data.interactions import Interactions
from recdl.data.prepared import REASONS
from tests.logs import log_of_events, log_of_items


def measured(log: Interactions, *, rows_read: int = 100, **dropped: int) -> Shape:
    pairs = len(set(zip(log.users.tolist(), log.items.tolist(), strict=True)))
    return measure_shape(log, pairs=pairs, rows_read=rows_read, dropped=dropped)


def found(shape: Shape, *, named_behaviors: bool = True) -> dict[str, Finding]:
    return {finding.key: finding for finding in shape_findings(shape, named_behaviors=named_behaviors)}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([5, 5, 5], 0.0), ([1, 3], 0.25), ([1, 2, 3, 4], 0.25), ([7], 0.0)],
)
def test_gini_is_that_worked_by_hand(counts: list[int], expected: float) -> None:
    assert gini(np.array(counts)) == pytest.approx(expected)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_gini_is_the_mean_difference_of_all_pairs_over_twice_the_mean(counts: list[int]) -> None:
    n, total = len(counts), sum(counts)
    by_pairs = sum(abs(a - b) for a in counts for b in counts) / (2 * n * total)
    assert gini(np.array(counts)) == pytest.approx(by_pairs)


def test_the_popularity_curve_says_what_the_most_popular_have() -> None:
    curve = lorenz_curve(np.array([6, 2, 1, 1]))
    assert curve[[0, 25, 50, 75, 100]] == pytest.approx([0.0, 0.6, 0.8, 0.9, 1.0])


def test_counts_are_those_of_users_and_items_that_have_events() -> None:
    shape = measured(log_of_items([[0, 1, 0], [], [0]], n_items=5))
    assert (shape.events, shape.users, shape.items, shape.pairs) == (4, 2, 2, 3)
    assert shape.density == 0.75
    assert shape.events_per_user[2] == 2.0
    assert shape.short_user_share == 0.5
    assert shape.single_item_share == 0.5


def test_histories_are_counted_by_doubling_lengths() -> None:
    shape = measured(log_of_items([[0], [0] * 2, [0] * 3, [0] * 4, [0] * 8], n_items=1))
    assert shape.history_bounds == [1, 2, 4, 8, 16]
    assert shape.history_counts == [1, 2, 1, 1]


def test_short_histories_are_told_only_where_they_are_many() -> None:
    assert "short_histories" not in found(measured(log_of_items([[0, 1, 2]] * 4, n_items=3)))
    told = found(measured(log_of_items([[0]] * 3 + [[0, 1, 2]], n_items=3)))["short_histories"]
    assert (told.severity, told.title) == ("warning", "75 % of the users have fewer than 3 events")
    assert "data.filters.min_user_events=3" in told.advice


def test_items_with_a_single_event_are_told_only_where_they_are_many() -> None:
    told = found(measured(log_of_items([[0, 1, 2], [0, 1]], n_items=3)))["rare_items"]
    assert (told.severity, told.title) == ("notice", "33 % of the items have a single event")
    assert "rare_items" not in found(measured(log_of_items([[0, 1, 2], [0, 1, 2]], n_items=3)))


def test_rows_that_were_dropped_are_told_by_reason_and_gravely_where_many() -> None:
    log = log_of_items([[0, 1, 2]], n_items=3)
    assert not [key for key in found(measured(log)) if key.startswith("dropped")]
    told = found(measured(log, duplicate=54, bad_timestamp=1))
    assert told["dropped_duplicate"].severity == "warning"
    assert told["dropped_duplicate"].evidence == "54 of 100 rows"
    assert told["dropped_bad_timestamp"].severity == "notice"


def test_every_reason_to_drop_a_row_has_its_advice() -> None:
    assert set(DROP_ADVICE) == set(REASONS)


def test_rows_left_out_on_purpose_are_no_finding() -> None:
    assert not found(measured(log_of_items([[0, 1, 2]] * 2, n_items=3), excluded=40, behavior_not_kept=10))


def test_behaviors_that_nobody_named_stand_in_no_order_of_a_funnel() -> None:
    shape = measured(log_of_events([(0, 0, 0, 0), (0, 1, 1, 0)], n_users=1, n_items=1))
    assert "behavior_order" not in found(shape)
    assert found(shape, named_behaviors=False)["behavior_order"].severity == "warning"
    single = measured(log_of_items([[0]], n_items=1))
    assert "behavior_order" not in found(single, named_behaviors=False)


def test_a_few_items_with_most_of_the_events_are_told() -> None:
    others = [[item] for item in range(2, 300)]
    assert "popularity" in found(measured(log_of_items([*others, [0, 1] * 400], n_items=300)))
    assert "popularity" not in found(measured(log_of_items(others, n_items=300)))
