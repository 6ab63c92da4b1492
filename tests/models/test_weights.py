from dataclasses import replace

import numpy as np
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.weights import EventWeights, Weighing
from tests.logs import log_of_events, log_of_items

DAY = 86_400 * 10**6
VIEW, PURCHASE = 0, 1
EVENTS = [(0, 0, VIEW, 0), (0, 2 * DAY, PURCHASE, 0), (0, 3 * DAY, VIEW, 1), (1, 5 * DAY, PURCHASE, 1)]


def weights_in_log(rule: EventWeights) -> list[list[float]]:
    log = log_of_events(EVENTS, n_users=2, n_items=2)
    matrix: list[list[float]] = Weighing.of(rule, log).log_matrix(log).toarray().tolist()
    return matrix


def weights_in_histories(rule: EventWeights) -> list[list[float]]:
    log = log_of_events(EVENTS, n_users=2, n_items=2)
    matrix: list[list[float]] = Weighing.of(rule, log).history_matrix(Queries.at_end(log), 2).toarray().tolist()
    return matrix


def test_plain_weights_are_1_where_there_is_an_event() -> None:
    assert weights_in_log(EventWeights()) == weights_in_histories(EventWeights()) == [[1, 1], [0, 1]]


def test_an_event_weighs_what_its_behavior_does_and_nothing_if_that_is_not_named() -> None:
    assert weights_in_log(EventWeights(behaviors={"purchase": 3.0})) == [[3, 0], [0, 3]]


@pytest.mark.parametrize(("repeats", "expected"), [("once", 3.0), ("sum", 4.0), ("log", np.log2(5))])
def test_several_events_of_a_pair_make_one_weight(repeats: str, expected: float) -> None:
    rule = EventWeights(behaviors={"view": 1.0, "purchase": 3.0}, repeats=repeats)  # type: ignore[arg-type]
    assert weights_in_log(rule)[0][0] == pytest.approx(expected)


def test_age_in_a_log_runs_from_its_last_event() -> None:
    assert weights_in_log(EventWeights(half_life_days=1.0)) == [[1 / 8, 1 / 4], [0, 1]]


def test_age_in_a_history_runs_from_its_last_event() -> None:
    assert weights_in_histories(EventWeights(half_life_days=1.0)) == [[1 / 2, 1], [0, 1]]


def test_age_in_events_runs_from_the_users_last_one() -> None:
    rule = EventWeights(half_life_events=1.0, repeats="sum")
    assert weights_in_log(rule) == weights_in_histories(rule) == [[1 / 4 + 1 / 2, 1], [0, 1]]


def test_what_weighs_too_little_for_a_float_is_left_out() -> None:
    log = log_of_items([list(range(3)) * 1000], n_items=3)
    matrix = Weighing.of(EventWeights(half_life_events=1e-3), log).log_matrix(log)
    assert matrix.nnz == 1
    assert matrix.toarray().tolist() == [[0, 0, 1]]


def test_an_empty_history_and_no_history_at_all_are_empty_rows() -> None:
    log = log_of_items([[0, 1]], n_items=2)
    weighing = Weighing.of(EventWeights(half_life_days=1.0), log)
    assert weighing.history_matrix(Queries.anonymous([[], [1]]), 2).toarray().tolist() == [[0, 0], [0, 1]]
    assert weighing.history_matrix(Queries.anonymous([]), 2).shape == (0, 2)


def test_a_log_of_which_nothing_weighs_anything_is_refused() -> None:
    log = log_of_events([(0, 0, VIEW, 0)], n_users=1, n_items=1)
    with pytest.raises(DataError, match="no event to learn from: none has a behavior that weighs more than 0"):
        Weighing.of(EventWeights(behaviors={"purchase": 1.0}), log).log_matrix(log)


def test_a_behavior_that_the_log_does_not_have_is_refused() -> None:
    with pytest.raises(DataError, match="no behavior 'buy'; it has view, purchase"):
        weights_in_log(EventWeights(behaviors={"buy": 1.0}))


def test_a_history_with_a_behavior_of_another_log_is_refused() -> None:
    log = log_of_items([[0]], n_items=1)
    with pytest.raises(DataError, match="holds behavior 3, but the model was fitted on a log of 1 behaviors"):
        Weighing.of(EventWeights(repeats="sum"), log).history_matrix(Queries.anonymous([[0]], [[3]]), 1)


def test_a_history_item_outside_the_catalogue_is_refused() -> None:
    log = log_of_items([[0]], n_items=1)
    with pytest.raises(DataError, match="item index 5, but the model was fitted on 1 items"):
        Weighing.of(EventWeights(repeats="sum"), log).history_matrix(Queries.anonymous([[5]]), 1)


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="half_life_days must be above 0, and finite, or null, but is 0"):
        EventWeights(half_life_days=0)
    with pytest.raises(ConfigError, match="half_life_events must be above 0, and finite, or null, but is -1"):
        EventWeights(half_life_events=-1)
    with pytest.raises(ConfigError, match=r"behaviors\.view must be 0 or more, and finite, but is -2"):
        EventWeights(behaviors={"view": -2})
    with pytest.raises(ConfigError, match="gives no behavior a weight above 0"):
        EventWeights(behaviors={"view": 0})


def test_a_state_without_the_weights_of_the_behaviors_is_refused() -> None:
    with pytest.raises(RecordError, match="flat array 'behavior_weights'"):
        Weighing.restored(EventWeights(), {})


def test_days_mean_nothing_in_a_log_without_times() -> None:
    log = replace(log_of_items([[0, 1]], n_items=2), timed=False)
    with pytest.raises(
        DataError, match="half_life_days: this log has an order and no times; use half_life_events"
    ):
        Weighing.of(EventWeights(half_life_days=1.0), log)


def weighed(rule: EventWeights, column: list[float]) -> tuple[Interactions, Weighing]:
    log = log_of_events(EVENTS, n_users=2, n_items=2, weights=column)
    return log, Weighing.of(rule, log)


def test_the_logs_own_numbers_count_where_that_is_asked_for() -> None:
    rule = EventWeights(behaviors={"view": 1.0, "purchase": 3.0}, repeats="sum", column=True)
    log, weighing = weighed(rule, [2.0, 0.5, 4.0, 0.0])
    expected = [[2 * 1 + 0.5 * 3, 4], [0, 0]]
    assert weighing.log_matrix(log).toarray().tolist() == expected
    assert weighing.history_matrix(Queries.at_end(log), 2).toarray().tolist() == expected


def test_the_logs_own_numbers_do_not_count_unasked() -> None:
    log, weighing = weighed(EventWeights(), [2.0, 0.5, -4.0, 0.0])
    assert weighing.log_matrix(log).toarray().tolist() == [[1, 1], [0, 1]]


def test_an_event_that_weighs_less_than_nothing_is_refused() -> None:
    log, weighing = weighed(EventWeights(column=True), [2.0, 0.5, -4.0, 0.0])
    with pytest.raises(DataError, match=r"an event weighs -4, below 0.*data\.exclude"):
        weighing.log_matrix(log)


def test_a_log_without_numbers_cannot_be_weighed_by_them() -> None:
    log = log_of_events(EVENTS, n_users=2, n_items=2)
    with pytest.raises(DataError, match=r"the log has none; name it with data\.columns\.weight"):
        Weighing.of(EventWeights(column=True), log)


def test_histories_without_numbers_cannot_be_weighed_by_them() -> None:
    _, weighing = weighed(EventWeights(column=True), [1.0, 1.0, 1.0, 1.0])
    with pytest.raises(DataError, match="these histories have none; give them a column `weight`"):
        weighing.history_matrix(Queries.anonymous([[0]]), 2)
