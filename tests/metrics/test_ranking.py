"""The example worked by hand, at cutoff 5.

Query a has relevant items at ranks 2, 5 and 9; query b has one, at rank 1; query c has one at rank 7 and one that
is no candidate.
"""

import math
from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.metrics.ranking import (
    RANKING_METRICS,
    average_precision,
    f1,
    hit_rate,
    mrr,
    ndcg,
    precision,
    recall,
)

# In item order, not in the order of the ranks.
RANKS = np.array([5.0, 9.0, 2.0, 1.0, 7.0, np.inf])
OFFSETS = np.array([0, 3, 4, 6])


def test_hit_rate_is_one_where_any_relevant_item_is_a_hit() -> None:
    assert hit_rate(RANKS, OFFSETS, 5).tolist() == [1, 1, 0]


def test_recall_divides_hits_by_all_relevant_items_even_those_that_are_no_candidates() -> None:
    assert recall(RANKS, OFFSETS, 5).tolist() == [2 / 3, 1, 0]
    assert recall(RANKS, OFFSETS, 7).tolist() == [2 / 3, 1, 1 / 2]


def test_precision_divides_hits_by_the_cutoff() -> None:
    assert precision(RANKS, OFFSETS, 5).tolist() == [2 / 5, 1 / 5, 0]


def test_f1_is_the_harmonic_mean_of_precision_and_recall_and_zero_without_hit() -> None:
    # a: P = 2/5, R = 2/3, 2 P R / (P + R) = (8/15) / (16/15) = 1/2; b: P = 1/5, R = 1, (2/5) / (6/5) = 1/3
    np.testing.assert_allclose(f1(RANKS, OFFSETS, 5), [1 / 2, 1 / 3, 0], rtol=1e-15)


def test_ndcg_discounts_by_the_logarithm_of_the_rank_and_divides_by_the_best_possible() -> None:
    # a: (1/log2 3 + 1/log2 6) / (1/log2 2 + 1/log2 3 + 1/log2 4) = (0.63093 + 0.38685) / 2.13093 = 0.47762
    np.testing.assert_allclose(ndcg(RANKS, OFFSETS, 5), [0.47762, 1, 0], atol=1e-5)


def test_the_ideal_of_ndcg_holds_no_more_items_than_the_list() -> None:
    # a at 2: 1/log2 3, over the ideal of two hits, 1 + 1/log2 3
    assert ndcg(RANKS, OFFSETS, 2)[0] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)), rel=1e-15)


def test_mrr_is_the_reciprocal_of_the_best_rank_only() -> None:
    assert mrr(RANKS, OFFSETS, 5).tolist() == [1 / 2, 1, 0]


def test_average_precision_averages_the_precision_at_each_hit_over_the_smaller_of_cutoff_and_relevant() -> None:
    # a at 5: (1/2 + 2/5) / min(5, 3) = 0.3; at 2: (1/2) / min(2, 3) = 0.25; at 9: (1/2 + 2/5 + 3/9) / 3 = 37/90
    assert [average_precision(RANKS, OFFSETS, k)[0] for k in (5, 2, 9)] == pytest.approx([0.3, 0.25, 37 / 90])


def test_a_rank_between_two_places_is_a_hit_where_it_is_within_the_cutoff_and_discounted_there() -> None:
    ranks, offsets = np.array([2.5]), np.array([0, 1])
    assert [hit_rate(ranks, offsets, k)[0] for k in (2, 3)] == [0, 1]
    assert mrr(ranks, offsets, 3)[0] == 1 / 2.5
    assert average_precision(ranks, offsets, 3)[0] == 1 / 2.5
    assert ndcg(ranks, offsets, 3)[0] == pytest.approx(1 / math.log2(3.5))


@pytest.mark.parametrize("name", RANKING_METRICS)
def test_a_cutoff_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        RANKING_METRICS[name](RANKS, OFFSETS, 0)


@pytest.mark.parametrize("name", RANKING_METRICS)
def test_queries_of_which_nothing_is_found_count_as_zero(name: str) -> None:
    assert RANKING_METRICS[name](np.full(4, np.inf), np.array([0, 1, 4]), 10).tolist() == [0, 0]


def _list_metrics(relevant: set[int], ranked: list[int], k: int) -> dict[str, float]:
    """Compute every metric of one query from the list itself, term by term."""
    hits = [item in relevant for item in ranked[:k]]
    found = sum(hits)
    p, r = found / k, found / len(relevant)
    n_ideal = min(k, len(relevant))
    return {
        "hr": float(found > 0),
        "recall": r,
        "precision": p,
        "f1": 2 * p * r / (p + r) if found else 0.0,
        "ndcg": sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
        / sum(1 / math.log2(place + 2) for place in range(n_ideal)),
        "mrr": next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0.0),
        "map": sum(sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit) / n_ideal,
    }


@st.composite
def ranked_lists(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]]]:
    """Draw an order of candidates and the relevant items, candidates or not, of each of a few queries."""
    n_items = draw(st.integers(1, 12))
    n_queries = draw(st.integers(1, 4))
    orders, relevant = [], []
    for _ in range(n_queries):
        order = draw(st.permutations(range(n_items)))
        orders.append(order[: draw(st.integers(0, n_items))])
        relevant.append(draw(st.sets(st.integers(0, n_items - 1), min_size=1)))
    return orders, relevant


def _ranks(
    orders: list[list[int]], relevant: list[set[int]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    ranks = [
        order.index(item) + 1.0 if item in order else np.inf
        for order, items in zip(orders, relevant, strict=True)
        for item in sorted(items)
    ]
    return np.array(ranks), np.cumsum([0, *map(len, relevant)])


@given(ranked_lists(), st.integers(1, 15))
def test_every_metric_equals_its_twin_that_walks_the_list(
    lists: tuple[list[list[int]], list[set[int]]], k: int
) -> None:
    orders, relevant = lists
    ranks, offsets = _ranks(orders, relevant)
    for query, (order, items) in enumerate(zip(orders, relevant, strict=True)):
        for name, expected in _list_metrics(items, order, k).items():
            assert RANKING_METRICS[name](ranks, offsets, k)[query] == pytest.approx(expected, rel=1e-12), name


@given(ranked_lists(), st.integers(1, 15), st.randoms(use_true_random=False))
def test_the_order_of_a_querys_relevant_items_changes_no_bit(
    lists: tuple[list[list[int]], list[set[int]]], k: int, random: Random
) -> None:
    ranks, offsets = _ranks(*lists)
    shuffled = ranks.copy()
    for start, end in pairwise(offsets.tolist()):
        shuffled[start:end] = random.sample(ranks[start:end].tolist(), end - start)
    for metric in RANKING_METRICS.values():
        assert metric(shuffled, offsets, k).tolist() == metric(ranks, offsets, k).tolist()


@given(ranked_lists(), st.integers(1, 15))
def test_every_metric_lies_between_zero_and_one(lists: tuple[list[list[int]], list[set[int]]], k: int) -> None:
    ranks, offsets = _ranks(*lists)
    for name, metric in RANKING_METRICS.items():
        values = metric(ranks, offsets, k)
        assert values.dtype == np.float64 and values.shape == (len(offsets) - 1,), name
        assert (values >= 0).all() and (values <= 1 + 1e-12).all(), name


@pytest.mark.parametrize("name", ["hr", "ndcg", "mrr", "map"])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_an_oracle_reaches_one(name: str, k: int) -> None:
    ranks, offsets = np.array([1.0, 2.0, 3.0, 4.0, 1.0]), np.array([0, 4, 5])
    assert RANKING_METRICS[name](ranks, offsets, k) == pytest.approx([1, 1], rel=1e-15)


@pytest.mark.parametrize(
    ("name", "chance"),
    [
        ("hr", 10 / 100),
        ("recall", 10 / 100),
        ("precision", 1 / 100),
        ("ndcg", sum(1 / math.log2(rank + 1) for rank in range(1, 11)) / 100),
        ("mrr", sum(1 / rank for rank in range(1, 11)) / 100),
    ],
)
def test_a_random_order_of_100_items_reaches_chance_at_10(name: str, chance: float) -> None:
    n = 20_000
    ranks = np.random.default_rng(0).integers(1, 101, n).astype(np.float64)
    values = RANKING_METRICS[name](ranks, np.arange(n + 1), 10)
    # Of values in [0, 1] the variance is at most mean (1 - mean); five standard deviations.
    assert abs(values.mean() - chance) < 5 * math.sqrt(chance * (1 - chance) / n)
