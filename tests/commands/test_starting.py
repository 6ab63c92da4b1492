"""Runs that start from finished runs."""

from pathlib import Path

import numpy as np
import pytest

from recdl.commands.train import record_run
from recdl.config import compose
from recdl.errors import ConfigError, DataError, RecordError
from recdl.evaluation.records import RunRecord
from tests.scripts.command_line import SHOP

TINY = ("model.network.mf_embedding_size=8", "model.network.mlp_embedding_size=8", "model.network.mlp_sizes=[8,4]")


def run(folder: Path, name: str, *overrides: str) -> RunRecord:
    shared = [*SHOP, f"prepared_root={folder / 'prepared'}", "tracking=none", f"run_dir={folder / name}"]
    return record_run(compose("train", [*shared, "trainer.max_epochs=2", *overrides]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("starts")
    run(folder, "als", "model=als", "model.embedding_size=8")
    run(folder, "other_split", "model=als", "model.embedding_size=8", "split=leave_last_out")
    run(folder, "refitted", "model=als", "model.embedding_size=8", "refit=true")
    return folder


def test_a_run_that_starts_from_another_is_one_that_fits_it_itself(folder: Path) -> None:
    neumf = ("model=neumf", *TINY)
    fitting = ("+model@model.start.parts.als=als", "model.start.parts.als.embedding_size=8")
    given = run(folder, "given", *neumf, f"start_from=[{folder / 'als'}]")
    itself = run(folder, "itself", *neumf, *fitting)
    chance = run(folder, "chance", *neumf)
    for name, array in given.state().items():
        np.testing.assert_array_equal(array, itself.state()[name])
    assert any((array != chance.state()[name]).any() for name, array in given.state().items())
    assert given.learning_curve[0]["validation/ndcg@10"] > chance.learning_curve[0]["validation/ndcg@10"]


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["start_from=[{}/none]"], RecordError, r"there is no run at .*none"),
        (["start_from=[{}/als,{}/als]"], ConfigError, r"^start_from: names a run twice"),
        (
            ["start_from=[{}/als]", "model=lstm"],
            ConfigError,
            r"^start_from: a SequenceRecommender starts from nothing",
        ),
        (
            ["start_from=[{}/other_split]"],
            DataError,
            r"^start_from: .* is of another split .* name a run of the same",
        ),
        (
            ["start_from=[{}/als]", "data.seed=1"],
            DataError,
            r"^start_from: .* is of another log .* name a run of the",
        ),
        (["start_from=[{}/refitted]"], DataError, r"^start_from: .* has learned the answers of validation"),
        (
            ["start_from=[{}/als]", "model.network.mf_embedding_size=4"],
            ConfigError,
            r"cannot start from start_from=.*als: mf_embedding_size is 4, but the product to start from has 8",
        ),
    ],
)
def test_a_run_that_cannot_be_started_from_is_refused(
    folder: Path, overrides: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(folder, "refused", "model=neumf", *(override.format(folder, folder) for override in overrides))
    assert not (folder / "refused").exists()
