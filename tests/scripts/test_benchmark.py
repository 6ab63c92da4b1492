import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recdl.commands import benchmark
from recdl.commands.apart import train_apart
from recdl.commands.contenders import Contender, contenders
from recdl.config import compose
from recdl.errors import ConfigError, RecdlError, RecordError
from recdl.schemas import BenchmarkSettings
from recdl.signatures import checked_settings
from tests.scripts.command_line import SHOP, succeed

MODELS = ("models=[popularity,item_knn]", "baselines=null")


@pytest.fixture(scope="module")
def finished(shop: Path) -> str:
    """What the benchmark of two models printed, in the working folder of `shop`."""
    return succeed(shop, "benchmark.py", *SHOP, *MODELS, "run_dir=runs/benchmark")


@pytest.fixture
def trained(shop: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Go to the working folder, and note which models would be trained instead of training them."""
    noted: list[str] = []

    def note(point: dict[str, object]) -> None:
        noted.append(Path(str(point["run_dir"])).name)
        raise RecordError("no training here")

    monkeypatch.chdir(shop)
    monkeypatch.setattr(benchmark, "train_apart", note)
    return noted


def again(*overrides: str) -> None:
    benchmark.benchmark(compose("benchmark", [*SHOP, "run_dir=runs/benchmark", *MODELS, *overrides]))


def entered(config: Mapping[str, Any]) -> list[Contender]:
    return contenders(config, checked_settings(BenchmarkSettings, config))


def test_models_are_trained_and_compared_and_the_report_is_named(shop: Path, finished: str) -> None:
    figures = json.loads((shop / "runs/benchmark/comparison/comparison.json").read_text())
    assert [run["model"] for run in figures["runs"]] == ["popularity", "item_knn"]
    assert figures["reference"] == "popularity"
    assert finished.startswith("popularity: training (1 of 2)\nitem_knn: training (2 of 2)\n")
    assert finished.splitlines()[-4:] == [
        "report: runs/benchmark/comparison/comparison.html",
        "tables: runs/benchmark/comparison/comparison.md runs/benchmark/comparison/comparison.csv",
        "figures: runs/benchmark/comparison/comparison.json",
        "runs: runs/benchmark",
    ]


def test_finished_runs_are_used_again(
    finished: str, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    again()
    assert trained == []
    assert "item_knn: finished before, used again" in capsys.readouterr().out
    assert "item_knn: training" in finished


@pytest.mark.usefixtures("finished")
def test_a_run_cut_off_is_trained_again_and_the_others_are_compared_all_the_same(
    shop: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    record = shop / "runs/benchmark/item_knn/record.json"
    aside = record.rename(shop / "runs/benchmark/record.aside")
    try:
        with pytest.raises(RecordError, match="no run of item_knn, see above; the others are kept"):
            again()
    finally:
        aside.rename(record)
    assert trained == ["item_knn"]
    figures = json.loads((shop / "runs/benchmark/comparison/comparison.json").read_text())
    assert figures["left_out"] == [{"name": "item_knn", "reason": "no training here"}]
    assert "Left out: item_knn." in (shop / "runs/benchmark/comparison/comparison.html").read_text()
    shown = capsys.readouterr()
    assert shown.err == "error: no training here\n"
    assert shown.out.endswith("runs: runs/benchmark\n")


def test_the_settings_tried_for_a_model_are_noted_with_its_run(
    shop: Path, finished: str, trained: list[str]
) -> None:
    again("trials={item_knn: 6}")
    figures = json.loads((shop / "runs/benchmark/comparison/comparison.json").read_text())
    assert [run["trials"] for run in figures["runs"]] == [1, 6]
    assert trained == [] and finished


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("override", ["seed=1", "overwrite=true", "split.test_fraction=0.2"])
def test_runs_of_other_settings_are_not_used_again(override: str, trained: list[str]) -> None:
    with pytest.raises(RecordError, match="no run of popularity; item_knn, see above"):
        again(override)
    assert trained == ["popularity", "item_knn"]


def test_a_model_that_cannot_be_trained_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    config = {**compose("train", [*SHOP, "model=popularity"]), "run_dir": "taken"}
    with pytest.raises(RecordError, match=r"^popularity was not trained: run_dir=taken is a file"):
        train_apart(config)
    assert capfd.readouterr().err == ""  # it is told once, by the process that waits


def test_without_a_folder_its_name_follows_from_the_settings(trained: list[str]) -> None:
    folders = []
    for overrides in ([], [], ["seed=1"]):
        config = compose("benchmark", [*SHOP, *MODELS, *overrides])
        folders.append(benchmark._folder(config))
    assert trained == []
    assert folders[0] == folders[1] != folders[2]
    assert folders[0].name.startswith("benchmark-shop-")


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("[lstm,lstm]", "^models: names one twice: lstm, lstm$"),
        ("[lsmt]", "Could not find 'model/lsmt'"),
        ("[tuning]", "^models: 'tuning' cannot be the name of a run's folder"),
    ],
)
def test_a_list_of_models_that_cannot_be_is_refused_before_any_work(
    models: str, message: str, trained: list[str]
) -> None:
    with pytest.raises(ConfigError, match=message):
        again(f"models={models}")
    assert trained == []


def test_a_model_has_overrides_of_its_own_and_a_name_may_be_given_to_them(trained: list[str]) -> None:
    overrides = (
        "models=[popularity,near,lstm]",
        "overrides={near: ['model=item_knn','model.k=7'], lstm: ['trainer.max_epochs=3','model.max_length=9']}",
    )
    config = compose("benchmark", [*SHOP, "baselines=null", "trainer.patience=4", *overrides])
    points = {one.name: one.point for one in entered(config)}
    assert trained == []
    assert points["near"]["model"]["k"] == 7
    assert points["near"]["names"]["model"] == "near"
    assert points["lstm"]["model"]["max_length"] == 9
    assert points["lstm"]["trainer"] == {**config["trainer"], "max_epochs": 3}
    assert points["popularity"]["trainer"] == config["trainer"]
    of_train = set(compose("train", ["data=shop"])) - {"resume", "trials"}  # these have what a benchmark means
    assert all(set(point) == of_train for point in points.values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "overrides={gru: ['model.max_length=9']}",
            "^overrides.gru: is none of models and baselines: popularity, item_knn$",
        ),
        (
            "overrides={item_knn: ['split.test_fraction=0.5']}",
            "^overrides.item_knn: split.test_fraction=0.5 would set this run",
        ),
        ("overrides={item_knn: ['trainer=cpu']}", "only settings of model and trainer may differ"),
        ("overrides={item_knn: ['seed=3']}", "seed=3 would set this run apart from the others"),
        ("overrides={item_knn: ['model.neighbours=3']}", "model.neighbours: there is no such setting"),
    ],
)
def test_overrides_that_cannot_be_are_refused_before_any_work(
    overrides: str, message: str, trained: list[str]
) -> None:
    with pytest.raises(ConfigError, match=message):
        again(overrides)
    assert trained == []


@pytest.mark.usefixtures("finished")
def test_a_baseline_that_the_log_cannot_serve_is_told_and_fails_nothing(
    shop: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    again("baselines=[recent_popularity]")
    assert trained == ["recent_popularity"]
    shown = capsys.readouterr()
    assert shown.err == (
        "error: no training here\n"
        "warning: no run of recent_popularity, see above; the others are kept and used again\n"
    )
    figures = json.loads((shop / "runs/benchmark/comparison/comparison.json").read_text())
    assert figures["left_out"] == [{"name": "recent_popularity", "reason": "no training here"}]


@pytest.mark.usefixtures("finished", "trained")
def test_what_is_finished_when_a_benchmark_is_interrupted_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "train_apart", interrupt)
    with pytest.raises(KeyboardInterrupt):
        again("models=[popularity,als]")
    assert capsys.readouterr().err == (
        "finished, and used again by the same command: popularity (in runs/benchmark)\n"
        "the same command goes on from here, also with what was cut off\n"
    )


@pytest.mark.usefixtures("finished")
def test_a_run_that_was_cut_off_is_gone_on_with_unless_it_is_of_other_settings(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resumed: list[str | None] = []

    def note(point: Mapping[str, Any]) -> None:
        resumed.append(point.get("resume"))
        raise RecordError("no training here")

    monkeypatch.chdir(shop)
    monkeypatch.setattr(benchmark, "train_apart", note)
    record = Path("runs/benchmark/item_knn/record.json")
    whole = record.read_bytes()
    record.unlink()
    try:
        for override in ((), ('overrides={item_knn: ["model.k=7"]}',), ("overwrite=true", "models=[item_knn]")):
            with pytest.raises(RecordError, match="no run of item_knn"):
                again(*override)
    finally:
        record.write_bytes(whole)
    assert resumed == ["runs/benchmark/item_knn", None, None]
    assert "item_knn: going on with what was cut off (2 of 2)" in capsys.readouterr().out


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.item_groups=[category]", "^evaluation.item_groups: the log has no table of items"),
        ("split.test_from=2035-01-01", "2035-01-01"),
    ],
)
def test_what_would_fail_every_run_is_told_once_before_any(
    override: str, message: str, trained: list[str]
) -> None:
    with pytest.raises(RecdlError, match=message):
        again(override)
    assert trained == []
