from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recdl.commands.tracking import final_metrics, hyperparameters
from recdl.commands.train import record_run
from recdl.config import compose
from recdl.models.als import ALS
from recdl.models.protocol import ItemEmbedded
from tests.evaluation.runs import write_run
from tests.scripts.command_line import SHOP


def test_settings_are_flat_and_truths_are_words(tmp_path: Path) -> None:
    record = write_run(
        tmp_path / "run",
        "lstm",
        settings={"_target_": "recdl.x", "k": 3, "deep": {"on": True, "of": None, "l": [1]}},
    )
    assert hyperparameters(record) == {
        "model": "lstm",
        "seed": 0,
        "model.k": 3,
        "model.deep.on": "True",
        "model.deep.of": "None",
        "model.deep.l": "[1]",
    }


def test_final_metrics_are_those_at_the_longest_cutoff_where_none_is_monitored(tmp_path: Path) -> None:
    columns = {"ndcg@5": [0.5, 0.5], "ndcg@10": [1.0, 0.5]}
    assert final_metrics(write_run(tmp_path / "run", columns=columns)) == {
        "validation/ndcg@10": 0.5,
        "test/ndcg@10": 0.75,
        "time/fit_seconds": 1.0,
        "model/n_parameters": 6.0,
        "model/state_bytes": 25.0,
    }


def test_a_run_shows_its_items_in_the_projector_and_its_row_in_hparams(tmp_path: Path) -> None:
    config = compose("train", [*SHOP, "model=als", "model.n_epochs=1", "tracking.projector_items=7"])
    folders = {"run_dir": str(tmp_path / "run"), "prepared_root": str(tmp_path / "prepared")}
    record = record_run({**config, **folders})
    events = EventAccumulator(str(record.folder / "tensorboard")).Reload()
    assert events.Scalars("test/ndcg@10")[0].value == np.float32(record.metrics["test/ndcg@10"])
    assert "_hparams_/session_start_info" in events.summary_metadata
    (metadata,) = record.folder.glob("tensorboard/*/items/metadata.tsv")
    assert len(metadata.read_text(encoding="utf-8").splitlines()) == 1 + 7


def test_models_with_a_vector_an_item_say_so() -> None:
    assert isinstance(ALS(embedding_size=4), ItemEmbedded)
