from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from recdl.data.diagnosis.order import _hit_rates, measure_order, order_findings
from recdl.data.interactions import Interactions
from tests.logs import log_of_events, log_of_items


def cycles(n_users: int = 60, *, length: int = 30, n_items: int = 50) -> list[list[int]]:
    return [[(user + step) % n_items for step in range(length)] for user in range(n_users)]


def keys(log: Interactions) -> set[str]:
    return {finding.key for finding in order_findings(measure_order(log, max_events=100_000))}


def test_a_cycle_is_told_in_full() -> None:
    order = measure_order(log_of_items(cycles(), n_items=50), max_events=100_000)
    assert order.hit_rate == 1.0
    assert order.shuffled_hit_rate is not None
    assert order.shuffled_hit_rate < 0.5
    assert order.tells
    assert order.p_value == pytest.approx(0.05)
    assert not order.sampled
    assert list(order_findings(order)) == []


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_shuffled_log_has_no_order(seed: int) -> None:
    generator = np.random.default_rng(seed)
    histories = [generator.permutation(history).tolist() for history in cycles()]
    log = log_of_items(histories, n_items=50)
    order = measure_order(log, max_events=100_000, seed=seed)
    assert not order.tells
    assert keys(log) == {"no_order"}


def test_the_order_that_preparation_gives_to_ties_is_no_order() -> None:
    events = [(user, 0, 0, item) for user, history in enumerate(cycles()) for item in history]
    log = log_of_events(events, n_users=60, n_items=50)
    assert not measure_order(log, max_events=100_000).tells


def test_staying_on_an_item_is_no_order() -> None:
    generator = np.random.default_rng(0)
    histories = [np.repeat(generator.permutation(50)[:10], 3).tolist() for _ in range(60)]
    assert not measure_order(log_of_items(histories, n_items=50), max_events=100_000).tells


def test_an_order_that_says_little_more_than_none_is_told() -> None:
    order = measure_order(log_of_items(cycles(), n_items=50), max_events=100_000)
    little = replace(order, hit_rate=0.101, shuffled_hit_rate=0.1)
    assert little.tells
    assert [(finding.key, finding.severity) for finding in order_findings(little)] == [("little_order", "notice")]


def test_too_few_histories_say_nothing() -> None:
    assert keys(log_of_items(cycles(5), n_items=50)) == {"order_unknown"}
    assert keys(log_of_items([[0]] * 100, n_items=1)) == {"order_unknown"}


def test_a_sample_is_of_whole_users_and_no_larger_than_asked() -> None:
    log = log_of_items(cycles(100), n_items=50)
    order = measure_order(log, max_events=1_510)
    assert (order.users, order.events, order.sampled) == (50, 1_500, True)


def test_the_same_seed_gives_the_same_answer() -> None:
    log = log_of_items(cycles(), n_items=50)
    assert measure_order(log, max_events=900, seed=4) == measure_order(log, max_events=900, seed=4)


@pytest.mark.parametrize("seed", range(5))
def test_hit_rates_are_those_of_plain_loops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n_users, n_items, k = 12, 6, 2
    owners = np.sort(generator.integers(0, n_users, 80))
    items = generator.integers(0, n_items, 80)
    half = generator.random(n_users) < 0.5
    steps = [
        (user, a, b)
        for user, other, a, b in zip(owners[:-1], owners[1:], items[:-1], items[1:], strict=True)
        if user == other and a != b
    ]
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for user, a, b in steps:
        if not half[user]:
            counts[a][b] += 1
    named = {a: sorted(seen, key=lambda b: (-seen[b], b))[:k] for a, seen in counts.items()}
    expected = np.full(n_users, np.nan)
    for user in range(n_users):
        mine = [b in named.get(a, []) for owner, a, b in steps if owner == user and half[user]]
        if mine:
            expected[user] = np.mean(mine)
    assert _hit_rates(owners, items, half, n_items, k) == pytest.approx(expected, nan_ok=True)
