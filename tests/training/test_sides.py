"""Features of users and items in the networks of factorization."""

from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load, save

from recdl.data.features import FeatureColumns
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.sampling import Negatives
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.networks.matrix_factorization import MatrixFactorization
from recdl.models.networks.neumf import NeuMF
from recdl.training.factorization import FactorizationRecommender, Loss
from recdl.training.settings import TrainerSettings
from recdl.training.sides import SideFeatures
from recdl.training.starts import Start
from tests.logs import log_of_items

GROUP = 8
COLD = {GROUP - 1: "a", 2 * GROUP - 1: "b", 2 * GROUP: None}
"""Items without an event, and what is known of them."""

N_ITEMS = 2 * GROUP + 1
GROUPS = ["a" if item < GROUP else "b" if item < 2 * GROUP else None for item in range(N_ITEMS)]
NETWORKS = {
    "neumf": partial(NeuMF, mf_embedding_size=8, mlp_embedding_size=8, mlp_sizes=(8, 4), initial_deviation=0.1),
    "mf": partial(MatrixFactorization, embedding_size=8, initial_deviation=0.1),
}
BRAND = SideFeatures(items=FeatureColumns(categories=("brand",)), own_dropout=0.3)


def _log() -> Interactions:
    """Even users have items of the first group, odd ones of the second, and the last user has none."""
    generator = np.random.default_rng(0)
    rows = [
        (generator.choice(GROUP - 1, 4, replace=False) + GROUP * (user % 2)).tolist() if user < 40 else []
        for user in range(42)
    ]
    vectors = [[1.0, 0.0] if group == "a" else [0.0, 1.0] if group == "b" else None for group in GROUPS]
    prices = [1.0 if group == "a" else 9.0 if group == "b" else None for group in GROUPS]
    items = pa.table({"brand": GROUPS, "text": vectors, "price": prices, "nothing": [None] * N_ITEMS})
    users = pa.table({"city": ["Ulm" if user % 2 else "Bonn" for user in range(42)]})
    return replace(log_of_items(rows, n_items=N_ITEMS), item_table=items, user_table=users)


LOG = _log()


def _model(features: SideFeatures, network: str = "mf", *, epochs: int = 25, **settings: object):
    trainer = TrainerSettings(accelerator="cpu", max_epochs=epochs, progress_bar=False)
    options = {"loss": "full_softmax", "learning_rate": 0.03, "l2": 0.1, "batch_size": 16, **settings}
    return FactorizationRecommender(NETWORKS[network], features=features, trainer=trainer, **options)


def _cold_in_order(model: FactorizationRecommender) -> float:
    """Share of the users who have a cold item of their own group above that of the other."""
    scores = model.score(Queries.at_end(LOG))[:40]
    first, second = scores[:, GROUP - 1], scores[:, 2 * GROUP - 1]
    return float(np.where(np.arange(40) % 2, second > first, first > second).mean())


@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("network", NETWORKS)
def test_items_without_events_are_ranked_by_what_is_known_of_them(network: str, loss: Loss) -> None:
    rows = "softmax" in loss
    settings = {"loss": loss, "negatives": Negatives(n=4)}
    model = _model(BRAND, network, **settings, **({} if rows else {"batch_size": 64})).fit(LOG)
    assert _cold_in_order(model) > 0.9


@pytest.mark.parametrize("columns", [{"numbers": ("price",)}, {"vectors": ("text",)}])
def test_numbers_and_vectors_tell_of_them_too(columns: dict[str, tuple[str, ...]]) -> None:
    assert _cold_in_order(_model(SideFeatures(items=FeatureColumns(**columns))).fit(LOG)) > 0.9


def test_without_features_nothing_tells_items_without_events_apart() -> None:
    assert 0.2 < _cold_in_order(_model(SideFeatures()).fit(LOG)) < 0.8
    nothing = _model(SideFeatures(items=FeatureColumns(categories=("nothing",)))).fit(LOG)
    scores = nothing.score(Queries.at_end(LOG))[:, list(COLD)]
    assert (scores == scores[:, :1]).all()


def test_an_item_of_which_nothing_is_known_has_no_vector() -> None:
    model = _model(BRAND).fit(LOG)
    vectors = model.sides_.table("items", model.network_.item_embedding.weight)
    assert (vectors[2 * GROUP] == 0).all()
    assert (model.network_.item_embedding.weight[list(COLD)] == 0).all()


def test_users_without_events_are_ranked_for_by_what_is_known_of_them() -> None:
    model = _model(SideFeatures(users=FeatureColumns(categories=("city",)), own_dropout=0.3)).fit(LOG)
    bonn, ulm = model.score(Queries.at_end(LOG))[40:, :]
    assert bonn[: GROUP - 1].mean() > bonn[GROUP : 2 * GROUP - 1].mean()
    assert ulm[: GROUP - 1].mean() < ulm[GROUP : 2 * GROUP - 1].mean()


def test_rows_and_whole_tables_learn_the_features_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = []
    still = replace(BRAND, own_dropout=0.0)
    for rows_pay in (0, 1 << 40):
        monkeypatch.setattr("recdl.training.factorization._ROWS_PAY", rows_pay)
        model = _model(still, loss="sampled_softmax", negatives=Negatives(n=200), batch_size=64, epochs=4).fit(LOG)
        logits = model.score(Queries.at_end(LOG)[:40])
        scores.append(logits - logits.mean(1, keepdims=True))  # of a user's bias a softmax has nothing but noise
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-5)


def test_the_state_survives_safetensors_and_needs_no_table() -> None:
    fitted = _model(BRAND, epochs=2).fit(LOG)
    state = load(save({name: np.ascontiguousarray(array) for name, array in fitted.get_state().items()}))
    restored = _model(BRAND).set_state(state)
    queries = Queries.at_end(LOG)
    np.testing.assert_array_equal(restored.score(queries), fitted.score(queries))
    for missing in ("features.items.codes", "encoders.item.weights"):
        with pytest.raises(RecordError, match=missing.removeprefix("encoders.")):
            _model(BRAND).set_state({name: array for name, array in state.items() if name != missing})


def test_the_best_epoch_holds_what_was_learned_of_the_features(two_tastes: object) -> None:
    log, task = two_tastes  # type: ignore[misc]
    log = replace(log, item_table=pa.table({"brand": ["a" if item < GROUP else "b" for item in range(2 * GROUP)]}))
    model = _model(BRAND, epochs=6, learning_rate=0.3).fit(log, task)
    again = model.refit(log)
    queries = Queries.at_end(log)
    np.testing.assert_array_equal(model.score(queries), again.score(queries))


def test_a_network_that_starts_from_one_with_features_starts_with_what_they_add() -> None:
    part = _model(BRAND, epochs=3).fit(LOG)
    model = _model(SideFeatures(), learning_rate=1e-12, l2=0.0, epochs=1).start_from({"part": part}).fit(LOG)
    above = model.score(Queries.at_end(LOG))[:40] - part.score(Queries.at_end(LOG))[:40]
    np.testing.assert_allclose(above, np.repeat(above[:, :1], N_ITEMS, 1), atol=1e-5)
    assert Start().parts == {}


def test_a_log_without_the_table_or_the_column_is_refused() -> None:
    with pytest.raises(DataError, match=r"^model\.features\.items: the log has no table of items"):
        _model(BRAND).fit(replace(LOG, item_table=None))
    with pytest.raises(DataError, match=r"^model\.features\.items: the table of items has no column 'colour'"):
        _model(SideFeatures(items=FeatureColumns(numbers=("colour",)))).fit(LOG)


def test_a_dropout_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.features\.own_dropout must lie in \[0, 1\), not 1"):
        SideFeatures(own_dropout=1.0)
