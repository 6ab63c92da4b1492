from collections import defaultdict
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.diagnosis import blocks
from recdl.data.diagnosis.funnel import Funnel, funnel_findings, measure_funnel
from recdl.data.interactions import Interactions
from tests.logs import Event, log_of_events

VIEW, CART, BUY = 0, 1, 2
NAMES = ("view", "cart", "purchase")


def log(events: list[Event]) -> Interactions:
    return log_of_events(events, n_users=4, n_items=5, behavior_names=NAMES)


def keys(funnel: Funnel) -> set[str]:
    return {finding.key for finding in funnel_findings(funnel)}


def test_rates_are_those_worked_by_hand_in_the_order_of_time() -> None:
    funnel = measure_funnel(
        log(
            [
                (0, 1, VIEW, 0), (0, 2, CART, 0), (0, 3, BUY, 0),  # the whole way
                (0, 4, VIEW, 1),  # no further
                (1, 1, CART, 0), (1, 2, VIEW, 0),  # viewed after it was in the cart
                (1, 3, VIEW, 2), (1, 3, BUY, 2),  # at one moment: that is later
            ]
        )
    )  # fmt: skip
    assert funnel.stages == ["view", "cart", "purchase"]
    assert funnel.pairs == [4, 2, 2]
    assert funnel.users == [2, 2, 2]
    assert funnel.pair_rates[VIEW] == [1.0, 1 / 4, 2 / 4]
    assert funnel.pair_rates[CART] == [1 / 2, 1.0, 1 / 2]
    assert funnel.pair_rates[BUY] == [1 / 2, 0.0, 1.0]
    assert funnel.user_rates[VIEW] == [1.0, 1 / 2, 1.0]
    assert funnel.preceded[VIEW] == [1.0, 1 / 2, 1.0]
    assert funnel.preceded[CART][BUY] == 1 / 2


def test_repeat_rates_are_those_worked_by_hand() -> None:
    events = [(0, 1, VIEW, 0), (0, 2, VIEW, 0), (0, 3, VIEW, 1), (0, 4, BUY, 0), (1, 1, BUY, 0)]
    funnel = measure_funnel(log(events))
    assert funnel.distinct_pairs == 3
    assert funnel.repeat_rate == pytest.approx(2 / 5)
    assert funnel.repeat_rates == {"view": pytest.approx(1 / 3), "cart": None, "purchase": 0.0}
    assert funnel.same_as_last_rate == pytest.approx(1 / 3)


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=60
)


@given(EVENTS, st.sampled_from([1, 7, 1000]))
def test_counts_are_those_of_plain_loops_whatever_the_blocks(events: list[Event], size: int) -> None:
    def small(whole: Interactions) -> object:
        return blocks.user_blocks(whole, size=size)

    with patch("recdl.data.diagnosis.funnel.user_blocks", small):
        funnel = measure_funnel(log(events))
    times: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for user, time, behavior, item in events:
        times[user, item][behavior].append(time)
    codes = [NAMES.index(stage) for stage in funnel.stages]
    for i, first in enumerate(codes):
        having = [pair for pair in times.values() if first in pair]
        assert funnel.pairs[i] == len(having)
        for j, then in enumerate(codes):
            later = [pair for pair in having if then in pair and max(pair[then]) >= min(pair[first])]
            assert funnel.pair_rates[i][j] == (len(later) / len(having) if having else None)
    assert funnel.distinct_pairs == len(times)
    buys = [pair for pair in times.values() if BUY in pair]
    n_buys = sum(behavior == BUY for _, _, behavior, _ in events)
    assert funnel.repeat_rates["purchase"] == (1 - len(buys) / n_buys if n_buys else None)


def test_purchases_without_views_are_told_only_where_they_are_many() -> None:
    def funnel(n_viewed: int) -> Funnel:
        viewed = [(0, 1, VIEW, item) for item in range(n_viewed)]
        bought = [(0, 2, BUY, item) for item in range(40)]
        return measure_funnel(log_of_events(viewed + bought, n_users=1, n_items=40, behavior_names=NAMES))

    assert "funnel_holes" in keys(funnel(10))
    assert "funnel_holes" not in keys(funnel(30))


def test_repeats_are_told_only_where_they_are_many() -> None:
    def funnel(n_items: int) -> Funnel:
        events = [(0, time, VIEW, time % n_items) for time in range(20)]
        return measure_funnel(log_of_events(events, n_users=1, n_items=20, behavior_names=NAMES))

    assert "repeats" in keys(funnel(10))
    assert "repeats" not in keys(funnel(20))
