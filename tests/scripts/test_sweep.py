import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from filelock import FileLock

from recdl.evaluation.records import RunRecord
from recdl.search.study import read_result
from tests.scripts.command_line import SHOP, command, environment, fail, fail_here, run, succeed

pytest.importorskip("optuna")

SPACE = """\
# @package _global_
defaults:
  - override /model: mf
  - _self_
sweep:
  startup_trials: 1
  space:
    model:
      learning_rate: {choices: [1.0e-2, 1.0e+30]} # with the second it diverges
      l2: {choices: [0.01, 0.1]}
"""
SWEEP = ("--config-dir", "mine", "sweep=mine", *SHOP, "trainer.max_epochs=2", "run_dir=runs/sweep")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A working folder with a search of all four settings, two of which fail, and what it printed."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "mine" / "sweep").mkdir(parents=True)
    (folder / "mine" / "sweep" / "mine.yaml").write_text(SPACE)
    return folder, succeed(folder, "sweep.py", *SWEEP)


def test_failed_trials_are_kept_with_their_reason_and_do_not_stop_the_rest(searched: tuple[Path, str]) -> None:
    folder, printed = searched
    trials = read_result(folder / "runs" / "sweep").trials
    assert len(trials) == 4
    for trial in trials:
        assert (trial.outcome == "failed") == (trial.settings["model.learning_rate"] == 1e30)
        assert trial.outcome == "finished" or "diverge" in str(trial.reason)
    assert "4 of 50" in printed


def test_a_trial_is_a_run_record_that_was_never_asked_for_test(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    best = read_result(folder / "runs" / "sweep").best
    assert best is not None
    record = RunRecord.open(folder / "runs" / "sweep" / "trials" / f"{best.number:04}")
    assert record.metrics["validation/ndcg@10"] == best.value
    assert record.config["model"]["l2"] == best.settings["model.l2"]
    assert not [name for name in record.metrics if name.startswith("test/")]
    assert not (record.folder / "per_query" / "test.parquet").exists()
    assert not (record.folder / "checkpoints").exists()


def test_the_best_setting_is_trained_once_and_tested_and_its_record_says_of_how_many(
    searched: tuple[Path, str],
) -> None:
    folder, _ = searched
    best = read_result(folder / "runs" / "sweep").best
    record = RunRecord.open(folder / "runs" / "sweep" / "best")
    assert best is not None
    assert record.metrics["validation/ndcg@10"] == best.value
    assert record.metrics["test/ndcg@10"] > 0
    assert record.record["trials"] == 4


def test_the_same_command_goes_on_and_does_nothing_twice(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    before = (folder / "runs" / "sweep" / "best" / "record.json").read_bytes()
    printed = succeed(folder, "sweep.py", *SWEEP)
    assert "going on after 4 of 50 trials" in printed
    assert "trial 4" not in printed
    assert (folder / "runs" / "sweep" / "best" / "record.json").read_bytes() == before


def test_compare_shows_a_search(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    printed = succeed(folder, "compare.py", "sweep=runs/sweep", "output=shown")
    assert "4 trials (2 finished, 2 failed)" in printed
    assert json.loads((folder / "shown" / "search.json").read_text())["n_trials"] == 4
    assert "diverge" in (folder / "shown" / "search.html").read_text()


def test_trials_are_not_compared_by_what_they_were_never_asked_for(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    best = read_result(folder / "runs" / "sweep").best
    assert best is not None
    assert "was never asked for test: it is a trial of a search" in fail(
        folder, "compare.py", f"runs/sweep/trials/{best.number:04}"
    )


def test_a_search_with_other_settings_is_refused_with_the_difference(
    searched: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(searched[0])
    assert fail_here(monkeypatch, capsys, "sweep", *SWEEP, "model.batch_size=8").startswith(
        "the search in runs/sweep has other settings (model.batch_size=32, not 8); give these, or another run_dir"
    )


def test_a_search_that_another_process_has_is_refused(
    searched: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(searched[0])
    with FileLock("runs/sweep/sweep.lock"):
        message = fail_here(monkeypatch, capsys, "sweep", *SWEEP)
    assert message == "another process is searching in runs/sweep; wait for it, or choose another run_dir"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+sweep.space.model.learning_rte={low: 1, high: 2}"], "did you mean sweep.space.model.learning_rate?"),
        (["+sweep.space.split.test_fraction={low: 0.1, high: 0.2}"], "only settings of model and trainer"),
        (["sweep.space.model.learning_rate.low=0"], "begins above 0"),
        (["sweep.space.model.dropout.high=2.0"], "sweep.space.model"),
        (["sweep=nemf_tpe"], "nemf_tpe"),
        (["sweep.totl=3"], "sweep.totl: there is no such setting; did you mean sweep.total?"),
        (["sweep.sampler=grid"], "sweep.sampler: expected one of tpe, random"),
        (["evaluation.cutoffs=[20]"], "trainer.monitor=ndcg@10 is not evaluated with evaluation.cutoffs=[20]"),
        (["run_dir=taken"], "run_dir=taken holds files that are no sweep"),
    ],
)
def test_what_cannot_be_searched_is_told_before_any_work(
    overrides: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    assert message in fail_here(monkeypatch, capsys, "sweep", *overrides)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("overrides", [["runs=[a]"], ["reference=a"], ["metrics=[ndcg@10]"]])
def test_what_goes_with_runs_does_not_go_with_a_search(
    overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cannot go with a search" in fail_here(monkeypatch, capsys, "compare", "sweep=a", *overrides)


def test_a_search_killed_at_once_with_its_trials_goes_on_with_as_many_trials_and_none_twice(
    searched: tuple[Path, str],
) -> None:
    folder, _ = searched
    settings = [*SHOP, "sweep=ease_tpe", "sweep.total=6", "sweep.workers=2", "run_dir=runs/killed"]
    with subprocess.Popen(
        command("sweep.py", *settings), cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert next(line for line in process.stdout if line.startswith("trial "))
        process.send_signal(signal.SIGKILL)
    succeed(folder, "sweep.py", *settings)
    trials = read_result(folder / "runs" / "killed").trials
    assert [trial.number for trial in trials] == list(range(6))
    assert len({json.dumps(dict(trial.settings)) for trial in trials}) == 6
    assert {trial.outcome for trial in trials} == {"finished"}


def test_a_trial_whose_process_dies_fails_alone_and_a_search_of_failures_stops(tmp_path: Path) -> None:
    settings = [*SHOP, "sweep=ease_tpe", "sweep.total=9", "sweep.max_failures=2", "run_dir=runs/dead"]
    dying = "import os, recdl.models.ease as ease; ease.EASE.fit = lambda *_: os.kill(os.getpid(), 9)"
    (tmp_path / "sitecustomize.py").write_text(dying)
    done = subprocess.run(
        command("sweep.py", *settings),
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "trial 0: failed: its process was killed by signal 9; was there memory enough?" in done.stdout
    assert "the last 2 trials failed, so the search stops" in done.stderr
    assert not (tmp_path / "runs" / "dead" / "best").exists()


def test_a_grid_in_other_processes_shows_its_best_and_its_status_tells_of_points_that_failed(
    tmp_path: Path,
) -> None:
    pytest.importorskip("submitit")
    points = ["model=popularity,item_knn", "data.filters.min_user_events=1,100000", "run_dir=grid"]
    done = run(tmp_path, "train.py", "--multirun", "hydra/launcher=submitit_local", *SHOP, *points)
    assert "best by validation ndcg@10: grid/" in done.stdout
    assert done.returncode == 1
    assert "2 of 4 points of the sweep in grid were not finished" in done.stderr


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_sigterm_leaves_no_process_behind_and_the_search_can_go_on(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    settings = [*SHOP, "sweep=mf_tpe", "sweep.total=3", "trainer.max_epochs=100000", "trainer.patience=100000"]
    settings.append("run_dir=runs/long")
    with subprocess.Popen(
        command("sweep.py", *settings),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while not list((folder / "runs" / "long" / "trials").glob("*/tensorboard")):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    until = time.monotonic() + 30
    while _is_there(process.pid):
        assert time.monotonic() < until, "a process was left behind"
        time.sleep(0.1)
    assert run(folder, "compare.py", "sweep=runs/long").returncode == 1
