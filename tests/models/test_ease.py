"""EASE against its closed form, and against what that minimises."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models import ease, memory
from recdl.models.ease import EASE
from recdl.models.protocol import RankingTask
from recdl.models.weights import EventWeights
from tests.logs import log_of_items

N_ITEMS = 30


@pytest.fixture(scope="module")
def log() -> Interactions:
    rng = np.random.default_rng(0)
    histories = [rng.choice(N_ITEMS - 1, rng.integers(1, 9), replace=False).tolist() for _ in range(80)]
    return log_of_items(histories, n_items=N_ITEMS)


def dense(log: Interactions) -> npt.NDArray[np.float64]:
    matrix = np.zeros((log.n_users, log.n_items))
    matrix[log.users, log.items] = 1
    return matrix


def closed_form(X: npt.NDArray[np.float64], l2: float) -> npt.NDArray[np.float64]:
    P = np.linalg.inv(X.T @ X + l2 * np.eye(X.shape[1]))
    B = -P / P.diagonal()
    np.fill_diagonal(B, 0)
    return B


@pytest.mark.parametrize("l2", [0.5, 20.0, 1000.0])
def test_the_coefficients_are_those_of_the_closed_form(log: Interactions, l2: float) -> None:
    model = EASE(l2=l2).fit(log)
    X = dense(log)
    np.testing.assert_allclose(model.coefficients_, closed_form(X, l2), atol=1e-5)
    np.testing.assert_allclose(model.score(Queries.at_end(log)), X @ closed_form(X, l2), atol=1e-4)


def test_each_column_is_the_ridge_regression_of_the_item_on_all_others(log: Interactions) -> None:
    X, l2, item = dense(log), 5.0, 3
    others = np.delete(np.arange(N_ITEMS), item)
    A = X[:, others]
    solution = np.linalg.solve(A.T @ A + l2 * np.eye(len(others)), A.T @ X[:, item])
    np.testing.assert_allclose(EASE(l2=l2).fit(log).coefficients_[others, item], solution, atol=1e-5)


def with_transitions(log: Interactions, l2: float, dropout: float, share: float) -> npt.NDArray[np.float64]:
    """The coefficients by the normal equations written out, each column with its multiplier for the diagonal."""
    X = dense(log)
    followed = [pair for user in range(log.n_users) for pair in itertools.pairwise(history(log, user))]
    S, T = (np.eye(log.n_items)[[pair[side] for pair in followed if pair[0] != pair[1]]] for side in (0, 1))
    scale = share * X.sum() / len(S)
    A = (1 - share) * X.T @ X + scale * S.T @ S
    P = np.linalg.inv(A + np.diag(dropout / (1 - dropout) * A.diagonal()) + l2 * np.eye(log.n_items))
    B = P @ ((1 - share) * X.T @ X + scale * S.T @ T)
    return B - P * (B.diagonal() / P.diagonal())


def history(log: Interactions, user: int) -> list[int]:
    return log.items[log.offsets[user] : log.offsets[user + 1]].tolist()


@pytest.mark.parametrize(("dropout", "share"), [(0.0, 0.3), (0.5, 0.9)])
def test_transitions_are_learned_as_by_the_normal_equations(
    log: Interactions, dropout: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease, "_ROWS", 7)
    model = EASE(l2=20.0, dropout=dropout, transition_share=share).fit(log)
    np.testing.assert_allclose(model.coefficients_, with_transitions(log, 20.0, dropout, share), atol=1e-5)


def test_what_follows_is_told_from_what_went_before() -> None:
    model = EASE(l2=1.0, transition_share=0.5).fit(log_of_items([[0, 1], [0, 1], [1, 2]], n_items=3))
    scores = model.score(Queries.anonymous([[1]]))[0]
    assert scores[2] > scores[0]
    assert EASE(l2=1.0).fit(log_of_items([[0, 1], [0, 1], [1, 2]], n_items=3)).coefficients_[1, 0] > 0.4


def test_a_log_in_which_nothing_follows_has_no_transitions() -> None:
    with pytest.raises(DataError, match=r"no item follows another one .*set model\.transition_share=0"):
        EASE(transition_share=0.5).fit(log_of_items([[0], [1]], n_items=2))


def test_transitions_need_the_exact_form() -> None:
    with pytest.raises(ConfigError, match="transition_share needs the exact form"):
        EASE(transition_share=0.5, max_neighbors=3)
    with pytest.raises(ConfigError, match=r"model\.transition_share must be at least 0 and below 1, but is 1"):
        EASE(transition_share=1.0)


def test_two_items_worked_by_hand() -> None:
    model = EASE(l2=1.0).fit(log_of_items([[0, 1], [0]], n_items=2))
    # The item's column on the other's: 1 / (2 + 1) and 1 / (1 + 1).
    np.testing.assert_allclose(model.coefficients_, [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


def test_weights_of_the_log_and_of_the_history_are_heeded(log: Interactions) -> None:
    rule = EventWeights(half_life_events=2.0)
    model = EASE(l2=5.0, train_weights=rule, history_weights=rule).fit(log)
    X = np.zeros((log.n_users, N_ITEMS))
    places = log.offsets[1:].repeat(np.diff(log.offsets)) - 1 - np.arange(log.n_events)
    X[log.users, log.items] = 0.5 ** (places / 2)
    np.testing.assert_allclose(model.score(Queries.at_end(log)), X @ closed_form(X, 5.0), atol=1e-5)


def test_with_dropout_the_coefficients_are_the_best_over_all_ways_to_lose_items() -> None:
    n_items, dropout, l2 = 4, 0.3, 2.0
    rng = np.random.default_rng(0)
    log = log_of_items([rng.choice(n_items, 2, replace=False).tolist() for _ in range(20)], n_items=n_items)
    X = dense(log)
    model = EASE(l2=l2, dropout=dropout).fit(log)
    for item in range(n_items):
        others = np.delete(np.arange(n_items), item)
        A, b = l2 * np.eye(len(others)), np.zeros(len(others))
        for kept in itertools.product([0, 1], repeat=len(others)):
            probability = np.prod(np.where(kept, 1 - dropout, dropout))
            left = X[:, others] * np.array(kept) / (1 - dropout)
            A += probability * left.T @ left
            b += probability * left.T @ X[:, item]
        np.testing.assert_allclose(model.coefficients_[others, item], np.linalg.solve(A, b), atol=1e-5)


@pytest.mark.parametrize("max_neighbors", [None, N_ITEMS])
def test_users_weigh_by_their_activity(max_neighbors: int | None) -> None:
    rng = np.random.default_rng(0)
    histories = [rng.choice(8, rng.integers(3, 8), replace=False).tolist() for _ in range(60)]
    log = log_of_items([*histories, []], n_items=8)
    X = dense(log)
    weights = X.sum(axis=1)[:-1] ** -0.5
    weighted = X[:-1] * np.sqrt(weights / weights.mean())[:, None]
    model = EASE(l2=5.0, activity_exponent=0.5, max_neighbors=max_neighbors).fit(log)
    found = model.coefficients_ if isinstance(model.coefficients_, np.ndarray) else model.coefficients_.toarray()
    np.testing.assert_allclose(found, closed_form(weighted, 5.0), atol=1e-5)
    np.testing.assert_allclose(model.score(Queries.at_end(log)), X @ closed_form(weighted, 5.0), atol=1e-4)


def test_the_approximation_with_all_neighbors_is_exact_where_all_items_share_users() -> None:
    rng = np.random.default_rng(0)
    log = log_of_items([rng.choice(8, 4, replace=False).tolist() for _ in range(60)], n_items=8)
    approximate = EASE(l2=5.0, max_neighbors=8).fit(log)
    X = dense(log)
    assert (X.T @ X > 0).all()
    np.testing.assert_allclose(approximate.coefficients_.toarray(), closed_form(X, 5.0), atol=1e-5)


def test_the_approximation_keeps_at_most_its_neighbors_of_each_candidate(log: Interactions) -> None:
    matrix = EASE(l2=5.0, max_neighbors=4).fit(log).coefficients_
    assert (matrix != 0).sum(axis=0).max() <= 4
    assert matrix.shape == (N_ITEMS, N_ITEMS)


def test_the_approximation_with_one_neighbor_worked_by_hand() -> None:
    model = EASE(l2=1.0, max_neighbors=1).fit(log_of_items([[0, 1], [0, 1], [0, 2]], n_items=3))
    # Item 0 and 2 draw on 1 and 0, 1 on 0: shared users over the other's users + 1.
    np.testing.assert_allclose(
        model.coefficients_.toarray(), [[0, 2 / 4, 1 / 4], [2 / 3, 0, 0], [0, 0, 0]], rtol=1e-6
    )


def test_an_approximation_survives_its_state(log: Interactions) -> None:
    model = EASE(max_neighbors=4).fit(log)
    restored = EASE(max_neighbors=4).set_state(model.get_state())
    queries = Queries.at_end(log)
    np.testing.assert_array_equal(restored.score(queries), model.score(queries))


@pytest.mark.parametrize("max_neighbors", [None, 8])
def test_ease_knows_two_tastes_apart(
    max_neighbors: int | None, two_tastes: tuple[Interactions, RankingTask]
) -> None:
    train, task = two_tastes
    scores = EASE(l2=10.0, max_neighbors=max_neighbors).fit(train).score(task.query_set.queries)
    own = np.arange(16) // 8 == (np.arange(40) % 2)[:, None]
    assert scores[own].min() > scores[~own].max()


def test_what_does_not_fit_into_memory_is_refused_before_it_is_tried(
    log: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 4 * N_ITEMS**2 - 1)
    with pytest.raises(DataError, match=r"EASE over 30 items needs .* GiB of memory, .* set model\.max_neighbors"):
        EASE().fit(log)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # each thread takes some more
    EASE(max_neighbors=5).fit(log)


def test_it_is_tried_where_the_system_does_not_say_what_is_free(
    log: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert np.isfinite(EASE().fit(log).coefficients_).all()


def test_too_little_regularisation_for_equal_items_is_refused() -> None:
    log = log_of_items([[0, 1]] * 50, n_items=2)
    with pytest.raises(DataError, match=r"model\.l2=1e-09 is too small"):
        EASE(l2=1e-9).fit(log)


def test_settings_that_make_no_regression_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.l2 must be above 0, and finite, but is 0"):
        EASE(l2=0)
    with pytest.raises(ConfigError, match=r"model\.dropout must be at least 0 and below 1, but is 1\.0"):
        EASE(dropout=1.0)
    with pytest.raises(ConfigError, match=r"model\.activity_exponent must be 0 or more, and finite, but is -1"):
        EASE(activity_exponent=-1)
    with pytest.raises(ConfigError, match=r"model\.max_neighbors must be at least 1, or null for all, but is 0"):
        EASE(max_neighbors=0)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_a_state_that_is_not_square_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RecordError, match="square array 'coefficients'"):
        EASE().set_state({"coefficients": np.zeros(shape, np.float32), "behavior_weights": np.ones(1)})
