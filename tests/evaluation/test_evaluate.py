import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.queries import Candidates, Queries, QuerySet
from recdl.errors import DataError
from recdl.evaluation.evaluate import evaluate
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.metrics.ranking import RANKING_METRICS

EVERYTHING = (*RANKING_METRICS, "coverage")


class Table:
    """A recommender that gives the query whose history starts at event `q` row `q` of a table."""

    def __init__(self, scores: Any) -> None:
        self.table = np.asarray(scores, np.float32)

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        return self.table[queries.starts]


def _query_set(users: list[int], history: list[int], targets: list[list[int]]) -> QuerySet:
    """Make queries of one event of history each, that of query `q` at position `q`."""
    n = len(users)
    queries = Queries(
        np.array(users, np.int32),
        np.arange(n, dtype=np.int64),
        np.arange(1, n + 1, dtype=np.int64),
        np.array(history, np.int32),
        np.zeros(n, np.int8),
        np.zeros(n, np.int64),
    )
    offsets = np.cumsum([0, *map(len, targets)]).astype(np.int64)
    return QuerySet(queries, offsets, np.array([item for row in targets for item in row], np.int32))


def _protocol(**changes: Any) -> EvaluationProtocol:
    return EvaluationProtocol(**{"metrics": EVERYTHING, "cutoffs": (1, 2)} | changes)


# Three queries over four items, of which item 3 was never seen in train. Ranks among items 0, 1, 2:
# query 0 (user 4): 0 > 1 > 2, target 1 at 2; query 1 (unknown): 2 > 1 > 0, targets 2 at 1 and 3, a miss;
# query 2 (user 4): 0 > 2 > 1, target 1 at 3. Before each stands one event, of items 0, 2 and 1.
SCORES = [[3, 2, 1, 9], [1, 2, 3, 9], [3, 1, 2, 9]]
QUERIES = _query_set([4, -1, 4], [0, 2, 1], [[1], [2, 3], [1]])
CANDIDATES = np.array([True, True, True, False])


def test_figures_are_means_over_queries() -> None:
    metrics = evaluate(Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol()).metrics
    assert metrics["hr@1"] == pytest.approx(1 / 3)
    assert metrics["hr@2"] == pytest.approx(2 / 3)
    assert metrics["recall@2"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert metrics["precision@2"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert metrics["f1@2"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert metrics["mrr@2"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert metrics["map@2"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert metrics["ndcg@2"] == pytest.approx((1 / math.log2(3) + 1 / (1 + 1 / math.log2(3)) + 0) / 3)


def test_coverage_is_of_the_candidates_by_the_lists_at_each_cutoff() -> None:
    metrics = evaluate(Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol()).metrics
    assert metrics["coverage@1"] == pytest.approx(2 / 3)  # 0, 2, 0
    assert metrics["coverage@2"] == 1


def test_exactly_the_metrics_asked_for_are_given_with_what_they_rest_on() -> None:
    evaluation = evaluate(
        Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol(metrics=("ndcg",), cutoffs=(2,))
    )
    assert evaluation.metrics.keys() == {"ndcg@2", "n_queries", "cold_targets"}
    assert evaluation.metrics["n_queries"] == 3
    assert evaluation.intervals.keys() == {"ndcg@2"}


def test_the_share_of_targets_that_train_never_saw_is_given() -> None:
    metrics = evaluate(Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol()).metrics
    assert metrics["cold_targets"] == 1 / 4
    assert "masked_targets" not in metrics


def test_the_share_of_targets_masked_with_the_history_is_given_apart_from_the_cold_ones() -> None:
    # Targets 2 of query 1 and 1 of query 2 are in their histories, target 3 is cold; query 0 has item 0 taken out.
    evaluation = evaluate(Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol(exclude_history=True))
    assert evaluation.metrics["masked_targets"] == 2 / 4
    assert evaluation.metrics["cold_targets"] == 1 / 4
    assert evaluation.per_query["hr@1"].tolist() == [1, 0, 0]


def test_every_query_has_a_row_that_says_whose_it_is_and_what_it_reached() -> None:
    table = evaluate(Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol(metrics=("mrr",))).per_query
    assert table.to_dict("list") == {
        "query": [0, 1, 2],
        "user": [4, -1, 4],
        "n_targets": [1, 2, 1],
        "history_length": [1, 1, 1],
        "mrr@1": [0, 1, 0],
        "mrr@2": [1 / 2, 1, 0],
    }
    assert [str(dtype) for dtype in table.dtypes] == ["int64", "int32", "int64", "int64", "float64", "float64"]


def test_the_lists_reach_to_the_largest_cutoff() -> None:
    evaluation = evaluate(Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol(cutoffs=(4, 1)))
    assert evaluation.lists.tolist() == [[0, 1, 2, -1], [2, 1, 0, -1], [0, 2, 1, -1]]


def test_an_interval_draws_a_users_queries_together() -> None:
    # User 4 has ranks 2 and 3, the unknown visitor 1: HR@1 is 0 (user 4 twice), 1 (the visitor twice) or 1/3.
    evaluation = evaluate(
        Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol(metrics=("hr",), confidence=0.98)
    )
    assert evaluation.intervals["hr@1"] == (0, 1)
    narrow = _protocol(metrics=("hr",), confidence=0.02)
    middle = evaluate(Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=narrow).intervals["hr@1"]
    assert middle == pytest.approx((1 / 3, 1 / 3))


def test_a_protocol_of_coverage_alone_has_no_interval() -> None:
    evaluation = evaluate(Table(SCORES), QUERIES, candidates=CANDIDATES, protocol=_protocol(metrics=("coverage",)))
    assert evaluation.intervals == {}
    assert evaluation.metrics.keys() == {"coverage@1", "coverage@2", "n_queries", "cold_targets"}


def test_the_seed_decides_the_intervals_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    queries = _query_set(list(range(50)), [0] * 50, generator.integers(0, 30, (50, 1)).tolist())
    table = Table(generator.random((50, 30)))
    runs = [
        evaluate(table, queries, candidates=np.ones(30, np.bool_), protocol=_protocol(cutoffs=(20,)), seed=seed)
        for seed in (0, 0, 1)
    ]
    assert runs[0].intervals == runs[1].intervals
    assert runs[0].intervals["mrr@20"] != runs[2].intervals["mrr@20"]
    assert runs[0].metrics == runs[1].metrics == runs[2].metrics


def test_a_model_that_scores_all_items_alike_reaches_nothing_beyond_chance() -> None:
    queries = _query_set(list(range(40)), [0] * 40, [[item] for item in range(40)])
    candidates = np.ones(100, np.bool_)
    metrics = evaluate(
        Table(np.ones((40, 100))), queries, candidates=candidates, protocol=_protocol(cutoffs=(10,))
    ).metrics
    assert all(metrics[f"{name}@10"] == 0 for name in RANKING_METRICS)
    assert metrics["coverage@10"] == 10 / 100


def test_an_oracle_reaches_one_and_its_interval_has_no_width() -> None:
    targets = [[3, 7], [1], [2, 5, 8]]
    scores = np.zeros((3, 10))
    for row, items in zip(scores, targets, strict=True):
        row[items] = 1
    queries = _query_set([0, 1, 2], [0, 0, 0], targets)
    evaluation = evaluate(
        Table(scores), queries, candidates=np.ones(10, np.bool_), protocol=_protocol(cutoffs=(1, 3, 10))
    )
    for name in ("hr", "ndcg", "mrr", "map"):
        for k in (1, 3, 10):
            assert evaluation.metrics[f"{name}@{k}"] == pytest.approx(1, abs=1e-15)
            assert evaluation.intervals[f"{name}@{k}"] == pytest.approx((1, 1), abs=1e-15)
    assert evaluation.metrics["recall@10"] == 1


def test_random_scores_reach_chance_and_the_interval_holds_it() -> None:
    n = 3000
    generator = np.random.default_rng(0)
    queries = _query_set([-1] * n, [0] * n, generator.integers(0, 50, (n, 1)).tolist())
    evaluation = evaluate(
        Table(generator.random((n, 50), dtype=np.float32)),
        queries,
        candidates=np.ones(50, np.bool_),
        protocol=_protocol(metrics=("hr", "recall"), cutoffs=(5,), confidence=0.9999),
    )
    assert abs(evaluation.metrics["hr@5"] - 0.1) < 5 * math.sqrt(0.1 * 0.9 / n)
    low, high = evaluation.intervals["recall@5"]
    assert low < 0.1 < high


def test_scores_that_cannot_be_ranked_are_an_error_that_names_the_model() -> None:
    with pytest.raises(DataError, match="Table gave NaN or infinite scores for 3 of 3 queries"):
        evaluate(Table(np.full((3, 4), np.nan)), QUERIES, candidates=CANDIDATES, protocol=_protocol())


def test_evaluating_on_no_query_is_an_error() -> None:
    with pytest.raises(DataError, match="there is no query to rank for"):
        evaluate(Table(SCORES), _query_set([], [], []), candidates=CANDIDATES, protocol=_protocol())


def test_figures_among_given_candidates_are_marked_with_their_number() -> None:
    candidates = Candidates(np.array([0, 1, 4]), np.array([1, 0, 1, 2], np.int32))
    query_set = replace(_query_set([0, 1], [0, 0], [[1], [2]]), candidates=candidates)
    protocol = EvaluationProtocol(("hr",), (1,))
    table = Table([[3, 2, 1], [1, 2, 1.5]])
    found = evaluate(table, query_set, candidates=np.ones(3, np.bool_), protocol=protocol)
    assert (found.metrics["hr@1"], found.metrics["sampled_candidates"]) == (0.5, 2.0)
    full = evaluate(table, replace(query_set, candidates=None), candidates=np.ones(3, np.bool_), protocol=protocol)
    assert "sampled_candidates" not in full.metrics


def test_a_target_that_the_log_does_not_hold_is_cold_and_a_miss() -> None:
    query_set = _query_set([0, 1], [0, 0], [[-1], [2]])
    found = evaluate(
        Table([[1, 2, 3], [1, 2, 3]]),
        query_set,
        candidates=np.ones(3, np.bool_),
        protocol=EvaluationProtocol(("hr",), (3,)),
    )
    assert found.metrics["hr@3"] == 0.5
    assert found.metrics["cold_targets"] == 0.5
