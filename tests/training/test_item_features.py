"""Features of items in networks of sequences."""

from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from safetensors.numpy import load, save

from recdl.data.features import FeatureColumns
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.networks.cnn import CNN
from recdl.models.networks.events import EventInputs, OutputSettings
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.sasrec import SASRec
from recdl.models.protocol import RankingTask
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import SequenceLoss
from recdl.training.settings import TrainerSettings
from recdl.training.sides import ItemFeatures
from tests.logs import log_of_items

Kind = Literal["full", "sampled", "gbce", "bpr_max", "top1_max"]
NAMES = ("a", "b", "c", "d")
N_ITEMS, N_COLD = 84, 8
COLD = np.arange(N_ITEMS - N_COLD, N_ITEMS)
"""Items without an event in train."""

CODES = np.arange(N_ITEMS) % len(NAMES)
BRAND = ItemFeatures(items=FeatureColumns(categories=("brand",)), own_dropout=0.3)
UNTOLD = ItemFeatures()


def _after(item: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Of which brand is what follows an item: nothing else tells of it."""
    return (CODES[item] + 1) % len(NAMES)


def _log() -> Interactions:
    generator = np.random.default_rng(0)
    walks = []
    for _ in range(150):
        walk = [int(generator.integers(COLD[0]))]
        while len(walk) < 8:
            walk.append(int(generator.integers(COLD[0] // len(NAMES))) * len(NAMES) + int(_after(walk[-1])))
        walks.append(walk)
    signs = np.eye(len(NAMES))
    table = {
        "brand": [NAMES[code] for code in CODES],
        "width": np.cos(CODES * np.pi / 2).tolist(),
        "height": np.sin(CODES * np.pi / 2).tolist(),
        "text": signs[CODES].tolist(),
        "nothing": [None] * N_ITEMS,
    }
    return replace(log_of_items(walks, n_items=N_ITEMS), item_table=pa.table(table))


LOG = _log()


def _model(
    features: ItemFeatures = BRAND,
    network: Any = LSTM,
    *,
    kind: Kind = "full",
    epochs: int = 12,
    tied: bool = True,
    **settings: Any,
) -> SequenceRecommender:
    output = OutputSettings(residual=False, tied=tied)
    inputs = EventInputs(behaviors=False, gaps=False, positions=8)
    make = partial(
        network, embedding_size=16, embedding_dropout=0.0, hidden_dropout=0.0, inputs=inputs, output=output
    )
    return SequenceRecommender(
        make,
        loss=SequenceLoss(kind=kind, n_negatives=30),
        learning_rate=0.02,
        batch_size=32,
        features=features,
        trainer=TrainerSettings(accelerator="cpu", max_epochs=epochs, progress_bar=False),
        **settings,
    )


def _right_brand(model: SequenceRecommender, items: npt.NDArray[np.int64], asked: npt.NDArray[np.int64]) -> float:
    """After how many of the `items` the first of the `asked` items is of the brand that follows."""
    scores = model.score(Queries.anonymous([[item] for item in items.tolist()]))
    return float((CODES[asked[scores[:, asked].argmax(1)]] == _after(items)).mean())


@pytest.mark.parametrize("network", [LSTM, GRU, CNN, SASRec])
def test_where_only_the_category_tells_what_follows_new_items_are_read_and_found_by_it(network: Any) -> None:
    model = _model(network=network).fit(LOG)
    assert _right_brand(model, COLD, np.arange(COLD[0])) == 1.0
    assert _right_brand(model, np.arange(COLD[0]), COLD) > 0.95


def test_without_features_they_are_not() -> None:
    model = _model(UNTOLD).fit(LOG)
    assert _right_brand(model, COLD, np.arange(COLD[0])) < 0.6
    assert _right_brand(model, np.arange(COLD[0]), COLD) < 0.6


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_features_are_learned_with_every_loss_and_with_output_weights_of_their_own(kind: Kind, tied: bool) -> None:
    epochs = 90 if kind == "gbce" else 20  # stands still at first
    model = _model(kind=kind, tied=tied, epochs=epochs).fit(LOG)
    assert _right_brand(model, np.arange(COLD[0]), COLD) > 0.9


@pytest.mark.parametrize("columns", [{"numbers": ("width", "height")}, {"vectors": ("text",)}])
def test_numbers_and_vectors_tell_of_items_too(columns: dict[str, tuple[str, ...]]) -> None:
    model = _model(ItemFeatures(items=FeatureColumns(**columns)), epochs=20).fit(LOG)
    untold = _right_brand(_model(UNTOLD).fit(LOG), np.arange(COLD[0]), COLD)
    assert _right_brand(model, np.arange(COLD[0]), COLD) > max(0.7, untold + 0.2)


def test_an_item_of_which_nothing_is_known_has_no_vector_and_the_bias_of_the_mean_item() -> None:
    model = _model(ItemFeatures(items=FeatureColumns(categories=("nothing",)))).fit(LOG)
    scores = model.score(Queries.at_end(LOG))[:, COLD]
    bias = model.network_.output_layer()[1].detach().numpy()
    np.testing.assert_allclose(scores, bias[: COLD[0]].mean(), atol=1e-5)
    assert (bias[COLD] == 0).all() and not np.allclose(bias[: COLD[0]], 0)


@pytest.mark.parametrize("network", [LSTM, SASRec])
def test_a_visit_that_goes_on_has_the_scores_of_its_history_from_scratch(network: Any) -> None:
    model = _model(network=network, epochs=2, max_length=4).fit(LOG)
    histories = [[int(COLD[0]), 3, 5], [7], [1, 2, 3, 4, int(COLD[1]), 6]]
    state = model.begin(Queries.anonymous([history[:1] for history in histories]))
    for n in range(1, 6):
        state = model.advance(state, Queries.anonymous([history[n : n + 1] for history in histories]))
    expected = model.score(Queries.anonymous(histories))
    np.testing.assert_allclose(model.score_state(state), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_the_state_survives_safetensors_and_needs_no_table(tied: bool) -> None:
    fitted = _model(epochs=2, tied=tied).fit(LOG)
    state = load(save({name: np.ascontiguousarray(array) for name, array in fitted.get_state().items()}))
    queries = Queries.at_end(LOG)
    np.testing.assert_array_equal(_model(tied=tied).set_state(state).score(queries), fitted.score(queries))
    for missing in ("features.items.codes", "network.embedding.features.weights", "trained_items"):
        with pytest.raises(RecordError, match=missing.removeprefix("network.")):
            _model(tied=tied).set_state({name: array for name, array in state.items() if name != missing})
    with pytest.raises(RecordError, match=r"^the stored model has features of other items"):
        _model(tied=tied).set_state({**state, "sizes": np.array([N_ITEMS - 1, 1, 1])})


def test_a_model_that_reads_no_features_keeps_none_and_refuses_a_state_with_some() -> None:
    assert not any("features" in name for name in _model(UNTOLD, epochs=1).fit(LOG).get_state())
    with pytest.raises(RecordError, match=r"do not fit the model's settings(.|\n)*embedding\.features"):
        _model(UNTOLD).set_state(_model(epochs=1).fit(LOG).get_state())


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_the_best_epoch_holds_what_was_learned_of_the_features(
    two_tastes: tuple[Interactions, RankingTask], averaging: float
) -> None:
    log, task = two_tastes
    log = replace(log, item_table=pa.table({"brand": ["a" if item < 8 else "b" for item in range(16)]}))
    model = _model(epochs=4, averaging=averaging).fit(log, task)
    best = int(np.argmax([entry["validation/ndcg@10"] for entry in model.learning_curve_])) + 1
    again = _model(epochs=best, averaging=averaging).fit(log)
    np.testing.assert_array_equal(model.score(Queries.at_end(log)), again.score(Queries.at_end(log)))


def test_a_log_without_the_table_or_the_column_is_refused() -> None:
    with pytest.raises(DataError, match=r"^model\.features\.items: the log has no table of items"):
        _model().fit(replace(LOG, item_table=None))
    with pytest.raises(DataError, match=r"^model\.features\.items: the table of items has no column 'colour'"):
        _model(ItemFeatures(items=FeatureColumns(vectors=("colour",)))).fit(LOG)


def test_a_dropout_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.features\.own_dropout must lie in \[0, 1\), not 1"):
        ItemFeatures(own_dropout=1.0)
