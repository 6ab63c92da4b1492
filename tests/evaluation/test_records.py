import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from recdl.errors import ConfigError, RecordError
from recdl.evaluation.records import RunRecord, RunWriter, check_run_folder
from tests.evaluation.runs import evaluation, identity, write_run


def start(folder: Path, *, overwrite: bool = False) -> RunWriter:
    return RunWriter.start(folder, config={"model": {"k": 10}}, identity=identity("item_knn"), overwrite=overwrite)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    writer = start(tmp_path / "run")
    writer.write_split_report({"leak": {"statement": "Nothing."}})
    writer.write_evaluation("test", evaluation({"ndcg@10": [0.25, 0.75]}))
    writer.finish(fit_seconds=2.0, learning_curve=[{"epoch": 1, "loss": 0.5}], metrics={"time/test_seconds": 3.0})

    record = RunRecord.open(tmp_path / "run")

    assert record.identity == identity("item_knn")
    assert record.config == {"model": {"k": 10}}
    assert record.metrics["test/ndcg@10"] == 0.5
    assert record.metrics["time/fit_seconds"] == 2.0
    assert record.metrics["time/test_seconds"] == 3.0
    assert record.intervals == {"test/ndcg@10": (0.49, 0.51)}
    assert record.split_report == {"leak": {"statement": "Nothing."}}
    assert record.learning_curve == [{"epoch": 1, "loss": 0.5}]
    assert record.record["versions"]["numpy"] == np.__version__
    assert record.record["finished"] >= record.record["started"]


def test_metrics_are_one_flat_mapping_of_numbers(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"test/ndcg@10", "validation/ndcg@10", "time/fit_seconds"} <= metrics.keys()
    assert all(isinstance(value, int | float) for value in metrics.values())


def test_the_config_keeps_its_types_and_special_texts(tmp_path: Path) -> None:
    config = {
        "model": {"rate": 1e-05, "text": "1e-3", "no": "no", "none": None, "braces": "${x}", "sizes": (1, 2)}
    }
    writer = RunWriter.start(tmp_path / "run", config=config, identity=identity())
    expected = {"model": {**config["model"], "sizes": [1, 2]}}
    assert writer.finish(fit_seconds=0).config == expected


def test_per_query_results_are_float32_and_compressed(tmp_path: Path) -> None:
    record = write_run(tmp_path / "run", columns={"ndcg@10": [0.1, 0.2]})
    table = record.per_query("test")
    expected = pd.DataFrame(
        {
            "query": np.array([0, 1], np.int64),
            "user": np.array([0, 1], np.int32),
            "n_targets": np.array([2, 2], np.int64),
            "history_length": np.array([3, 3], np.int64),
            "ndcg@10": np.array([0.1, 0.2], np.float32),
        }
    )
    pd.testing.assert_frame_equal(table, expected)
    file = pq.ParquetFile(tmp_path / "run" / "per_query" / "test.parquet")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    file.close()


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    record = write_run(tmp_path / "run", columns={"hr@10": [1.0], "ndcg@10": [1.0]})
    assert list(record.per_query("test", columns=["ndcg@10"]).columns) == ["ndcg@10"]
    assert "hr@10" in record.per_query_columns("test")


@pytest.mark.parametrize(
    "array",
    [
        np.array([True, False]),
        np.array(3.5),
        np.zeros((0, 4), np.float32),
        np.arange(6, dtype=np.int16).reshape(2, 3).T,
        np.arange(8, dtype=np.float32)[::2],
        np.array([2**60], np.int64),
        np.array([1, 2], np.uint8),
        np.array([0.5], np.float16),
    ],
    ids=["bool", "scalar", "empty", "transposed", "strided", "int64", "uint8", "float16"],
)
def test_the_state_keeps_every_array(tmp_path: Path, array: np.ndarray) -> None:
    writer = start(tmp_path / "run")
    writer.write_state({"array": array})
    read = writer.finish(fit_seconds=0).state()["array"]
    assert read.dtype == array.dtype and read.shape == array.shape
    np.testing.assert_array_equal(read, array)


def test_an_empty_state_is_a_state(tmp_path: Path) -> None:
    writer = start(tmp_path / "run")
    writer.write_state({})
    assert writer.finish(fit_seconds=0).state() == {}


def test_learned_numbers_are_the_floating_point_ones(tmp_path: Path) -> None:
    metrics = write_run(tmp_path / "run").metrics
    assert metrics["model/n_parameters"] == 6  # weights of 3 x 2 float32, and one bool that is no parameter
    assert metrics["model/state_bytes"] == 25


def test_a_diverged_loss_is_recorded_as_null(tmp_path: Path) -> None:
    record = start(tmp_path / "run").finish(
        fit_seconds=0, learning_curve=[{"loss": float("nan")}, {"loss": np.float32(2)}]
    )
    assert record.learning_curve == [{"loss": None}, {"loss": 2.0}]


def test_a_run_that_did_not_finish_is_not_opened(tmp_path: Path) -> None:
    writer = start(tmp_path / "run")
    writer.write_evaluation("test", evaluation({"ndcg@10": [1.0]}))
    writer.write_state({"weights": np.zeros(2)})
    with pytest.raises(RecordError, match=r"was cut off, or is still going.*overwrite=true"):
        RunRecord.open(tmp_path / "run")


def test_a_run_interrupted_before_its_record_is_written_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    writer = start(tmp_path / "run")
    monkeypatch.setattr("recdl.evaluation.provenance.hardware", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.finish(fit_seconds=0)
    assert (tmp_path / "run" / "metrics.json").exists()
    with pytest.raises(RecordError, match="was cut off"):
        RunRecord.open(tmp_path / "run")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no run at .*nowhere"):
        RunRecord.open(tmp_path / "nowhere")


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecordError, match=r"is not the folder of a run"):
        RunRecord.open(tmp_path)


@pytest.mark.parametrize("name", ["record.json", "metrics.json", "config.yaml"])
@pytest.mark.parametrize("text", ["{", "[1]", ""], ids=["cut short", "a list", "empty"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(RecordError, match=rf"{name} is (missing or )?damaged"):
        RunRecord.open(tmp_path / "run")


@pytest.mark.parametrize("name", ["metrics.json", "config.yaml"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(RecordError, match=rf"{name} is missing"):
        RunRecord.open(tmp_path / "run")


def test_a_record_that_does_not_say_what_was_run_is_damaged(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    record = json.loads(path.read_text())
    del record["identity"]["split"]
    path.write_text(json.dumps(record))
    with pytest.raises(RecordError, match=r"does not say what was run \('split'\)"):
        RunRecord.open(tmp_path / "run")


def test_a_record_without_run_id_is_damaged(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "run_id": 7}))
    with pytest.raises(RecordError, match="run_id is no text"):
        RunRecord.open(tmp_path / "run")


def test_a_record_of_a_later_recdl_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(RecordError, match="format version 99, but this recdl reads version 1"):
        RunRecord.open(tmp_path / "run")


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_damaged_arrays_and_tables_are_named(tmp_path: Path, damage: str) -> None:
    record = write_run(tmp_path / "run")
    for name in ("model/state.safetensors", "per_query/test.parquet"):
        path = tmp_path / "run" / name
        whole = path.read_bytes()
        path.unlink()
        if damage == "cut short":
            path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"state\.safetensors is missing or damaged"):
        record.state()
    with pytest.raises(RecordError, match=r"test\.parquet is missing or damaged"):
        record.per_query("test")
    with pytest.raises(RecordError, match=r"test\.parquet is missing or damaged"):
        record.per_query_columns("test")


def test_weights_that_were_changed_since_are_refused(tmp_path: Path) -> None:
    record = write_run(tmp_path / "run")
    path = tmp_path / "run" / "model/state.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"state\.safetensors is not what the run wrote.*run it again"):
        record.state()


def test_a_new_or_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_run_folder(tmp_path / "empty")
    check_run_folder(tmp_path / "new" / "nested")
    assert start(tmp_path / "new" / "nested").finish(fit_seconds=0).folder == tmp_path / "new" / "nested"


def test_a_finished_run_is_not_replaced_unasked(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"holds a finished run; choose another run_dir, or give overwrite=true"):
        start(tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_an_unfinished_run_is_not_replaced_unasked(tmp_path: Path) -> None:
    start(tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a run that did not finish"):
        start(tmp_path / "run")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="holds files that are no recdl run"):
        start(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {"thesis.tex": b"mine"}


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ConfigError, match="is a file; choose another run_dir"):
        check_run_folder(tmp_path / "run", overwrite=True)


def test_overwriting_leaves_nothing_of_the_earlier_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    start(tmp_path / "run", overwrite=True)
    assert sorted(contents(tmp_path)) == ["run/.lock", "run/config.yaml", "run/started.json"]


@pytest.mark.parametrize("failing", ["_create", "write_text"])
def test_a_start_that_fails_leaves_the_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_run(tmp_path / "run")
    before = contents(tmp_path)
    monkeypatch.setattr(f"recdl.evaluation.records.{failing}", full)
    with pytest.raises(OSError, match="No space left"):
        start(tmp_path / "run", overwrite=True)
    assert contents(tmp_path) == before


def test_a_config_that_cannot_be_written_leaves_the_earlier_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(Exception, match="object"):
        RunWriter.start(tmp_path / "run", config={"model": object()}, identity=identity(), overwrite=True)
    assert contents(tmp_path) == before


def test_of_runs_started_at_once_in_one_folder_only_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both see the folder free; only then does either start.
    both = threading.Barrier(2)
    monkeypatch.setattr("recdl.evaluation.records.check_run_folder", lambda *_, **__: both.wait(timeout=30))
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(start(tmp_path / "run").finish(fit_seconds=0).run_id)
        except ConfigError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (refused,) = [outcome for outcome in outcomes if isinstance(outcome, ConfigError)]
    (finished,) = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert "another run is being started" in str(refused)
    assert RunRecord.open(tmp_path / "run").run_id == finished


def test_a_run_that_is_still_going_is_not_overwritten(tmp_path: Path) -> None:
    first = start(tmp_path / "run")
    with pytest.raises(ConfigError, match="another process is at work on the run in"):
        start(tmp_path / "run", overwrite=True)
    first.finish(fit_seconds=0)
    start(tmp_path / "run", overwrite=True)


def test_a_run_whose_folder_was_taken_over_does_not_mix_with_the_new_one(tmp_path: Path) -> None:
    first = start(tmp_path / "run")
    (tmp_path / "run" / ".lock").unlink()  # as on a disk that knows no locks
    second = start(tmp_path / "run", overwrite=True)
    with pytest.raises(RecordError, match="was removed or taken over by another run"):
        first.write_state({"weights": np.zeros(2)})
    with pytest.raises(RecordError, match="was removed or taken over by another run"):
        first.finish(fit_seconds=0)
    second.finish(fit_seconds=0)
    with pytest.raises(RecordError, match=r"missing or damaged"):
        RunRecord.open(tmp_path / "run").state()


def test_nothing_is_written_into_a_folder_that_is_gone(tmp_path: Path) -> None:
    writer = start(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(RecordError, match="was removed"):
        writer.write_evaluation("test", evaluation({"ndcg@10": [1.0]}))
    assert not (tmp_path / "run").exists()


def test_a_metric_that_is_no_number_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ndcg@10 is nan"):
        start(tmp_path / "run").write_evaluation("test", evaluation({"ndcg@10": [float("nan")]}))


def test_config_yaml_is_plain_yaml(tmp_path: Path) -> None:
    start(tmp_path / "run")
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == {"model": {"k": 10}}


def test_figures_by_group_are_read_as_they_were_written_and_none_is_nothing(tmp_path: Path) -> None:
    writer = RunWriter.start(tmp_path / "run", config={"model": {}}, identity=identity())
    groups = {"users": {"newness": {"new": {"n_queries": 3}}}, "items": {}, "gaps": {}}
    writer.write_evaluation("validation", evaluation({"ndcg@10": [0.5]}))
    writer.write_evaluation("test", replace(evaluation({"ndcg@10": [0.5]}), groups=groups))
    record = writer.finish(fit_seconds=1.0)
    assert record.groups() == groups
    assert record.groups("validation") == {}
