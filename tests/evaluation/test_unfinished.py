"""Runs that were cut off, and which of them may be gone on with."""

from pathlib import Path

import pytest

from recdl.errors import ConfigError
from recdl.evaluation.records import RunWriter
from recdl.evaluation.unfinished import UnfinishedRun
from tests.evaluation.runs import identity


def test_a_run_that_trains_can_be_gone_on_with_and_one_that_only_evaluates_cannot(tmp_path: Path) -> None:
    for name, trains in (("training", True), ("evaluation", False)):
        RunWriter.start(tmp_path / name, config={"model": {"k": 10}}, identity=identity("item_knn"), trains=trains)
    assert UnfinishedRun.open(tmp_path / "training").config == {"model": {"k": 10}}
    with pytest.raises(ConfigError, match="is a run that trains nothing; start it again"):
        UnfinishedRun.open(tmp_path / "evaluation")
