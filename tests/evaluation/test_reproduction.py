from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recdl.errors import RecordError
from recdl.evaluation.records import RunRecord, RunWriter
from recdl.evaluation.reproduction import check_reproduced, compare_repetition
from tests.evaluation.runs import identity


def record(folder: Path, *, weights: Any = (1.0, 2.0), loss: float = 0.5, **metrics: float) -> RunRecord:
    writer = RunWriter.start(folder, config={"model": {"k": 1}}, identity=identity())
    writer.write_state({"weights": np.array(weights)})
    curve = [{"epoch": 0, "loss": 0.7, "seconds": 1.0}, {"epoch": 1, "loss": loss, "seconds": np.pi}]
    return writer.finish(fit_seconds=float(loss), learning_curve=curve, metrics={"test/ndcg@10": 0.25, **metrics})


def test_a_run_is_its_own_repetition_but_for_times(tmp_path: Path) -> None:
    found = compare_repetition(record(tmp_path / "a"), record(tmp_path / "b"))
    assert found.exact
    assert found.lines()[0] == "metrics: 3 of 3 the same, bit for bit"
    assert "run with the same versions, hardware and code as then" in found.lines()


def test_metrics_weights_and_the_epoch_from_which_they_differ_are_named(tmp_path: Path) -> None:
    found = compare_repetition(
        record(tmp_path / "a"), record(tmp_path / "b", weights=(1.0, 2.5), loss=0.4, **{"test/ndcg@10": 0.35})
    )
    assert [(one.name, one.then, one.now) for one in found.metrics] == [("test/ndcg@10", 0.25, 0.35)]
    assert found.arrays == {"weights": 0.5}
    assert found.first_epoch == 1
    assert not found.exact
    assert "  test/ndcg@10: 0.25 then, 0.35 now" in found.lines()
    assert "  weights: up to 0.5 apart" in found.lines()


def test_weights_of_another_shape_are_told(tmp_path: Path) -> None:
    found = compare_repetition(record(tmp_path / "a"), record(tmp_path / "b", weights=(1.0,)))
    assert "  weights: missing, or of another shape" in found.lines()


def test_what_was_run_otherwise_is_named(tmp_path: Path) -> None:
    then, now = record(tmp_path / "a"), record(tmp_path / "b")
    then.record["versions"] |= {"torch": "2.4.0"}
    then.record["hardware"] |= {"cpu": "another"}
    then.record["git"] = None
    found = compare_repetition(then, now)
    named = {one.name: one.then for one in found.circumstances}
    assert named["versions.torch"] == "2.4.0"
    assert named["hardware.cpu"] == "another"


def test_within_the_tolerance_a_run_counts_as_reproduced_and_beyond_it_does_not(tmp_path: Path) -> None:
    found = compare_repetition(record(tmp_path / "a"), record(tmp_path / "b", **{"test/ndcg@10": 0.26}))
    check_reproduced(found, tolerance=0.02)
    with pytest.raises(
        RecordError, match=r"not reproduced: test/ndcg@10 was 0\.25 and is 0\.26, .* tolerance=0\.001"
    ):
        check_reproduced(found, tolerance=0.001)


def test_a_metric_that_one_run_lacks_is_beyond_any_tolerance(tmp_path: Path) -> None:
    found = compare_repetition(record(tmp_path / "a"), record(tmp_path / "b", **{"test/hr@10": 0.5}))
    with pytest.raises(RecordError, match=r"test/hr@10 was none and is 0\.5"):
        check_reproduced(found, tolerance=100.0)
