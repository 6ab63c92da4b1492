"""P3alpha and RP3beta against a brute-force twin on dense arrays."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError
from recdl.models.walks import RP3Beta
from tests.logs import log_of_items

N_ITEMS = 6
HISTORIES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=6), min_size=1, max_size=8).filter(any)


def walks(histories: list[list[int]], alpha: float, beta: float) -> npt.NDArray[np.float64]:
    """From each item to each item, by the definition."""
    R = np.zeros((len(histories), N_ITEMS))
    for row, items in enumerate(histories):
        R[row, items] = 1
    users, popularity = R.sum(1), R.sum(0)
    W = np.zeros((N_ITEMS, N_ITEMS))
    for i in range(N_ITEMS):
        for j in range(N_ITEMS):
            both = np.flatnonzero(R[:, i] * R[:, j])
            if i != j and len(both):
                W[i, j] = sum((1 / popularity[i]) ** alpha * (1 / users[u]) ** alpha for u in both)
                W[i, j] /= popularity[j] ** beta
    return W


@given(HISTORIES, st.sampled_from([0.6, 1.0, 1.5]), st.sampled_from([0.0, 0.5]))
def test_transitions_equal_a_brute_force_twin(histories: list[list[int]], alpha: float, beta: float) -> None:
    expected = walks(histories, alpha, beta)
    log = log_of_items(histories, n_items=N_ITEMS)
    for neighbors_of in ("history", "candidate"):
        model = RP3Beta(k=N_ITEMS, alpha=alpha, beta=beta, neighbors_of=neighbors_of).fit(log)  # type: ignore[arg-type]
        np.testing.assert_allclose(model.transitions_.toarray(), expected, rtol=1e-5)


def test_a_walk_worked_by_hand() -> None:
    model = RP3Beta(beta=0.0).fit(log_of_items([[0, 1], [0, 1, 2, 3]], n_items=4))
    # From item 0 to either user with 1/2, from there to item 1 with 1/2 or 1/4.
    np.testing.assert_allclose(model.score(Queries.anonymous([[0]])), [[0, 3 / 8, 1 / 8, 1 / 8]], rtol=1e-6)


def test_popular_items_are_held_back_by_beta() -> None:
    model = RP3Beta(beta=1.0).fit(log_of_items([[0, 1], [0, 1, 2, 3]], n_items=4))
    np.testing.assert_allclose(model.score(Queries.anonymous([[0]])), [[0, 3 / 16, 1 / 8, 1 / 8]], rtol=1e-6)


def test_normalized_transitions_sum_to_1_over_what_is_kept() -> None:
    log = log_of_items([[0, 1], [0, 1, 2, 3], [4]], n_items=5)
    sums = RP3Beta(k=2, normalize=True).fit(log).transitions_.sum(axis=1)
    np.testing.assert_allclose(sums, [1, 1, 1, 1, 0], rtol=1e-6)


@pytest.mark.parametrize(("neighbors_of", "axis"), [("history", 1), ("candidate", 0)])
def test_at_most_k_are_kept_of_each_item(neighbors_of: str, axis: int) -> None:
    log = log_of_items([list(range(N_ITEMS))] * 2, n_items=N_ITEMS)
    model = RP3Beta(k=2, neighbors_of=neighbors_of).fit(log)  # type: ignore[arg-type]
    assert (model.transitions_.toarray() > 0).sum(axis=axis).tolist() == [2] * N_ITEMS


def test_an_empty_history_scores_0_and_an_item_without_events_too() -> None:
    model = RP3Beta().fit(log_of_items([[0, 1]], n_items=3))
    assert model.score(Queries.anonymous([[], [2], [0]])).tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [0, pytest.approx(0.5 / 1), 0],
    ]


def test_a_history_item_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(DataError, match="item index 5, but the model was fitted on 2 items"):
        RP3Beta().fit(log_of_items([[0, 1]], n_items=2)).score(Queries.anonymous([[5]]))


def test_settings_that_make_no_walk_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.k must be at least 1, but is 0"):
        RP3Beta(k=0)
    with pytest.raises(ConfigError, match=r"model\.alpha must be 0 or more, and finite, but is -1"):
        RP3Beta(alpha=-1)
    with pytest.raises(ConfigError, match=r"model\.beta must be 0 or more, and finite, but is inf"):
        RP3Beta(beta=float("inf"))
