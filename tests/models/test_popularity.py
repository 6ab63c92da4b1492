import numpy as np
import pytest

from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.popularity import Popularity
from tests.logs import log_of_events, log_of_items

VIEW, PURCHASE = 0, 1


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
