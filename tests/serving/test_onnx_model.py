from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.models.networks.cnn import CNN
from recdl.models.networks.events import OutputSettings
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.matrix_factorization import MatrixFactorization
from recdl.models.networks.neumf import NeuMF
from recdl.models.networks.sasrec import SASRec
from recdl.models.popularity import Popularity
from recdl.models.protocol import Recommender
from recdl.serving import graphs
from recdl.serving import onnx_model as onnx_module
from recdl.serving.graphs import HistoryGraph
from recdl.serving.onnx_model import OnnxModel, onnx_model, padded
from recdl.training.factorization import FactorizationRecommender
from recdl.training.sequence import SequenceRecommender
from recdl.training.settings import TrainerSettings

onnxruntime = pytest.importorskip("onnxruntime")

NETWORKS: dict[str, Any] = {
    "lstm": partial(LSTM, embedding_size=8, hidden_size=12, n_layers=2),
    "gru": partial(GRU, embedding_size=8, hidden_size=12, layer_norm=True),
    "sasrec": partial(SASRec, embedding_size=8, n_layers=2, n_heads=2, feedforward_size=8),
    "lstm with recall": partial(
        LSTM, embedding_size=8, hidden_size=12, output=OutputSettings(recall=True, temperature=0.1)
    ),
    "lstm that copies": partial(LSTM, embedding_size=8, hidden_size=12, output=OutputSettings(copy=64)),
    "cnn": partial(CNN, embedding_size=8, kernel_size=3, dilations=(1, 2)),
}
PAIRS: dict[str, Any] = {
    "neumf": partial(NeuMF, mf_embedding_size=6, mlp_embedding_size=4, mlp_sizes=(6, 3), item_bias=True),
    "mf": partial(MatrixFactorization, embedding_size=8),
}
TRAINER = TrainerSettings(max_epochs=1, accelerator="cpu", progress_bar=False)


def log(*, timed: bool = True) -> Interactions:
    """20 users with three to twelve events of 15 items, the last of which nobody has; user 19 has none."""
    generator = np.random.default_rng(0)
    lengths = np.append(generator.integers(3, 13, 19), 0)
    n = int(lengths.sum())
    return Interactions(
        offsets=np.append(0, np.cumsum(lengths)).astype(np.int64),
        items=generator.integers(0, 14, n).astype(np.int32),
        behaviors=generator.integers(0, 2, n).astype(np.int8),
        timestamps=np.sort(generator.integers(1, 10**13, n)) if timed else np.arange(n),
        n_items=15,
        behavior_names=("view", "buy"),
        timed=timed,
    )


def fitted(name: str, *, timed: bool = True) -> Recommender:
    if name in PAIRS:
        return FactorizationRecommender(PAIRS[name], trainer=TRAINER).fit(log())
    return SequenceRecommender(NETWORKS[name], max_length=6, trainer=TRAINER).fit(log(timed=timed))


def run(model: OnnxModel, **feed: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.content, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {name: feed[name] for name in model.about["inputs"]})
    return np.asarray(scores)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_histories_of_any_number_and_length_get_the_scores_that_the_model_gives_them(
    name: str, timed: bool
) -> None:
    model = fitted(name, timed=timed)
    exported = onnx_model(model)
    events = log(timed=timed)
    for rows in ([0], [3, 7, 19], list(range(20))):
        queries = Queries.at_end(events, np.array(rows, np.int32))
        found = run(exported, **padded(queries))
        np.testing.assert_allclose(found, model.score(queries), atol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "sasrec"])
def test_histories_of_several_groups_keep_their_order_and_only_the_wrong_one_gets_no_score(name: str) -> None:
    model = fitted(name)
    queries = Queries.at_end(log(), np.random.default_rng(3).integers(0, 20, 75).astype(np.int32))
    feed, expected = padded(queries), model.score(queries)
    wrong = int(queries.lengths.argmax())
    feed["items"][wrong, queries.lengths[wrong] - 1] = 15
    expected[wrong] = np.nan
    np.testing.assert_allclose(run(onnx_model(model), **feed), expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted(PAIRS))
@pytest.mark.parametrize("floats", [1, 2000])
def test_users_of_several_groups_keep_their_order(name: str, floats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_FLOATS", floats)
    model = fitted(name)
    users = np.random.default_rng(3).integers(0, 20, 50)
    queries = Queries.at_end(log(), users.astype(np.int32))
    scores = model.score(queries[np.flatnonzero(users < 19)])
    found = run(onnx_model(model), users=users, items=np.arange(15))
    np.testing.assert_allclose(found[users < 19], scores, atol=1e-5)


def test_scores_do_not_depend_on_padding() -> None:
    exported = onnx_model(fitted("lstm"))
    feed = padded(Queries.at_end(log(), np.array([2], np.int32)))
    wider = {
        name: column if name == "lengths" else np.pad(column, ((0, 0), (0, 9)), constant_values=7)
        for name, column in feed.items()
    }
    np.testing.assert_array_equal(run(exported, **wider), run(exported, **feed))


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_users_and_items_by_index_get_the_scores_that_the_model_gives_them(name: str) -> None:
    model = fitted(name)
    users, items = np.array([4, 0, 19, -1]), np.array([3, 14, 0, 3])
    queries = Queries.at_end(log(), np.array([4, 0, 19], np.int32))
    stranger = Queries(
        np.array([-1], np.int32),
        *(np.zeros(1, np.int64),) * 2,
        *(queries[:0].items[:0],) * 1,
        queries.behaviors[:0],
        queries.timestamps[:0],
    )
    expected = np.concatenate([model.score(queries), model.score(stranger)])[:, items]
    np.testing.assert_allclose(run(onnx_model(model), users=users, items=items), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("items", (1, 0), -1),
        ("items", (1, 0), 15),
        ("behaviors", (1, 0), -1),
        ("lengths", 1, -1),
        ("lengths", 1, 99),
    ],
)
def test_a_history_that_holds_what_the_model_has_not_gets_no_score_and_the_others_keep_theirs(
    name: str, place: Any, value: int
) -> None:
    exported = onnx_model(fitted("gru"))
    feed = padded(Queries.at_end(log(), np.array([0, 1, 2], np.int32)))
    feed["lengths"][1] = 2  # so that its first event is seen
    expected = run(exported, **feed)
    feed[name][place] = value
    found = run(exported, **feed)
    assert np.isnan(found[1]).all()
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def test_an_index_of_minus_one_is_not_the_last_item() -> None:
    found = run(onnx_model(fitted("mf")), users=np.array([0, 20]), items=np.array([-1, 14, 15]))
    assert np.isnan(found).tolist() == [[True, False, True], [True, True, True]]


def test_the_manifest_is_told_of_inputs_and_of_the_difference() -> None:
    about = onnx_model(fitted("sasrec")).about
    assert set(about["inputs"]) >= {"items", "behaviors", "lengths"}
    assert 0 <= about["max_difference"] < about["tolerance"] == 1e-4


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^onnx: a Popularity is no network"):
        onnx_model(Popularity().fit(log()))


def test_a_graph_that_scores_otherwise_than_the_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shifted(HistoryGraph):
        def after(self, found: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            return super().after(found, places) + 0.01

    model = fitted("cnn")
    assert isinstance(model, SequenceRecommender)
    graph = Shifted(model.network_, model.output_layer(), model.space_, max_length=6).eval()
    monkeypatch.setattr(onnx_module, "graph_of", lambda _: graph)
    with pytest.raises(RecordError, match=r"^onnx: onnxruntime's scores differ from torch's by up to 0\.01"):
        onnx_model(model)


def test_a_graph_without_a_guard_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("cnn")
    assert isinstance(model, SequenceRecommender)
    graph = HistoryGraph(model.network_, model.output_layer(), model.space_, max_length=6).eval()
    monkeypatch.setattr(torch, "nan", 0.0)
    monkeypatch.setattr(onnx_module, "graph_of", lambda _: graph)
    with pytest.raises(RecordError, match=r"^onnx: the graph answers what it cannot know"):
        onnx_model(model)


def test_a_network_that_torch_cannot_write_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise torch.onnx.OnnxExporterError("no such operator\nand more")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(RecordError, match=r"^onnx: torch cannot write this network as ONNX \(no such operator\)$"):
        onnx_model(fitted("mf"))


def test_a_model_larger_than_a_file_may_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_module, "_MOST_BYTES", 100)
    with pytest.raises(ConfigError, match=r"^onnx: the model has .* bytes, and an ONNX file ends at 2 GiB"):
        onnx_model(fitted("mf"))


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"^onnx: needs the package 'onnxruntime': pip install 'recdl\[onnx\]'$"):
        onnx_model(Popularity())


def test_exporting_leaves_the_model_as_it_was() -> None:
    model = fitted("lstm")
    assert isinstance(model, SequenceRecommender)
    queries = Queries.at_end(log())
    before = model.score(queries)
    assert not model.network_.training
    onnx_model(model)
    np.testing.assert_array_equal(model.score(queries), before)
    assert isinstance(model.network_, nn.Module)
    assert not model.network_.training
