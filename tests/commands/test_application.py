import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from recdl.commands import VERBS, application, main
from recdl.errors import ConfigError, DataError
from recdl.schemas import SCHEMAS

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `recdl <arguments>` in an empty folder and in this process; return its exit status."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["recdl", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code

    return call


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put verbs in place of train and compare that only note their configurations, which this returns."""
    noted: list[dict[str, Any]] = []
    for verb in ("train", "compare"):
        monkeypatch.setattr(importlib.import_module(f"recdl.commands.{verb}"), verb, noted.append)
    monkeypatch.setattr(
        importlib.import_module("recdl.commands.points"), "report_sweep", lambda folder: print(folder)
    )
    return noted


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_: dict[str, Any]) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("recdl.commands.train"), "train", fail)


def test_every_verb_has_a_schema() -> None:
    assert set(VERBS) == set(SCHEMAS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_says_what_a_verb_does_and_every_key(verb: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    for key in set(SCHEMAS[verb].model_fields) - {"names"}:
        assert f"\n{key}:" in shown


def test_without_a_verb_all_are_listed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1 : 1 + len(VERBS)]] == list(VERBS)


def test_an_unknown_verb_is_an_error(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trian") == 1
    assert capsys.readouterr().err.startswith("error: there is no verb 'trian'\n")


def test_a_verb_gets_its_checked_configuration(run: Run, given: list[dict[str, Any]]) -> None:
    assert run("train", "model=item_knn", "model.k=7", "seed=0") == 0
    (config,) = given
    assert config["model"]["k"] == 7
    assert config["names"]["model"] == "item_knn"
    assert config["run_dir"] is None
    assert "hydra" not in config


def test_garbage_is_collected_while_a_verb_works_and_after_a_mistake(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[bool] = []
    monkeypatch.setattr(
        importlib.import_module("recdl.commands.train"), "train", lambda _: noted.append(gc.isenabled())
    )
    assert run("train", "model=popularity") == 0
    assert noted == [True]
    assert run("train", "model=nothing") == 1
    assert gc.isenabled()


def test_a_run_leaves_no_folder_of_hydras(run: Run, given: list[dict[str, Any]], tmp_path: Path) -> None:
    run("train", "model=popularity")
    assert len(given) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_message_and_no_work(
    run: Run, given: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "model=item_knn", "model.kk=3") == 1
    message = "error: model.kk: there is no such setting; did you mean model.k? The settings here: alpha, "
    message += "history_weights, k, neighbors_of, shrinkage, similarity, train_weights, weighting\n"
    assert capsys.readouterr().err == message
    assert given == []


def test_a_setting_given_as_an_option_is_told_how_it_is_given(
    run: Run, given: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "--model", "neumf") == 1
    assert capsys.readouterr().err == "error: --model: is no option; settings are given as model=value\n"
    assert given == []


def test_text_beyond_ascii_is_told_to_be_quoted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recommend", "bundle=b", "users=[żółw]") == 1
    assert "text beyond ASCII wants quotes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("the log is empty"), 1, "error: the log is empty\n"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, "interrupted: nothing that was under way is taken for whole\n"),
    ],
)
def test_what_goes_wrong_is_told_without_a_trace(
    error: BaseException,
    status: int,
    message: str,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(monkeypatch, error)
    assert run("train", "model=popularity") == status
    assert capsys.readouterr().err == message


def test_being_told_to_end_unwinds_the_work(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    unwound = []

    def end(_: dict[str, Any]) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            unwound.append(True)

    monkeypatch.setattr(importlib.import_module("recdl.commands.train"), "train", end)
    before = signal.getsignal(signal.SIGTERM)
    assert run("train", "model=popularity") == 143
    assert unwound == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_broken_invariant_is_told_with_its_trace(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, AssertionError("offsets must not fall"))
    assert run("train", "model=popularity") == 1
    assert "AssertionError: offsets must not fall" in capsys.readouterr().err


def test_every_point_of_a_sweep_gets_a_folder(
    run: Run, given: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "--multirun", "model=popularity,item_knn", "seed=1,2", "run_dir=runs/s") == 0
    points = [(config["names"]["model"], config["seed"], config["run_dir"]) for config in given]
    assert points == [
        ("popularity", 1, "runs/s/0"),
        ("popularity", 2, "runs/s/1"),
        ("item_knn", 1, "runs/s/2"),
        ("item_knn", 2, "runs/s/3"),
    ]
    assert capsys.readouterr().out.endswith("\nruns/s\n")


def test_a_sweep_without_a_folder_gets_a_dated_one(run: Run, given: list[dict[str, Any]]) -> None:
    assert run("train", "--multirun", "model=popularity,item_knn") == 0
    assert [config["run_dir"] for config in given] == [f"runs/{application.stamp()}-sweep/{n}" for n in (0, 1)]


def test_a_sweep_with_a_bad_point_does_not_start(
    run: Run, given: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "--multirun", "model=item_knn", "model.k=3,many") == 1
    assert capsys.readouterr().err == 'error: model.k: expected a whole number, got "many"\n'
    assert given == []


def test_a_failing_point_does_not_lose_the_others(
    run: Run, given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_at_first(config: dict[str, Any]) -> None:
        given.append(config)
        if config["seed"] == 1:
            raise DataError("nothing to learn")

    monkeypatch.setattr(importlib.import_module("recdl.commands.train"), "train", fail_at_first)
    assert run("train", "--multirun", "model=popularity", "seed=1,2", "run_dir=s") == 1
    shown = capsys.readouterr()
    assert shown.err == "error: nothing to learn\n"
    assert shown.out.endswith("\ns\n")
    assert [config["seed"] for config in given] == [1, 2]


def test_only_train_sweeps(run: Run, given: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "--multirun", "runs=[a]") == 1
    assert given == []
    assert capsys.readouterr().err == "error: --multirun: compare cannot sweep; train can\n"


def test_options_may_stand_anywhere(run: Run, given: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert run("train", "model=popularity", "--multirun", "seed=1,2", "--config-dir", "mine", "run_dir=s") == 0
    assert [config["seed"] for config in given] == [1, 2]


def test_runs_may_be_compared_without_a_key(run: Run, given: list[dict[str, Any]]) -> None:
    assert run("compare", "runs/a", "runs/b's", "output=out") == 0
    assert given[0]["runs"] == ["runs/a", "runs/b's"]
    assert given[0]["output"] == "out"


def test_a_folder_with_an_equals_sign_in_its_name_is_a_run(run: Run, given: list[dict[str, Any]]) -> None:
    Path("seed=1").mkdir()
    assert run("compare", "seed=1") == 0
    assert given[0]["runs"] == ["seed=1"]


def test_a_folder_of_ones_own_files_is_added(run: Run, given: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text("_target_: recdl.models.neighbors.ItemKNN\nk: 7\n")
    assert run("train", "--config-dir", "mine", "model=own") == 0
    assert given[0]["model"]["k"] == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-path", "mine"], "--config-path: recdl needs its own YAML files"),
        (["--experimental-rerun", "config.pickle"], "--experimental-rerun: reads a pickle"),
        (["--config-dir", "none"], "--config-dir none: there is no such folder"),
        (["+hydra.callbacks.x._target_=os.system"], "hydra.callbacks.x._target_: 'os.system' is not allowed here"),
        (["hydra.sweeper._target_=os.system"], "hydra.sweeper._target_: 'os.system' is not allowed here"),
        (["model"], "model: is no override such as key=value"),
    ],
)
def test_what_hydra_would_do_unchecked_is_refused(
    arguments: list[str],
    message: str,
    run: Run,
    given: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", *arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert given == []


@pytest.mark.parametrize("handler", [{"()": "os.system"}, {"class": "os.system"}])
def test_logging_constructs_only_what_is_its_own(handler: dict[str, str]) -> None:
    node = OmegaConf.create({"job_logging": {"handlers": [handler]}})
    with pytest.raises(ConfigError, match=r"^hydra\.job_logging\.handlers\..*'os\.system' is not allowed here"):
        application.check_hydra(node, key="hydra")
