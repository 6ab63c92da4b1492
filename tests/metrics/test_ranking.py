"""The example worked by hand, at cutoff 5.

Query a has relevant items at ranks 2, 5 and 9; query b has one, at rank 1; query c has one at rank 7 and one that
is no candidate.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.metrics.ranking import (
    PERSISTENCE,
    RANKING_METRICS,
    RankedTargets,
    auc,
    average_precision,
    capped_recall,
    dcg,
    f1,
    hit_rate,
    mrr,
    ndcg,
    precision,
    rank_biased_precision,
    recall,
    serendipity,
    weighted_ndcg,
)

# In item order, not in the order of the ranks.
RANKS = np.array([5.0, 9.0, 2.0, 1.0, 7.0, np.inf])
OFFSETS = np.array([0, 3, 4, 6])


def test_hit_rate_is_one_where_any_relevant_item_is_a_hit() -> None:
    assert hit_rate(RankedTargets(RANKS, OFFSETS), 5).tolist() == [1, 1, 0]


def test_recall_divides_hits_by_all_relevant_items_even_those_that_are_no_candidates() -> None:
    assert recall(RankedTargets(RANKS, OFFSETS), 5).tolist() == [2 / 3, 1, 0]
    assert recall(RankedTargets(RANKS, OFFSETS), 7).tolist() == [2 / 3, 1, 1 / 2]


def test_capped_recall_divides_hits_by_what_the_list_can_hold() -> None:
    targets = RankedTargets(RANKS, OFFSETS)
    assert capped_recall(targets, 5).tolist() == [2 / 3, 1, 0]
    assert capped_recall(targets, 2).tolist() == [1 / 2, 1, 0]


def test_precision_divides_hits_by_the_cutoff() -> None:
    assert precision(RankedTargets(RANKS, OFFSETS), 5).tolist() == [2 / 5, 1 / 5, 0]


def test_f1_is_the_harmonic_mean_of_precision_and_recall_and_zero_without_hit() -> None:
    # a: P = 2/5, R = 2/3, 2 P R / (P + R) = (8/15) / (16/15) = 1/2; b: P = 1/5, R = 1, (2/5) / (6/5) = 1/3
    np.testing.assert_allclose(f1(RankedTargets(RANKS, OFFSETS), 5), [1 / 2, 1 / 3, 0], rtol=1e-15)


def test_ndcg_discounts_by_the_logarithm_of_the_rank_and_divides_by_the_best_possible() -> None:
    # a: (1/log2 3 + 1/log2 6) / (1/log2 2 + 1/log2 3 + 1/log2 4) = (0.63093 + 0.38685) / 2.13093 = 0.47762
    np.testing.assert_allclose(ndcg(RankedTargets(RANKS, OFFSETS), 5), [0.47762, 1, 0], atol=1e-5)


def test_dcg_is_the_discounted_gain_itself() -> None:
    np.testing.assert_allclose(dcg(RankedTargets(RANKS, OFFSETS), 5), [0.63093 + 0.38685, 1, 0], atol=1e-5)


def test_rank_biased_precision_weighs_a_place_by_how_likely_it_is_looked_at() -> None:
    # a: 0.2 (0.8 + 0.8^4) = 0.24192; b: 0.2
    np.testing.assert_allclose(rank_biased_precision(RankedTargets(RANKS, OFFSETS), 5), [0.24192, 0.2, 0])


def test_weighted_ndcg_counts_a_hit_by_its_gain_and_divides_by_the_largest_gains_on_top() -> None:
    # a at 5: gains 1 at rank 5, 4 at 9, 2 at 2: 2/log2 3 + 1/log2 6 = 1.64871; best 4 + 2/log2 3 + 1/2 = 5.76186
    targets = RankedTargets(RANKS, OFFSETS, gains=np.array([1.0, 4.0, 2.0, 3.0, 1.0, 1.0]))
    np.testing.assert_allclose(weighted_ndcg(targets, 5), [1.64871 / 5.76186, 1, 0], atol=1e-5)
    # a at 2: 2/log2 3 = 1.26186, over 4 + 2/log2 3 = 5.26186
    np.testing.assert_allclose(weighted_ndcg(targets, 2), [1.26186 / 5.26186, 1, 0], atol=1e-5)


def test_weighted_ndcg_of_equal_gains_is_ndcg_and_of_none_above_zero_it_is_zero() -> None:
    equal = RankedTargets(RANKS, OFFSETS, gains=np.full(6, 2.5))
    np.testing.assert_allclose(weighted_ndcg(equal, 5), ndcg(equal, 5), rtol=1e-15)
    assert weighted_ndcg(RankedTargets(RANKS, OFFSETS, gains=np.zeros(6)), 5).tolist() == [0, 0, 0]


def test_a_gain_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="a gain must be 0 or more, not -1"):
        RankedTargets(RANKS, OFFSETS, gains=np.array([1, 1, -1, 1, 1, 1.0]))


def test_auc_is_the_share_of_pairs_in_order_and_what_was_not_ranked_stands_below_all() -> None:
    # Ten items each. a: seven others, of which 1, 3 and 6 stand above those at 2, 5 and 9: 1 - 10/21.
    # b: none of nine above. c: six above the one at 7 of nine others, and the other target has lost all nine.
    targets = RankedTargets(RANKS, OFFSETS, n_ranked=np.array([10, 10, 10]))
    np.testing.assert_allclose(auc(targets), [1 - 10 / 21, 1, 3 / 18])


def test_auc_without_another_item_is_one_half() -> None:
    assert auc(RankedTargets(np.array([1.0, 2.0]), np.array([0, 2]), n_ranked=np.array([2]))).tolist() == [0.5]


def test_serendipity_counts_the_hits_that_popularity_would_not_have_shown() -> None:
    targets = RankedTargets(RANKS, OFFSETS, popularity_ranks=np.array([6.0, 1, 5, 9, 1, 1]))
    assert serendipity(targets, 5).tolist() == [1 / 5, 1 / 5, 0]


@pytest.mark.parametrize(
    ("metric", "what"),
    [
        (lambda targets: weighted_ndcg(targets, 5), "the gains"),
        (lambda targets: serendipity(targets, 5), "the popularity"),
        (auc, "the number of items"),
    ],
)
def test_a_metric_that_lacks_what_it_needs_says_so(metric: Callable[[RankedTargets], object], what: str) -> None:
    with pytest.raises(ValueError, match=f"needs {what}"):
        metric(RankedTargets(RANKS, OFFSETS))


@given(st.data())
def test_auc_and_weighted_ndcg_equal_twins_that_look_at_every_pair_and_place(data: st.DataObject) -> None:
    n_items = data.draw(st.integers(2, 9))
    scores = data.draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items))
    relevant = sorted(data.draw(st.sets(st.integers(0, n_items - 1), min_size=1)))
    # The rule of ties: of t tied targets among e items, g above, the j-th stands at g + j (e + 1) / (t + 1).
    ranks = []
    for place, item in enumerate(relevant):
        tied = [other for other in relevant if scores[other] == scores[item]]
        above = sum(score > scores[item] for score in scores)
        equal = scores.count(scores[item])
        ranks.append(above + (tied.index(relevant[place]) + 1) * (equal + 1) / (len(tied) + 1))
    gains = [float(item % 4) for item in relevant]
    targets = RankedTargets(
        np.array(ranks), np.array([0, len(ranks)]), gains=np.array(gains), n_ranked=np.array([n_items])
    )
    others = [item for item in range(n_items) if item not in relevant]
    won = [(scores[a] > scores[b]) + (scores[a] == scores[b]) / 2 for a in relevant for b in others]
    assert auc(targets)[0] == pytest.approx(sum(won) / len(won) if won else 0.5)
    k = data.draw(st.integers(1, 10))
    found = sum(gain / math.log2(rank + 1) for gain, rank in zip(gains, ranks, strict=True) if rank <= k)
    ideal = sum(gain / math.log2(place + 2) for place, gain in enumerate(sorted(gains, reverse=True)[:k]))
    assert weighted_ndcg(targets, k)[0] == pytest.approx(found / ideal if ideal else 0)


def test_hits_within_a_larger_cutoff_are_those_found_afresh() -> None:
    targets = RankedTargets(RANKS, OFFSETS)
    targets.hits(9)
    for name, metric in RANKING_METRICS.items():
        assert metric(targets, 5).tolist() == metric(RankedTargets(RANKS, OFFSETS), 5).tolist(), name


def test_the_ideal_of_ndcg_holds_no_more_items_than_the_list() -> None:
    # a at 2: 1/log2 3, over the ideal of two hits, 1 + 1/log2 3
    assert ndcg(RankedTargets(RANKS, OFFSETS), 2)[0] == pytest.approx(
        (1 / math.log2(3)) / (1 + 1 / math.log2(3)), rel=1e-15
    )


def test_mrr_is_the_reciprocal_of_the_best_rank_only() -> None:
    assert mrr(RankedTargets(RANKS, OFFSETS), 5).tolist() == [1 / 2, 1, 0]


def test_average_precision_averages_the_precision_at_each_hit_over_the_smaller_of_cutoff_and_relevant() -> None:
    # a at 5: (1/2 + 2/5) / min(5, 3) = 0.3; at 2: (1/2) / min(2, 3) = 0.25; at 9: (1/2 + 2/5 + 3/9) / 3 = 37/90
    assert [average_precision(RankedTargets(RANKS, OFFSETS), k)[0] for k in (5, 2, 9)] == pytest.approx(
        [0.3, 0.25, 37 / 90]
    )


def test_a_rank_between_two_places_is_a_hit_where_it_is_within_the_cutoff_and_discounted_there() -> None:
    ranks, offsets = np.array([2.5]), np.array([0, 1])
    assert [hit_rate(RankedTargets(ranks, offsets), k)[0] for k in (2, 3)] == [0, 1]
    assert mrr(RankedTargets(ranks, offsets), 3)[0] == 1 / 2.5
    assert average_precision(RankedTargets(ranks, offsets), 3)[0] == 1 / 2.5
    assert ndcg(RankedTargets(ranks, offsets), 3)[0] == pytest.approx(1 / math.log2(3.5))


@pytest.mark.parametrize("name", RANKING_METRICS)
def test_a_cutoff_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        RANKING_METRICS[name](RankedTargets(RANKS, OFFSETS), 0)


@pytest.mark.parametrize("name", RANKING_METRICS)
def test_queries_of_which_nothing_is_found_count_as_zero(name: str) -> None:
    assert RANKING_METRICS[name](RankedTargets(np.full(4, np.inf), np.array([0, 1, 4])), 10).tolist() == [0, 0]


def _list_metrics(relevant: set[int], ranked: list[int], k: int) -> dict[str, float]:
    """Compute every metric of one query from the list itself, term by term."""
    hits = [item in relevant for item in ranked[:k]]
    found = sum(hits)
    p, r = found / k, found / len(relevant)
    n_ideal = min(k, len(relevant))
    return {
        "hr": float(found > 0),
        "recall": r,
        "capped_recall": found / n_ideal,
        "precision": p,
        "f1": 2 * p * r / (p + r) if found else 0.0,
        "ndcg": sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
        / sum(1 / math.log2(place + 2) for place in range(n_ideal)),
        "dcg": sum(hit / math.log2(place + 2) for place, hit in enumerate(hits)),
        "rbp": sum(hit * (1 - PERSISTENCE) * PERSISTENCE**place for place, hit in enumerate(hits)),
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
            assert RANKING_METRICS[name](RankedTargets(ranks, offsets), k)[query] == pytest.approx(
                expected, rel=1e-12
            ), name


@given(ranked_lists(), st.integers(1, 15), st.randoms(use_true_random=False))
def test_the_order_of_a_querys_relevant_items_changes_no_bit(
    lists: tuple[list[list[int]], list[set[int]]], k: int, random: Random
) -> None:
    ranks, offsets = _ranks(*lists)
    shuffled = ranks.copy()
    for start, end in pairwise(offsets.tolist()):
        shuffled[start:end] = random.sample(ranks[start:end].tolist(), end - start)
    for metric in RANKING_METRICS.values():
        assert (
            metric(RankedTargets(shuffled, offsets), k).tolist()
            == metric(RankedTargets(ranks, offsets), k).tolist()
        )


@given(ranked_lists(), st.integers(1, 15))
def test_every_metric_but_dcg_lies_between_zero_and_one(
    lists: tuple[list[list[int]], list[set[int]]], k: int
) -> None:
    ranks, offsets = _ranks(*lists)
    for name, metric in RANKING_METRICS.items():
        values = metric(RankedTargets(ranks, offsets), k)
        assert values.dtype == np.float64 and values.shape == (len(offsets) - 1,), name
        most = math.inf if name == "dcg" else 1 + 1e-12
        assert (values >= 0).all() and (values <= most).all(), name


@pytest.mark.parametrize("name", ["hr", "ndcg", "mrr", "map", "capped_recall"])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_an_oracle_reaches_one(name: str, k: int) -> None:
    ranks, offsets = np.array([1.0, 2.0, 3.0, 4.0, 1.0]), np.array([0, 4, 5])
    assert RANKING_METRICS[name](RankedTargets(ranks, offsets), k) == pytest.approx([1, 1], rel=1e-15)


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
    values = RANKING_METRICS[name](RankedTargets(ranks, np.arange(n + 1)), 10)
    # Of values in [0, 1] the variance is at most mean (1 - mean); five standard deviations.
    assert abs(values.mean() - chance) < 5 * math.sqrt(chance * (1 - chance) / n)
