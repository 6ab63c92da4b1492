"""Four items and three users in train; two queries, of which the second is new."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet
from recdl.errors import ConfigError, DataError
from recdl.evaluation import item_users
from recdl.evaluation.evaluate import Evaluation, evaluate
from recdl.evaluation.measures import check_protocol
from recdl.evaluation.protocol import CategoryColumn, EvaluationProtocol, SampledCandidates
from recdl.metrics.registry import METRICS

# Item 0 has 3 events of 2 users, item 1 two of 2, item 2 one, item 3 none.
TRAIN = Interactions(
    offsets=np.array([0, 3, 5, 6]),
    items=np.array([0, 0, 1, 0, 1, 2], np.int32),
    behaviors=np.array([0, 1, 0, 0, 0, 0], np.int8),
    timestamps=np.arange(6),
    n_items=4,
    behavior_names=("view", "purchase"),
    item_table=pa.table({"genre": ["a", "b", "a|b", None]}),
)
QUERIES = QuerySet(
    Queries(
        np.array([0, -1], np.int32),
        np.array([0, 3]),
        np.array([3, 3]),
        TRAIN.items,
        TRAIN.behaviors,
        TRAIN.timestamps,
    ),
    np.array([0, 2, 3]),
    np.array([1, 2, 0], np.int32),
    target_weights=np.array([4, 1, 2], np.float32),
    target_behaviors=np.array([1, 0, 0], np.int8),
)
SCORES = {0: [4, 3, 2, 1], -1: [1, 2, 3, 0]}
EVERYTHING = EvaluationProtocol(
    metrics=METRICS,
    cutoffs=(1, 2),
    gains={"purchase": 3.0},
    item_category=CategoryColumn("genre", "|"),
    n_bootstrap=10,
)


class Known:
    """Scores by user."""

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        return np.array([SCORES[int(user)] for user in queries.users], np.float32)


def _evaluate(protocol: EvaluationProtocol = EVERYTHING, **changes: Any) -> Evaluation:
    known: dict[str, Any] = {"candidates": np.array([True, True, True, False]), "train": TRAIN}
    return evaluate(Known(), QUERIES, protocol=protocol, **(known | changes))  # type: ignore[arg-type]


def test_every_metric_is_measured_in_one_ranking() -> None:
    evaluation = _evaluate()
    names = {name.partition("@")[0] for name in evaluation.metrics}
    assert names == {*METRICS, "n_queries", "cold_targets"}
    assert {name for name in evaluation.per_query if "@" not in name} == {
        "query",
        "user",
        "n_targets",
        "history_length",
        "auc",
    }


def test_metrics_of_train_and_of_lists_are_worked_by_hand() -> None:
    # Lists at 2: items 0 and 1; items 2 and 1. Histories: items 0, 0, 1; none.
    found = _evaluate().per_query
    assert found["popularity@2"].tolist() == [5 / 2, 3 / 2]
    assert found["novelty@1"].tolist() == pytest.approx([np.log2(3 / 2), np.log2(3)])
    assert found["repeat@2"].tolist() == [1, 0]
    # Both users who have item 0 have item 1; nobody has 2 and 1.
    assert found["diversity@2"].tolist() == pytest.approx([0, 1])
    assert found["category_diversity@2"].tolist() == pytest.approx([1, 1 - 2**-0.5])
    # History 2/3 a, 1/3 b; at 1 the list is all a, at 2 half each.
    at_one = 2 / 3 * np.log((2 / 3) / (0.99 + 0.01 * 2 / 3)) + 1 / 3 * np.log(100)
    assert found["miscalibration@1"].tolist() == pytest.approx([at_one, 0])


def test_metrics_of_ranks_are_given_gains_popularity_and_how_many_are_ranked() -> None:
    # Ranks: targets 1 and 2 of the first at 2 and 3, target 0 of the second at 3, among three candidates.
    found = _evaluate().per_query
    discount = 1 / np.log2(3)
    assert found["weighted_ndcg@2"].tolist() == pytest.approx([3 * discount / (3 + discount), 0])
    assert found["auc"].tolist() == [0, 0]
    assert found["serendipity@2"].tolist() == [0, 0]
    assert found["serendipity@1"].tolist() == [0, 0]


def test_gains_may_be_the_logs_numbers() -> None:
    found = _evaluate(replace(EVERYTHING, metrics=("weighted_ndcg",), gains="weight")).per_query
    discount = 1 / np.log2(3)
    assert found["weighted_ndcg@2"].tolist() == pytest.approx([4 * discount / (4 + discount), 0])


def test_what_a_history_takes_out_is_not_ranked_and_no_pair_of_auc() -> None:
    # The first query ranks item 2 alone, the second three items.
    found = _evaluate(replace(EVERYTHING, metrics=("auc",), exclude_history=True)).per_query
    assert found["auc"].tolist() == [0.5, 0]


def test_sampled_candidates_are_marked_with_how_many_there_are() -> None:
    protocol = replace(EVERYTHING, metrics=("hr",), sampled=SampledCandidates(1))
    metrics = _evaluate(protocol, candidates=np.ones(4, np.bool_)).metrics
    assert metrics["sampled_candidates"] == (3 + 2) / 2


def test_diversity_goes_by_a_draw_of_users_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_users, "MOST_USERS", 2)
    found = _evaluate(replace(EVERYTHING, metrics=("diversity",))).per_query["diversity@2"]
    assert found.tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize("name", ["serendipity", "popularity", "novelty", "diversity", "miscalibration"])
def test_a_metric_of_train_without_train_is_an_error(name: str) -> None:
    with pytest.raises(DataError, match=f"the metric {name} needs the log that was learned from"):
        _evaluate(replace(EVERYTHING, metrics=(name,)), train=None)


def test_groups_are_given_with_their_gaps_and_need_train() -> None:
    protocol = replace(EVERYTHING, metrics=("ndcg",), user_groups=("newness",))
    evaluation = _evaluate(protocol)
    assert evaluation.groups["users"]["newness"]["known"]["n_queries"] == 1
    assert evaluation.metrics["gap/newness/ndcg@2"] == pytest.approx(
        abs(np.diff(evaluation.per_query["ndcg@2"].to_numpy())[0])
    )
    with pytest.raises(DataError, match="groups of users and items need the log that was learned from"):
        _evaluate(protocol, train=None)


def test_a_draw_by_popularity_without_train_is_an_error() -> None:
    protocol = replace(EVERYTHING, metrics=("hr",), sampled=SampledCandidates(1, "popularity"))
    with pytest.raises(DataError, match=r"sampled\.by=popularity needs the log that was learned from"):
        _evaluate(protocol, train=None)


@pytest.mark.parametrize(
    ("gains", "changes", "message"),
    [
        ({"view": 1.0}, {"target_behaviors": None}, "given without their behaviours; leave weighted_ndcg out"),
        ("weight", {"target_weights": None}, "the targets have no numbers"),
        ("weight", {"target_weights": np.array([1, -2, 1], np.float32)}, "a gain must be 0 or more, not -2.0"),
    ],
)
def test_targets_without_gains_are_an_error(gains: Any, changes: dict[str, Any], message: str) -> None:
    protocol = replace(EVERYTHING, metrics=("weighted_ndcg",), gains=gains)
    with pytest.raises(DataError, match=message):
        evaluate(
            Known(),  # type: ignore[arg-type]
            replace(QUERIES, **changes),
            candidates=np.ones(4, np.bool_),
            protocol=protocol,
            train=TRAIN,
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_category": CategoryColumn("brand")}, "evaluation.item_category.column: .* no column 'brand'"),
        ({"gains": "weight"}, "evaluation.gains: the log has no numbers .* data.columns.weight"),
        ({"gains": {"buy": 2.0}}, "evaluation.gains.buy: the log has no such behavior; it has view, purchase"),
    ],
)
def test_a_log_that_lacks_what_a_protocol_asks_for_is_refused_before_anything_is_trained(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_protocol(replace(EVERYTHING, **changes), TRAIN)


def test_a_log_that_has_all_of_it_passes() -> None:
    assert check_protocol(EVERYTHING, TRAIN) is None  # type: ignore[func-returns-value]
