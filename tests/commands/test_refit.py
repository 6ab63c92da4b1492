"""Fitting again on train and validation, once validation has decided."""

import json
from pathlib import Path

import numpy as np
import pytest

from recdl.commands.evaluate import evaluate
from recdl.commands.ingredients import log_of_run, split_of_run
from recdl.commands.train import record_run
from recdl.config import compose
from recdl.errors import DataError
from recdl.evaluation.records import RunRecord
from recdl.models.popularity import Popularity
from tests.scripts.command_line import SHOP


def run(folder: Path, name: str, *overrides: str) -> RunRecord:
    shared = [*SHOP, f"prepared_root={folder / 'prepared'}", "tracking=none", f"run_dir={folder / name}"]
    return record_run(compose("train", [*shared, *overrides]))


def test_a_baseline_is_asked_for_test_after_it_has_learned_validation_too(tmp_path: Path) -> None:
    plain = run(tmp_path, "plain", "model=popularity")
    again = run(tmp_path, "again", "model=popularity", "refit=true")
    split = split_of_run(again, log_of_run(again, prepared=None, progress=False))
    assert split.known is not None
    for record, log in ((plain, split.train), (again, split.known())):
        expected = Popularity().fit(log).get_state()
        for name, array in record.state().items():
            np.testing.assert_array_equal(array, expected[name])
    assert again.metrics["validation/ndcg@10"] == plain.metrics["validation/ndcg@10"]
    assert again.metrics["test/ndcg@10"] != plain.metrics["test/ndcg@10"]


def test_a_network_is_trained_again_for_as_many_epochs_as_validation_found_best(tmp_path: Path) -> None:
    tiny = ("model=lstm", "model.network.embedding_size=8", "model.network.hidden_size=8", "trainer.max_epochs=3")
    plain, again = run(tmp_path, "plain", *tiny), run(tmp_path, "again", *tiny, "refit=true")
    curve = [entry["validation/ndcg@10"] for entry in again.learning_curve]
    assert len(curve) == 3
    assert again.metrics["model/refit_epochs"] == 1 + int(np.argmax(curve))
    assert again.metrics["validation/ndcg@10"] == plain.metrics["validation/ndcg@10"]
    assert any((again.state()[name] != array).any() for name, array in plain.state().items())


def test_a_refitted_run_is_evaluated_again_on_test_alone(tmp_path: Path) -> None:
    again = run(tmp_path, "again", "model=popularity", "refit=true")
    evaluate(
        compose("evaluate", [f"run={again.folder}", f"run_dir={tmp_path / 'other'}", "evaluation.cutoffs=[10]"])
    )
    metrics = json.loads((tmp_path / "other" / "metrics.json").read_text())
    assert metrics["test/ndcg@10"] == again.metrics["test/ndcg@10"]
    assert not [name for name in metrics if name.startswith("validation/")]


def test_validation_from_a_file_of_questions_cannot_be_learned_from(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a x y z\nb y z x\nc z x\n")
    for name in ("validation", "test"):
        (tmp_path / f"{name}.tsv").write_text("user_id\titem_id\nc\ty\n")
    files = [f"data.path={tmp_path / 'train.txt'}", f"split.test={tmp_path / 'test.tsv'}"]
    given = [
        "data=ordered",
        "split=given",
        "data.form=lines",
        *files,
        f"split.validation={tmp_path}/validation.tsv",
    ]
    shared = [f"run_dir={tmp_path / 'run'}", f"prepared_root={tmp_path / 'prepared'}", "model=popularity"]
    with pytest.raises(DataError, match=r"refit: the events of validation are not in the log.*refit=false"):
        record_run(compose("train", [*given, *shared, "refit=true", "progress=false"]))
    assert not (tmp_path / "run").exists()
