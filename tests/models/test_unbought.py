import numpy as np
import pytest

from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.unbought import Unbought
from recdl.models.weights import EventWeights
from tests.logs import log_of_events

VIEW, CART, PURCHASE = 0, 1, 2
NAMES = ("view", "cart", "purchase")


def fitted(events: list[tuple[int, int, int, int]], **settings: object) -> tuple[Unbought, np.ndarray]:
    log = log_of_events(events, n_users=1, n_items=4, behavior_names=NAMES)
    model = Unbought(popularity_weight=0.0, **settings).fit(log)  # type: ignore[arg-type]
    return model, model.score(Queries.at_end(log))


def test_what_was_bought_counts_no_more_even_if_looked_at_again() -> None:
    events = [(0, 0, VIEW, 0), (0, 1, PURCHASE, 0), (0, 2, VIEW, 1), (0, 3, VIEW, 0)]
    _, scores = fitted(events, history_weights=EventWeights(repeats="sum"))
    assert scores.tolist() == [[0, 1, 0, 0]]


def test_what_came_last_and_was_carted_counts_most() -> None:
    events = [(0, 0, CART, 0), (0, 1, VIEW, 1), (0, 2, CART, 2)]
    rule = EventWeights(behaviors={"view": 1.0, "cart": 3.0}, half_life_events=1.0, repeats="sum")
    _, scores = fitted(events, history_weights=rule)
    assert scores.tolist() == [[3 / 4, 1 / 2, 3, 0]]


def test_behaviors_may_be_named_that_make_an_item_bought() -> None:
    events = [(0, 0, CART, 0), (0, 1, PURCHASE, 1)]
    rule = EventWeights(repeats="sum")
    _, scores = fitted(events, purchases=("cart",), history_weights=rule)
    assert scores.tolist() == [[0, 1, 0, 0]]


def test_the_rest_is_scored_by_popularity_and_so_is_what_was_bought() -> None:
    events = [(0, 0, PURCHASE, 0), (0, 1, VIEW, 1), (1, 0, VIEW, 0), (1, 1, VIEW, 2)]
    log = log_of_events(events, n_users=2, n_items=3, behavior_names=NAMES)
    scores = Unbought(popularity_weight=0.5).fit(log).score(Queries.at_end(log))
    np.testing.assert_allclose(scores[0], [0.5, 1.25, 0.25], rtol=1e-6)


def test_an_unknown_behavior_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="no behavior 'buy'; it has view, cart, purchase"):
        fitted([(0, 0, VIEW, 0)], purchases=("buy",))


def test_an_empty_choice_of_purchases_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.purchases is empty"):
        Unbought(purchases=())


def test_a_negative_prior_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.popularity_weight must be 0 or more, and finite, but is -1"):
        Unbought(popularity_weight=-1)


def test_a_state_without_what_makes_bought_is_refused() -> None:
    model, _ = fitted([(0, 0, VIEW, 0)])
    state = {name: array for name, array in model.get_state().items() if name != "buys"}
    with pytest.raises(RecordError, match="'buys'"):
        Unbought().set_state(state)
