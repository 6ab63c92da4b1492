from dataclasses import replace

import numpy as np
import pytest

from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.popularity import PersonalPopularity, Popularity
from recdl.models.weights import EventWeights
from tests.logs import log_of_events, log_of_items

VIEW, PURCHASE = 0, 1
DAY = 86_400 * 10**6


def test_an_item_scores_the_number_of_its_users() -> None:
    log = log_of_items([[0, 1], [1, 2], [1]], n_items=4)
    scores = Popularity().fit(log).score(Queries.anonymous([[0]]))
    assert scores.tolist() == [[1, 3, 1, 0]]
    assert scores.dtype == np.float32


def test_a_user_who_comes_back_counts_once() -> None:
    log = log_of_items([[0, 0, 0], [1], [1]], n_items=2)
    assert Popularity().fit(log).counts_.tolist() == [1, 2]


def test_every_query_gets_the_same_scores_whatever_its_history() -> None:
    model = Popularity().fit(log_of_items([[0, 1], [1]], n_items=2))
    assert model.score(Queries.anonymous([[], [0], [1, 1]])).tolist() == [[1, 2]] * 3


def test_only_the_named_behaviors_count() -> None:
    events = [(0, 0, VIEW, 0), (1, 0, VIEW, 0), (1, 1, PURCHASE, 1)]
    log = log_of_events(events, n_users=2, n_items=2)
    assert Popularity(behaviors=("purchase",)).fit(log).counts_.tolist() == [0, 1]


def test_a_log_without_the_named_behavior_is_refused() -> None:
    log = log_of_events([(0, 0, VIEW, 0)], n_users=1, n_items=1)
    with pytest.raises(DataError, match="no event to learn from"):
        Popularity(behaviors=("purchase",)).fit(log)


def test_an_unknown_behavior_is_refused_by_name() -> None:
    log = log_of_events([(0, 0, VIEW, 0)], n_users=1, n_items=1)
    with pytest.raises(DataError, match="no behavior 'buy'; it has view, purchase"):
        Popularity(behaviors=("buy",)).fit(log)


def test_an_empty_choice_of_behaviors_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.behaviors is empty"):
        Popularity(behaviors=())


@pytest.mark.parametrize("state", [{}, {"counts": np.ones((2, 2))}], ids=["missing", "not flat"])
def test_a_state_without_flat_counts_is_refused(state: dict[str, np.ndarray]) -> None:
    with pytest.raises(RecordError, match="flat array 'counts'"):
        Popularity().set_state(state)


def test_only_a_recent_window_counts() -> None:
    log = log_of_events([(0, 0, VIEW, 0), (0, 3 * DAY, VIEW, 1), (1, 5 * DAY, VIEW, 1)], n_users=2, n_items=2)
    assert Popularity(window_days=2.0).fit(log).counts_.tolist() == [0, 2]


def test_what_lies_back_counts_less_by_half_lives() -> None:
    log = log_of_events([(0, 0, VIEW, 0), (0, 3 * DAY, VIEW, 1), (1, 5 * DAY, VIEW, 1)], n_users=2, n_items=2)
    assert Popularity(weights=EventWeights(half_life_days=1.0)).fit(log).counts_.tolist() == [1 / 32, 1 + 1 / 4]


def test_behaviors_may_weigh_differently_and_events_be_counted() -> None:
    events = [(0, 0, VIEW, 0), (0, 1, VIEW, 0), (1, 0, VIEW, 0), (1, 1, PURCHASE, 1)]
    log = log_of_events(events, n_users=2, n_items=2)
    rule = EventWeights(behaviors={"view": 1.0, "purchase": 5.0}, repeats="sum")
    assert Popularity(weights=rule).fit(log).counts_.tolist() == [3, 5]


def test_a_window_of_no_time_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.window_days must be above 0, and finite, or null for all, but is 0"
    ):
        Popularity(window_days=0)


def test_own_items_come_first_by_how_often_they_came_then_popular_ones() -> None:
    log = log_of_items([[0, 1], [1, 2], [1, 2], [3]], n_items=5)
    scores = PersonalPopularity(popularity_weight=0.4).fit(log).score(Queries.anonymous([[3, 0, 3]]))
    np.testing.assert_allclose(scores, [[1.1, 0.3, 0.2, 2.1, 0]], rtol=1e-6)


def test_an_empty_history_has_the_order_of_popularity() -> None:
    model = PersonalPopularity().fit(log_of_items([[0, 1], [1, 2], [1]], n_items=4))
    np.testing.assert_allclose(
        model.score(Queries.anonymous([[]])), [[1 / 3000, 1 / 1000, 1 / 3000, 0]], rtol=1e-6
    )


def test_own_events_that_lie_back_count_less() -> None:
    log = log_of_events([(0, 0, VIEW, 0), (0, DAY, VIEW, 0), (0, 3 * DAY, VIEW, 1)], n_users=1, n_items=2)
    rule = EventWeights(half_life_days=1.0, repeats="sum")
    model = PersonalPopularity(popularity_weight=0.0, history_weights=rule).fit(log)
    assert model.score(Queries.at_end(log)).tolist() == [[1 / 8 + 1 / 4, 1]]


def test_a_negative_prior_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.popularity_weight must be 0 or more, and finite, but is -1"):
        PersonalPopularity(popularity_weight=-1)


def test_a_window_of_days_is_refused_in_a_log_without_times() -> None:
    log = replace(log_of_items([[0, 1]], n_items=2), timed=False)
    with pytest.raises(DataError, match="window_days: this log has an order and no times"):
        Popularity(window_days=1.0).fit(log)
