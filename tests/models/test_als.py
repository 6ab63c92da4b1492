"""ALS against its normal equations on dense arrays, and against implicit."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import csr_matrix

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.models.als import ALS
from recdl.models.protocol import RankingTask
from recdl.models.weights import EventWeights
from tests.logs import log_of_items

SIZE, N_ITEMS = 6, 20
SUMMED = EventWeights(repeats="sum")
Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def log() -> Interactions:
    rng = np.random.default_rng(0)
    return log_of_items(
        [rng.integers(0, N_ITEMS - 1, rng.integers(1, 12)).tolist() for _ in range(40)], n_items=20
    )


def weights(log: Interactions) -> Array:
    matrix = np.zeros((log.n_users, log.n_items))
    np.add.at(matrix, (log.users, log.items), 1)
    return matrix


def best(W: Array, V: Array, model: ALS) -> Array:
    """Each row's minimum of the objective for fixed V, from the definition."""
    a0, rows = model.unobserved_weight, []
    for w in W:
        r = model.l2 * (w.sum() + a0 * len(V)) ** model.frequency_exponent
        matrix = V.T @ np.diag(w + a0) @ V + r * np.eye(V.shape[1])
        rows.append(np.linalg.solve(matrix, V.T @ w))
    return np.array(rows)


def objective(W: Array, U: Array, V: Array, model: ALS) -> float:
    a0, scores = model.unobserved_weight, U @ V.T
    r_u = (W.sum(1) + a0 * W.shape[1]) ** model.frequency_exponent
    r_i = (W.sum(0) + a0 * W.shape[0]) ** model.frequency_exponent
    penalty = r_u @ (U**2).sum(1) + r_i @ (V**2).sum(1)
    return float((W * (1 - scores) ** 2).sum() + a0 * (scores**2).sum() + model.l2 * penalty)


def items_of(model: ALS) -> Array:
    return model.items_.astype(np.float64)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_scores_are_those_of_the_solved_normal_equations(log: Interactions, exponent: float) -> None:
    model = ALS(embedding_size=SIZE, frequency_exponent=exponent, weights=SUMMED, l2=0.05).fit(log)
    V = items_of(model)
    expected = best(weights(log), V, model) @ V.T
    np.testing.assert_allclose(model.score(Queries.at_end(log)), expected, atol=1e-4)


def test_an_epoch_of_many_steps_is_one_of_exact_least_squares(log: Interactions) -> None:
    W = weights(log)
    model = ALS(embedding_size=SIZE, n_epochs=60, weights=SUMMED, l2=0.05).fit(log)
    U = best(W, items_of(model), model)
    # Where alternating has come to rest, the best items for the best users are the items themselves.
    np.testing.assert_allclose(best(W.T, U, model), items_of(model), atol=2e-2)


def test_more_epochs_lower_the_objective(log: Interactions) -> None:
    W, values = weights(log), []
    for n_epochs in (1, 2, 4, 16):
        model = ALS(embedding_size=SIZE, n_epochs=n_epochs, weights=SUMMED, l2=0.05).fit(log)
        values.append(objective(W, best(W, items_of(model), model), items_of(model), model))
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.8 * objective(W, np.zeros((40, 1)), np.zeros((20, 1)), model)


def test_an_embedding_of_one_number_worked_by_hand() -> None:
    model = ALS(embedding_size=1, l2=0.5, unobserved_weight=1.0).fit(log_of_items([[0, 1]], n_items=2))
    model.items_ = np.array([[1.0], [2.0]], np.float32)
    # x = (1 + 2) / (1 + 4 + 1 (1 + 4) + 0.5 (2 + 2)) = 1 / 4
    np.testing.assert_allclose(model.score(Queries.anonymous([[0, 1]])), [[0.25, 0.5]], rtol=1e-6)


def test_an_empty_history_scores_0_and_an_item_without_events_too(log: Interactions) -> None:
    scores = ALS(embedding_size=SIZE).fit(log).score(Queries.anonymous([[], [0, 1], [N_ITEMS - 1]]))
    assert (scores[0] == 0).all()
    assert (scores[:, N_ITEMS - 1] == 0).all()
    assert (scores[2] == 0).all()


def test_als_knows_two_tastes_apart(two_tastes: tuple[Interactions, RankingTask]) -> None:
    train, task = two_tastes
    scores = ALS(embedding_size=2, l2=0.01).fit(train).score(task.query_set.queries)
    own = np.arange(16) // 8 == (np.arange(40) % 2)[:, None]
    assert scores[own].min() > scores[~own].max()


def test_results_do_not_depend_on_the_number_of_threads(
    log: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = ALS(embedding_size=SIZE).fit(log).items_
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    np.testing.assert_array_equal(ALS(embedding_size=SIZE).fit(log).items_, alone)


def test_another_seed_starts_elsewhere(log: Interactions) -> None:
    one, other = (ALS(embedding_size=SIZE, n_epochs=1, seed=seed).fit(log).items_ for seed in (0, 1))
    assert (one != other).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embedding_size": 0}, r"model\.embedding_size must be at least 1, but is 0"),
        ({"n_epochs": 0}, r"model\.n_epochs must be at least 1, but is 0"),
        ({"l2": 0.0}, r"model\.l2 must be above 0, and finite, but is 0"),
        ({"unobserved_weight": -1.0}, r"model\.unobserved_weight must be above 0, and finite, but is -1"),
        ({"frequency_exponent": -1.0}, r"model\.frequency_exponent must be 0 or more, but is -1"),
    ],
)
def test_settings_that_make_no_objective_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ALS(**settings)


def test_a_state_of_another_embedding_size_is_refused() -> None:
    with pytest.raises(RecordError, match=r"array 'items' of \(n_items, 64\)"):
        ALS().set_state({"items": np.zeros((3, 8), np.float32), "behavior_weights": np.ones(1)})


@pytest.mark.filterwarnings("ignore")
def test_the_users_of_given_items_are_those_of_implicit(log: Interactions) -> None:
    peer = pytest.importorskip("implicit.als", reason="implicit is not installed")
    a0, l2 = 0.25, 0.1
    model = ALS(embedding_size=SIZE, unobserved_weight=a0, l2=l2, frequency_exponent=0.0).fit(log)
    # Our equations over a0 are theirs of confidence 1 + 1 / a0, but for the right-hand side: 1 / a0 against that.
    other = peer.AlternatingLeastSquares(factors=SIZE, regularization=l2 / a0, use_cg=False, use_gpu=False)
    matrix = csr_matrix((weights(log) > 0) * np.float32(1 + 1 / a0)).astype(np.float32)
    other.item_factors = model.items_.copy()
    theirs = other.recalculate_user(np.arange(40), matrix) @ model.items_.T
    np.testing.assert_allclose(model.score(Queries.at_end(log)), theirs / (1 + a0), rtol=1e-3, atol=1e-5)
