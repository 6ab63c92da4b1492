from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from recdl.training.final_tracking import FinalTracking, ItemVectors
from recdl.training.tracking import NoTracking, TensorBoardTracking

SETTINGS = {"model": "lstm", "seed": 3, "model.learning_rate": 0.01, "model.tied": "True"}
METRICS = {"test/ndcg@10": 0.25, "time/fit_seconds": 1.5}


@pytest.fixture
def events(tmp_path: Path) -> EventAccumulator:
    TensorBoardTracking().finish(tmp_path, settings=SETTINGS, metrics=METRICS, items=None)
    return EventAccumulator(str(tmp_path / "tensorboard")).Reload()


def test_final_metrics_are_scalars(events: EventAccumulator) -> None:
    assert {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]} == METRICS


def test_the_hparams_tab_has_every_setting_and_metric(events: EventAccumulator) -> None:
    content = events.summary_metadata
    start = plugin_data_pb2.HParamsPluginData.FromString(
        content["_hparams_/session_start_info"].plugin_data.content
    ).session_start_info.hparams
    assert start["model"].string_value == "lstm"
    assert start["seed"].number_value == 3
    assert start["model.learning_rate"].number_value == 0.01
    assert start["model.tied"].string_value == "True"
    experiment = plugin_data_pb2.HParamsPluginData.FromString(
        content["_hparams_/experiment"].plugin_data.content
    ).experiment
    assert {info.name.tag for info in experiment.metric_infos} == set(METRICS)
    ended = plugin_data_pb2.HParamsPluginData.FromString(
        content["_hparams_/session_end_info"].plugin_data.content
    ).session_end_info
    assert ended.status == 1  # success


def test_the_projector_has_the_vectors_and_what_the_items_are_called(tmp_path: Path) -> None:
    vectors = np.array([[1.0, 2.0], [3.0, 4.5]], np.float32)
    items = ItemVectors(vectors, ("item", "events"), [["Mug,\n blue\t(7)", "12"], ["8", "3"]])
    TensorBoardTracking().finish(tmp_path, settings=SETTINGS, metrics=METRICS, items=items)
    folder = tmp_path / "tensorboard"
    config = (folder / "projector_config.pbtxt").read_text(encoding="utf-8")
    tensors, metadata = (
        sorted(folder.glob("*/items/tensors.tsv"))[0],
        sorted(folder.glob("*/items/metadata.tsv"))[0],
    )
    assert str(tensors.relative_to(folder)) in config and str(metadata.relative_to(folder)) in config
    assert np.loadtxt(tensors).tolist() == vectors.tolist()
    assert metadata.read_text(encoding="utf-8").splitlines() == ["item\tevents", "Mug, blue (7)\t12", "8\t3"]


def test_only_what_shows_finished_runs_is_told_of_them() -> None:
    assert isinstance(TensorBoardTracking(), FinalTracking)
    assert not isinstance(NoTracking(), FinalTracking)
