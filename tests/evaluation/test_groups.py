"""Four items, three users in train, four queries: of users 0, 1, 1 and of somebody new."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet
from recdl.errors import ConfigError
from recdl.evaluation.groups import by_group, check_groups, main_gaps
from recdl.evaluation.protocol import CategoryColumn, EvaluationProtocol
from recdl.metrics.lists import Lists

# Item 0 has four events of six, items 1 and 2 one each, item 3 none; user 2 has none.
TRAIN = Interactions(
    offsets=np.array([0, 4, 6, 6]),
    items=np.array([0, 0, 0, 1, 0, 2], np.int32),
    behaviors=np.zeros(6, np.int8),
    timestamps=np.arange(6),
    n_items=4,
    behavior_names=("view",),
    user_table=pa.table({"age": ["young", "old", None], "spent": pa.array([1.0, 2.0, None])}),
    item_table=pa.table({"genre": ["a|b", "b", None, "c"]}),
)
QUERIES = QuerySet(
    Queries(
        np.array([0, 1, 2, -1], np.int32),
        np.array([0, 4, 4, 6]),
        np.array([4, 6, 5, 6]),
        TRAIN.items,
        TRAIN.behaviors,
        TRAIN.timestamps,
    ),
    np.array([0, 2, 3, 4, 5]),
    np.array([0, 1, 1, 2, -1], np.int32),
)
RANKS = np.array([1.0, 3, 2, 1, np.inf])
VALUES = {"ndcg@2": np.array([1.0, 0.5, 0.2, 0.0]), "popularity@2": np.array([4.0, 2, 2, 2])}
LISTS = Lists(np.array([[0, 2], [0, 1], [2, 0], [0, -1]], np.int32), np.array([True, True, True, False]))
PROTOCOL = EvaluationProtocol(metrics=("ndcg",), cutoffs=(2,))


def _found(**changes: Any) -> dict[str, Any]:
    return by_group(VALUES, RANKS, LISTS, QUERIES, replace(PROTOCOL, **changes), TRAIN)


def test_users_are_grouped_by_the_events_of_their_history_and_by_whether_train_knows_them() -> None:
    users = _found(user_groups=("activity", "newness"))["users"]
    assert {group: figures["n_queries"] for group, figures in users["activity"].items()} == {
        "no history": 1,
        "1 event": 1,
        "2 events": 1,
        "3 or more events": 1,
    }
    assert users["activity"]["3 or more events"] == {"n_queries": 1, "ndcg@2": 1.0, "popularity@2": 4.0}
    assert users["newness"]["known"] == {"n_queries": 2, "ndcg@2": 0.75, "popularity@2": 3.0}
    assert users["newness"]["new"] == {"n_queries": 2, "ndcg@2": 0.1, "popularity@2": 2.0}


def test_the_gap_is_the_best_group_less_the_worst() -> None:
    gaps = _found(user_groups=("newness",), item_groups=("popularity",))["gaps"]
    assert gaps["newness/ndcg@2"] == pytest.approx(0.65)
    assert gaps["newness/popularity@2"] == pytest.approx(1.0)


def test_users_of_whom_a_column_says_nothing_are_no_end_of_its_gap() -> None:
    found = _found(user_groups=("age",))
    ages = {group: figures["ndcg@2"] for group, figures in found["users"]["age"].items()}
    assert found["gaps"]["age/ndcg@2"] == pytest.approx(abs(ages["old"] - ages["young"]))
    assert max(ages.values()) - min(ages.values()) > found["gaps"]["age/ndcg@2"]


def test_users_are_grouped_by_a_column_of_their_table() -> None:
    users = _found(user_groups=("age",))["users"]["age"]
    assert {group: figures["n_queries"] for group, figures in users.items()} == {
        "old": 1,
        "young": 1,
        "not known": 2,
    }


def test_items_have_their_share_of_the_places_and_of_the_targets_found() -> None:
    # The head is item 0, and items 1 and 2 with an event of six each: one is in the middle, the last in the tail.
    items = _found(item_groups=("popularity",))["items"]["popularity"]
    assert items["head"] == {"n_items": 1, "n_targets": 1, "events": 4 / 6, "exposure@2": 4 / 7, "recall@2": 1.0}
    assert sum(group["events"] for group in items.values()) == pytest.approx(1)
    assert sum(group["exposure@2"] for group in items.values()) == pytest.approx(1)
    assert items["unseen"] == {"n_items": 0, "n_targets": 0, "events": 0.0, "exposure@2": 0.0}


def test_an_item_with_several_values_is_in_the_group_of_each() -> None:
    items = _found(item_groups=("genre",), item_category=CategoryColumn("genre", "|"))["items"]["genre"]
    assert {group: figures["n_items"] for group, figures in items.items()} == {
        "b": 2,
        "a": 1,
        "c": 0,
        "not known": 1,
    }
    # Targets 0, 1 and 1 have genre b: the first and the last are found at 2.
    assert items["b"]["recall@2"] == pytest.approx(2 / 3)


def test_only_the_most_frequent_values_are_groups_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recdl.evaluation.groups.MOST_GROUPS", 1)
    items = _found(item_groups=("genre",), item_category=CategoryColumn("genre", "|"))["items"]["genre"]
    assert list(items) == ["b", "others", "not known"]


def test_many_numbers_are_cut_in_thirds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recdl.evaluation.groups.MOST_GROUPS", 1)
    users = _found(user_groups=("spent",))["users"]["spent"]
    assert list(users) == ["1 to 1", "2 to 2", "not known"]


def test_a_runs_figures_hold_the_gaps_in_ndcg_of_users_and_in_recall_of_items() -> None:
    gaps = main_gaps(_found(user_groups=("newness",), item_groups=("popularity",)))
    assert gaps.keys() == {"gap/newness/ndcg@2", "gap/popularity/recall@2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"user_groups": ("city",)},
            "evaluation.user_groups: .* table of users has no column 'city'; it has 'age'",
        ),
        ({"item_groups": ("brand",)}, "evaluation.item_groups: .* table of items has no column 'brand'"),
    ],
)
def test_a_column_that_the_log_lacks_is_an_error_that_names_the_setting(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_groups(replace(PROTOCOL, **changes), TRAIN)


def test_what_every_log_has_needs_no_table() -> None:
    bare = replace(TRAIN, user_table=None, item_table=None)
    asked = replace(PROTOCOL, user_groups=("activity", "newness"), item_groups=("popularity",))
    assert check_groups(asked, bare) is None  # type: ignore[func-returns-value]
