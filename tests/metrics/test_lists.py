"""The example worked by hand: six items, lists of three; the second list holds one item, the third none."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.metrics.lists import (
    Histories,
    Lists,
    Sets,
    Train,
    average_popularity,
    category_diversity,
    diversity,
    miscalibration,
    novelty,
    repeat_rate,
)
from recdl.metrics.registry import LIST_METRICS, better

ITEMS = np.array([[0, 1, 2], [3, -1, -1], [-1, -1, -1]], np.int32)
TRAIN = Train(np.array([8, 4, 2, 1, 0, 0]), np.array([4, 2, 2, 1, 0, 0]), 8)


def _sets(*members: list[int], n: int) -> Sets:
    offsets = np.cumsum([0, *map(len, members)]).astype(np.int64)
    return Sets(offsets, np.array([one for row in members for one in row], np.int32), n)


def _histories(*items: list[int]) -> Histories:
    ends = np.cumsum(list(map(len, items))).astype(np.int64)
    lengths = np.array(list(map(len, items)), np.int64)
    return Histories(ends - lengths, ends, np.array([one for row in items for one in row], np.int32))


USERS = _sets([0, 1, 2, 3], [0, 1], [3, 4], [], [5], [], n=6)
CATEGORIES = _sets([0], [0, 1], [2], [1], [], [1], n=3)
HISTORIES = _histories([0, 2, 2], [1], [3])
LISTS = Lists(ITEMS, np.ones(6, np.bool_), TRAIN, HISTORIES, USERS, CATEGORIES)


def test_average_popularity_is_the_mean_of_the_events_of_the_items_there_are() -> None:
    assert average_popularity(LISTS, 2).tolist() == [6, 1, 0]
    assert average_popularity(LISTS, 3).tolist() == [14 / 3, 1, 0]


def test_novelty_is_the_mean_self_information_of_the_items_in_bits() -> None:
    # Of 8 users 4, 2 and 2 have items 0, 1 and 2: 1, 2 and 2 bits; one has item 3: 3 bits.
    assert novelty(LISTS, 3).tolist() == [5 / 3, 3, 0]


def test_an_item_that_no_train_user_has_is_as_new_as_one_that_one_user_has() -> None:
    lists = Lists(np.array([[3, 4]], np.int32), np.ones(6, np.bool_), TRAIN)
    assert novelty(lists, 2).tolist() == [3]


def test_diversity_is_the_mean_distance_of_the_pairs_by_the_users_who_have_them() -> None:
    # Cosines: items 0 and 1 share 2 users: 2 / sqrt(8); 0 and 2 share 1: 1 / sqrt(8); 1 and 2 none.
    np.testing.assert_allclose(diversity(LISTS, 3), [1 - (3 / math.sqrt(8)) / 3, 0, 0])
    np.testing.assert_allclose(diversity(LISTS, 2), [1 - 2 / math.sqrt(8), 0, 0])


def test_category_diversity_is_the_same_by_the_categories_of_the_items() -> None:
    # Items 0 and 1 share a category: 1 / sqrt(2); the other pairs none.
    np.testing.assert_allclose(category_diversity(LISTS, 3), [1 - (1 / math.sqrt(2)) / 3, 0, 0])


def test_repeat_rate_is_the_share_of_the_list_that_the_query_has_had() -> None:
    assert repeat_rate(LISTS, 1).tolist() == [1, 0, 0]
    assert repeat_rate(LISTS, 3).tolist() == [2 / 3, 0, 0]


def test_miscalibration_is_the_divergence_of_the_list_from_the_mix_of_the_history() -> None:
    # First: history 1/3 of category 0 and 2/3 of 2; at 3 the list has 1/2 of 0, 1/6 of 1 ... worked: items 0, 1, 2
    # give 1 + 1/2, 1/2 and 1 of three: q = 1/2, 1/6, 1/3. Second: history 1/2 of 0 and of 1, list all of 1.
    # Third: history all of 1, list of nothing.
    def term(p: float, q: float) -> float:
        return p * math.log(p / (0.99 * q + 0.01 * p))

    expected = [term(1 / 3, 1 / 2) + term(2 / 3, 1 / 3), term(1 / 2, 0) + term(1 / 2, 1), term(1, 0)]
    np.testing.assert_allclose(miscalibration(LISTS, 3), expected)


def test_a_list_with_the_mix_of_the_history_is_calibrated() -> None:
    lists = Lists(
        np.array([[0, 2, 1]], np.int32),
        np.ones(6, np.bool_),
        histories=_histories([2, 0, 1]),
        categories=CATEGORIES,
    )
    np.testing.assert_allclose(miscalibration(lists, 3), [0], atol=1e-15)


def test_who_has_no_history_has_no_mix_to_miss() -> None:
    lists = Lists(ITEMS[:1], np.ones(6, np.bool_), histories=_histories([]), categories=CATEGORIES)
    assert miscalibration(lists, 3).tolist() == [0]


def test_a_list_without_items_has_the_value_zero_but_for_the_mix_that_it_misses() -> None:
    for name, metric in LIST_METRICS.items():
        assert metric(LISTS, 3)[2] == (pytest.approx(-math.log(0.01)) if name == "miscalibration" else 0), name


@pytest.mark.parametrize("name", LIST_METRICS)
def test_a_metric_that_lacks_what_it_needs_says_so(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} needs the"):
        LIST_METRICS[name](Lists(ITEMS, np.ones(6, np.bool_)), 3)


@pytest.mark.parametrize("name", LIST_METRICS)
@pytest.mark.parametrize("k", [0, 4])
def test_a_cutoff_the_lists_do_not_reach_is_refused(name: str, k: int) -> None:
    with pytest.raises(ValueError, match=f"must lie in 1 ... 3, the length of the lists, not {k}"):
        LIST_METRICS[name](LISTS, k)


def _cosine(a: set[int], b: set[int]) -> float:
    return len(a & b) / math.sqrt(len(a) * len(b)) if a and b else 0.0


_members = st.lists(st.sets(st.integers(0, 3)), min_size=5, max_size=5)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.permutations(range(5)), st.integers(0, 5), st.lists(st.integers(0, 4)))),
    _members,
    _members,
    st.integers(1, 5),
)
def test_every_metric_equals_its_twin_that_walks_the_list(
    rows: list[tuple[list[int], int, list[int]]], users: list[set[int]], categories: list[set[int]], k: int
) -> None:
    rows = [*rows, ([0, 1, 2, 3, 4], 4, [0, 3])]
    table = [[*order[:length], *[-1] * (5 - length)] for order, length, _ in rows]
    events = np.array([2 * len(one) for one in users])
    train = Train(events, events // 2, 4)
    lists = Lists(
        np.array(table, np.int32),
        np.ones(5, np.bool_),
        train,
        _histories(*[history for _, _, history in rows]),
        _sets(*map(sorted, users), n=4),
        _sets(*map(sorted, categories), n=4),
    )
    for query, (order, length, history) in enumerate(rows):
        shown = order[: min(length, k)]
        pairs = [(a, b) for place, a in enumerate(shown) for b in shown[:place]]
        mix = _mix(history, categories)
        expected = {
            "popularity": _mean([2 * len(users[item]) for item in shown]),
            "novelty": _mean([-math.log2(max(len(users[item]), 1) / 4) for item in shown]),
            "diversity": _mean([1 - _cosine(users[a], users[b]) for a, b in pairs]),
            "category_diversity": _mean([1 - _cosine(categories[a], categories[b]) for a, b in pairs]),
            "repeat": _mean([float(item in history) for item in shown]),
            "miscalibration": sum(
                p * math.log(p / (0.99 * _mix(shown, categories).get(one, 0) + 0.01 * p)) for one, p in mix.items()
            ),
        }
        for name, value in expected.items():
            assert LIST_METRICS[name](lists, k)[query] == pytest.approx(value, abs=1e-12), name


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _mix(items: list[int], categories: list[set[int]]) -> dict[int, float]:
    counted = [item for item in items if categories[item]]
    mix: dict[int, float] = {}
    for item in counted:
        for one in categories[item]:
            mix[one] = mix.get(one, 0) + 1 / len(categories[item]) / len(counted)
    return mix


def test_a_metric_says_whether_more_of_it_is_better() -> None:
    assert [better(name) for name in ("ndcg@10", "gini@5", "repeat@5", "auc")] == [
        "more",
        "less",
        "neither",
        "more",
    ]
