import numpy as np
import pandas as pd

from recdl.evaluation.win_loss import balances, examples
from tests.evaluation.backgrounds import background


def table(values: list[float], users: list[int] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {"user": [0, 1, 2, -1] if users is None else users, "history_length": [3, 2, 0, 0], "ndcg@2": values}
    )


def test_wins_and_losses_are_counted_by_user_and_by_activity() -> None:
    counted = balances(table([1.0, 0.0, 0.5, 0.0]), table([0.0, 0.5, 0.5, 1.0]), "ndcg@2")
    assert [(one.group, one.first, one.alike, one.second) for one in counted] == [
        ("all users", 1, 1, 2),
        ("no history", 0, 1, 1),
        ("1 to 2 events", 0, 0, 1),
        ("3 or more events", 1, 0, 0),
    ]


def test_the_queries_of_a_user_are_averaged_and_unknown_ones_stay_apart() -> None:
    users = [0, 0, -1, -1]
    counted = balances(table([1.0, 0.0, 1.0, 0.0], users), table([0.0, 1.0, 0.0, 0.0], users), "ndcg@2")
    assert (counted[0].first, counted[0].alike, counted[0].second) == (1, 2, 0)


def test_what_float32_rounds_is_alike() -> None:
    counted = balances(table([0.1, 0.0, 0.0, 0.0]), table([0.1 + 1e-12, 0.0, 0.0, 0.0]), "ndcg@2")
    assert counted[0].alike == 4


def test_an_example_shows_history_lists_and_what_was_chosen() -> None:
    lists = (np.array([[0, 1], [1, 2], [0, 1], [2, 0]], np.int32), np.array([[3, 4], [0, -1]] * 2, np.int32))
    for_first, for_second = examples(
        (table([1.0, 0.6, 0.0, 0.0]), table([0.0, 0.0, 0.0, 0.0])),
        lists,
        "ndcg@2",
        background(names=True),
        n=5,
    )
    assert for_second == ()
    one = next(example for example in for_first if example.n_events == 2)
    assert [(item.name, item.behavior) for item in one.history] == [("Dog (d)", "buy"), ("c", "view")]
    assert [(item.name, item.hit, item.had) for item in one.first] == [
        ("Bee (b)", True, False),
        ("c", False, True),
    ]
    assert [item.name for item in one.second] == ["Ant (a)"]
    assert [(item.name, item.hit, item.had) for item in one.targets] == [
        ("Bee (b)", True, False),
        ("Dog (d)", False, True),
    ]
    assert (one.n_targets, one.first_value, one.second_value) == (2, 0.6, 0.0)


def test_examples_are_numbered_and_drawn_without_order_of_users() -> None:
    lists = (np.zeros((4, 2), np.int32), np.ones((4, 2), np.int32))
    for_first, for_second = examples(
        (table([1.0, 1.0, 0.0, 0.0]), table([0.0, 0.0, 1.0, 1.0])), lists, "ndcg@2", background(), n=2
    )
    assert [one.number for one in (*for_first, *for_second)] == [1, 2, 3, 4]


def test_no_more_examples_are_drawn_than_asked_for() -> None:
    lists = (np.zeros((4, 2), np.int32),) * 2
    for_first, for_second = examples((table([1.0] * 4), table([0.0] * 4)), lists, "ndcg@2", background(), n=1)
    assert (len(for_first), len(for_second)) == (1, 0)
