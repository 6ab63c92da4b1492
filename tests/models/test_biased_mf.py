"""Biased matrix factorization against its normal equations, and on ratings whose noise is known."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet
from recdl.errors import ConfigError, DataError, RecordError
from recdl.evaluation.evaluate import evaluate
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.models.biased_mf import BiasedMF
from recdl.models.popularity import Popularity
from tests.logs import log_of_events, log_of_items

SIZE, N_USERS, N_ITEMS, NOISE = 3, 60, 40, 0.3
Array = npt.NDArray[np.float64]


def truth(generator: np.random.Generator) -> Array:
    users, items = generator.normal(size=(N_USERS, 2)), generator.normal(size=(N_ITEMS, 2))
    biases = 0.5 * generator.normal(size=(N_USERS, 1)) + 0.5 * generator.normal(size=N_ITEMS)
    ratings: Array = 3.0 + biases + users @ items.T
    return ratings


def rated(share: float = 0.5) -> tuple[Interactions, Array, npt.NDArray[np.bool_]]:
    """A log in which a share of all pairs is rated once, the true ratings, and which pairs those are."""
    generator = np.random.default_rng(0)
    ratings = truth(generator)
    seen = generator.random(ratings.shape) < share
    seen[:, -1] = False  # an item without ratings
    users, items = np.nonzero(seen)
    events = [(int(user), time, 0, int(item)) for time, (user, item) in enumerate(zip(users, items, strict=True))]
    noisy = ratings[users, items] + NOISE * generator.normal(size=len(users))
    return log_of_events(events, n_users=N_USERS, n_items=N_ITEMS, weights=noisy), ratings, seen


LOG, TRUTH, SEEN = rated()


def ratings_of(log: Interactions) -> Array:
    matrix = np.full((log.n_users, log.n_items), np.nan)
    assert log.weights is not None
    matrix[log.users, log.items] = log.weights
    return matrix


def best(ratings: Array, others: Array, model: BiasedMF) -> Array:
    """Each row's minimum of the objective for fixed others, a row and a rating at a time."""
    found = []
    for row in ratings:
        known = np.flatnonzero(~np.isnan(row))
        matrix = model.l2 * len(known) ** model.frequency_exponent * np.eye(others.shape[1])
        vector = np.zeros(others.shape[1])
        for place in known:
            features = np.append(others[place, :-1], 1)
            matrix += np.outer(features, features)
            vector += features * (row[place] - others[place, -1])
        found.append(np.linalg.solve(matrix, vector) if len(known) else vector)
    return np.array(found)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_scores_are_those_of_the_solved_normal_equations(exponent: float) -> None:
    model = BiasedMF(embedding_size=SIZE, n_epochs=3, l2=0.1, frequency_exponent=exponent).fit(LOG)
    ratings = ratings_of(LOG)
    mean = np.nanmean(ratings)
    items = model.items_.astype(np.float64)
    users = best(ratings - mean, items, model)
    expected = mean + users[:, -1:] + items[:, -1] + users[:, :-1] @ items[:, :-1].T
    np.testing.assert_allclose(model.score(Queries.at_end(LOG)), expected, rtol=1e-3, atol=1e-3)


def test_an_epoch_solves_for_the_users_and_then_for_the_items() -> None:
    one, two = (BiasedMF(embedding_size=SIZE, n_epochs=n, l2=0.1).fit(LOG) for n in (1, 2))
    ratings = ratings_of(LOG) - np.nanmean(ratings_of(LOG))
    users = best(ratings, one.items_.astype(np.float64), one)
    np.testing.assert_allclose(two.items_, best(ratings.T, users, one), rtol=1e-3, atol=1e-3)


def test_ratings_that_were_not_seen_are_predicted_nearly_to_their_noise() -> None:
    model = BiasedMF(embedding_size=SIZE).fit(LOG)
    users, items = np.nonzero(~SEEN[:, :-1])
    predicted = model.predict_ratings(Queries.at_end(LOG), users, items.astype(np.int32))
    error = np.sqrt(np.square(predicted - np.clip(TRUTH[users, items], *model.range_)).mean())
    biases = BiasedMF(embedding_size=1, l2=1e4).fit(LOG)
    without = biases.predict_ratings(Queries.at_end(LOG), users, items.astype(np.int32))
    assert error < NOISE
    assert error < 0.3 * np.sqrt(np.square(without - TRUTH[users, items]).mean())


def test_predictions_are_scores_within_the_range_of_train() -> None:
    model = BiasedMF(embedding_size=SIZE).fit(LOG)
    queries = Queries.at_end(LOG)
    rows, items = np.repeat(np.arange(N_USERS), N_ITEMS), np.tile(np.arange(N_ITEMS, dtype=np.int32), N_USERS)
    assert LOG.weights is not None
    expected = np.clip(model.score(queries), LOG.weights.min(), LOG.weights.max())
    predicted = model.predict_ratings(queries, rows, items).reshape(N_USERS, N_ITEMS)
    np.testing.assert_allclose(predicted, expected, rtol=1e-5, atol=1e-5)


def test_of_several_ratings_of_an_item_the_latest_counts() -> None:
    events = [(0, 0, 0, 0), (0, 1, 0, 1), (0, 2, 0, 0), (1, 0, 0, 1)]
    log = log_of_events(events, n_users=2, n_items=2, weights=[1.0, 3.0, 5.0, 4.0])
    again = log_of_events(events[1:], n_users=2, n_items=2, weights=[3.0, 5.0, 4.0])
    one, two = (BiasedMF(embedding_size=2).fit(each) for each in (log, again))
    assert one.mean_[0] == 4.0
    np.testing.assert_array_equal(one.score(Queries.at_end(log)), two.score(Queries.at_end(again)))


def test_who_has_rated_nothing_is_predicted_the_mean_and_the_items_bias() -> None:
    model = BiasedMF(embedding_size=SIZE).fit(LOG)
    expected = model.mean_[0] + model.items_[:, -1]
    np.testing.assert_allclose(
        model.score(Queries.anonymous([[], [3]])), np.stack([expected, expected]), rtol=1e-5
    )
    assert expected[-1] == model.mean_[0]


def test_ratings_that_all_are_the_same_predict_themselves() -> None:
    log = replace(log_of_items([[0, 1], [1, 2]], n_items=3), weights=np.full(4, 4.0, np.float32))
    assert (BiasedMF(embedding_size=2).fit(log).score(Queries.at_end(log)) == 4).all()


def test_a_log_without_ratings_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    BiasedMF(embedding_size=2).fit(log_of_items([[0, 1], [1, 2]], n_items=3))
    assert "warning: the log has no ratings (data.columns.weight)" in capsys.readouterr().err


def test_evaluation_tells_the_error_of_the_targets_that_the_log_holds() -> None:
    log = replace(log_of_items([[0, 1], [1, 2]], n_items=3), weights=np.full(4, 4.0, np.float32))
    given = np.array([2.0, 3.0, 5.0], np.float32)
    asked = QuerySet(
        Queries.at_end(log), np.array([0, 2, 3]), np.array([-1, 2, 0], np.int32), target_weights=given
    )
    protocol = EvaluationProtocol(metrics=("hr",), cutoffs=(1,), n_bootstrap=10)
    settings = {"candidates": np.ones(3, np.bool_), "protocol": protocol}
    metrics = evaluate(BiasedMF(embedding_size=2).fit(log), asked, **settings).metrics
    assert metrics["rmse"] == pytest.approx(1.0)  # 4 for 3 and for 5; the first target is not in the log
    assert metrics["mae"] == pytest.approx(1.0)
    assert metrics["n_ratings"] == 2
    assert "rmse" not in evaluate(Popularity().fit(log), asked, **settings).metrics
    plain = replace(asked, target_weights=None)
    assert "rmse" not in evaluate(BiasedMF(embedding_size=2).fit(log), plain, **settings).metrics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embedding_size": 0}, r"^model\.embedding_size must be at least 1, but is 0"),
        ({"n_epochs": 0}, r"^model\.n_epochs must be at least 1, but is 0"),
        ({"l2": 0.0}, r"^model\.l2 must be above 0, and finite"),
        ({"frequency_exponent": -1.0}, r"^model\.frequency_exponent must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BiasedMF(**settings)  # type: ignore[arg-type]


def test_an_item_outside_the_catalogue_is_refused() -> None:
    model = BiasedMF(embedding_size=2).fit(LOG)
    with pytest.raises(DataError, match="a history holds item 99, but the catalogue has 40 items"):
        model.score(replace(Queries.anonymous([[99]]), weights=np.ones(1, np.float32)))


def test_a_state_of_another_size_is_refused() -> None:
    state = BiasedMF(embedding_size=2).fit(LOG).get_state()
    with pytest.raises(RecordError, match=r"needs an array 'items' of \(-1, 4\)"):
        BiasedMF(embedding_size=3).set_state(state)
