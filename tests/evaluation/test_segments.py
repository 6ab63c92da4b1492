import numpy as np
import pandas as pd
import pytest

from recdl.evaluation.segments import (
    activity_groups,
    item_groups,
    item_segmentation,
    mean_with_interval,
    user_segmentations,
)
from tests.evaluation.backgrounds import ITEM_EVENTS, background

EACH = np.arange(4)


def table(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"user": [0, 1, 2, -1], "history_length": [3, 2, 0, 0], "ndcg@1": values})


def test_activity_is_cut_into_no_history_and_thirds() -> None:
    groups = activity_groups(np.array([0, 1, 2, 3, 4, 5, 6, 0]))
    assert [(name, rows.nonzero()[0].tolist()) for name, rows in groups] == [
        ("no history", [0, 7]),
        ("1 to 2 events", [1, 2]),
        ("3 to 4 events", [3, 4]),
        ("5 or more events", [5, 6]),
    ]


@pytest.mark.parametrize(
    ("lengths", "names"),
    [
        ([0, 0], ["no history"]),
        ([7, 7, 7], ["some history"]),
        ([1, 1, 1, 2], ["1 event", "2 or more events"]),
        ([1, 1, 2, 2, 9, 9], ["1 event", "2 events", "3 or more events"]),
    ],
)
def test_groups_of_activity_that_would_be_empty_are_not_made(lengths: list[int], names: list[str]) -> None:
    groups = activity_groups(np.array(lengths))
    assert [name for name, _ in groups] == names
    assert np.sum([rows for _, rows in groups], axis=0).tolist() == [1] * len(lengths)


def test_items_are_head_middle_tail_or_unseen() -> None:
    assert item_groups(np.array(ITEM_EVENTS)).tolist() == [0, 1, 1, 2, 2, -1]


def test_a_log_without_events_has_no_groups() -> None:
    assert item_groups(np.zeros(3, np.int64)).tolist() == [-1, -1, -1]


def test_the_interval_of_independent_rows_is_that_of_a_mean() -> None:
    figure = mean_with_interval(np.array([0.0, 1.0, 0.0, 1.0]), EACH, 0.95)
    # s / sqrt(n) with s**2 = 1 / 3
    width = 1.959964 * (1 / 3) ** 0.5 / 2
    assert (figure.value, figure.low, figure.high) == pytest.approx((0.5, 0.5 - width, 0.5 + width))


def test_rows_of_one_user_count_as_one_where_they_are_alike() -> None:
    alone = mean_with_interval(np.array([0.0, 1.0, 0.5]), np.array([3, 1, 2]), 0.9)
    repeated = mean_with_interval(np.repeat([0.0, 1.0, 0.5], 4), np.repeat([3, 1, 2], 4), 0.9)
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))


def test_unknown_visitors_are_not_one_cluster() -> None:
    unknown = mean_with_interval(np.array([0.0, 1.0, 0.0, 1.0]), np.full(4, -1), 0.95)
    assert unknown == mean_with_interval(np.array([0.0, 1.0, 0.0, 1.0]), EACH, 0.95)


def test_one_cluster_alone_gives_no_width() -> None:
    figure = mean_with_interval(np.array([0.0, 1.0]), np.array([5, 5]), 0.95)
    assert (figure.low, figure.value, figure.high) == (0.5, 0.5, 0.5)


def test_the_intervals_cover_the_truth_at_their_rate() -> None:
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(100), 3)
    covered = 0
    for _ in range(400):
        values = generator.normal(size=100)[clusters] + generator.normal(size=300)
        figure = mean_with_interval(values, clusters, 0.9)
        covered += figure.low <= 0.0 <= figure.high
    assert covered / 400 == pytest.approx(0.9, abs=0.05)


def test_users_are_segmented_by_activity_and_by_whether_train_knows_them() -> None:
    tables = {"a": table([1.0, 0.0, 0.5, 0.0]), "b": table([0.0, 0.0, 1.0, 1.0])}
    activity, known = user_segmentations(tables, "ndcg@1", 0.95, background())
    assert [(one.name, one.size, one.figures["b"].value) for one in known.segments] == [
        ("new to train", 2, 1.0),
        ("known to train", 2, 0.0),
    ]
    assert activity.segments[0].name == "no history"
    assert activity.segments[0].figures["a"].value == 0.25
    assert activity.gap("a") == 1.0


def test_without_the_log_users_are_segmented_by_activity_alone() -> None:
    (only,) = user_segmentations({"a": table([1.0, 0.0, 0.5, 0.0])}, "ndcg@1", 0.95, None)
    assert only.name == "Users by activity"


def test_hits_are_told_by_the_popularity_of_the_target() -> None:
    lists = {"a": np.array([[0, 1], [1, 0], [5, 0], [2, -1]], np.int32)}
    found = item_segmentation(lists, 2, 0.95, background())
    assert found is not None
    # targets: a of query 0, b and d of 1, f of 2, an unknown one and c of 3
    assert [(one.name, one.size, one.figures["a"].value) for one in found.segments] == [
        ("head items", 1, 1.0),
        ("middle items", 2, 1.0),
        ("tail items", 1, 0.0),
        ("unseen in train", 2, 0.5),
    ]
    shorter = item_segmentation(lists, 1, 0.95, background())
    assert shorter is not None and shorter.metric == "hits@1"
