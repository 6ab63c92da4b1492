import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recdl.errors import RecordError
from recdl.evaluation.records import RunRecord, RunWriter
from recdl.serving.checkpoints import read_model_checkpoint
from recdl.training.checkpoints import write_checkpoint
from tests.evaluation.runs import identity

CURVE = [
    {"epoch": 0, "loss": 2.0, "validation/ndcg@10": 0.2},
    {"epoch": 1, "loss": 1.0, "validation/ndcg@10": 0.3},
]


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A run that kept weights of 5, and has a checkpoint of epoch 0 with weights of 2."""
    writer = RunWriter.start(tmp_path / "run", config={"model": {"k": 1}}, identity=identity("lstm"))
    writer.write_state({"network.weight": np.full((2, 3), 5, np.float32), "sizes": np.array([3, 2, 1])})
    record = writer.finish(fit_seconds=1.0, learning_curve=CURVE)
    keep(record, {"network.weight": torch.full((2, 3), 2.0)}, epoch=0)
    return record


def keep(record: RunRecord, weights: dict[str, Any], **content: Any) -> Path:
    path = record.folder / "checkpoints" / "best-00000.ckpt"
    write_checkpoint(path, {"module": weights, **content})
    return path


def test_weights_are_the_checkpoints_and_the_rest_is_the_runs(record: RunRecord) -> None:
    checkpoint = read_model_checkpoint(record, "best-00000.ckpt")
    np.testing.assert_array_equal(checkpoint.state["network.weight"], np.full((2, 3), 2.0))
    np.testing.assert_array_equal(checkpoint.state["sizes"], [3, 2, 1])
    assert checkpoint.name == "best-00000.ckpt"


def test_metrics_are_those_of_the_epoch_on_validation(record: RunRecord) -> None:
    assert read_model_checkpoint(record, "best-00000.ckpt").metrics == {"validation/ndcg@10": 0.2}


def test_a_checkpoint_that_is_of_no_epochs_end_has_no_metrics(record: RunRecord) -> None:
    path = keep(record, {"network.weight": torch.ones(2, 3)})
    assert read_model_checkpoint(record, str(path)).metrics == {}


def test_of_a_network_whose_average_is_kept_that_is_taken(record: RunRecord) -> None:
    keep(record, {"network.weight": torch.ones(2, 3), "average.network.weight": torch.full((2, 3), 9.0)}, epoch=1)
    state = read_model_checkpoint(record, "best-00000.ckpt").state
    np.testing.assert_array_equal(state["network.weight"], np.full((2, 3), 9.0))


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(record: RunRecord) -> None:
    with pytest.raises(RecordError, match=r"has no checkpoint best-00007\.ckpt; it has best-00000\.ckpt$"):
        read_model_checkpoint(record, "best-00007.ckpt")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"network.weight": torch.ones(2, 4)},
            r"its network\.weight is of shape \(2, 4\), that of .* \(2, 3\)",
        ),
        ({"network.bias": torch.ones(2)}, r"is a checkpoint of another model: it has no network\.weight$"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(record: RunRecord, weights: Any, message: str) -> None:
    keep(record, weights, epoch=0)
    with pytest.raises(RecordError, match=message):
        read_model_checkpoint(record, "best-00000.ckpt")


def test_a_checkpoint_of_a_model_that_has_no_epochs_is_refused(tmp_path: Path) -> None:
    writer = RunWriter.start(tmp_path / "run", config={"model": {"k": 1}}, identity=identity("ease"))
    writer.write_state({"weights": np.zeros((2, 2))})
    other = writer.finish(fit_seconds=1.0)
    keep(other, {"network.weight": torch.ones(2, 3)}, epoch=0)
    with pytest.raises(RecordError, match="the run's model is no network that epochs are kept of"):
        read_model_checkpoint(other, "best-00000.ckpt")


def test_a_damaged_checkpoint_is_refused(record: RunRecord) -> None:
    path = record.folder / "checkpoints" / "best-00000.ckpt"
    content = bytearray(path.read_bytes())
    content[content.index(np.full(6, 2, np.float32).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"best-00000\.ckpt (is damaged|cannot be read)"):
        read_model_checkpoint(record, "best-00000.ckpt")


def test_a_file_that_holds_no_weights_is_refused(record: RunRecord) -> None:
    path = record.folder / "checkpoints" / "odd.ckpt"
    write_checkpoint(path, {"curve": json.dumps(CURVE)})
    with pytest.raises(RecordError, match=r"odd\.ckpt holds no weights of a model$"):
        read_model_checkpoint(record, "odd.ckpt")
