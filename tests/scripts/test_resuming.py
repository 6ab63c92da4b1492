"""Runs killed as processes are killed, and gone on with."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.scripts.command_line import SHOP, command, environment, fail_here, succeed

NETWORK = ("model.batch_size=8", "model.network.mf_embedding_size=8", "model.network.mlp_embedding_size=8")
LONG = ("trainer.max_epochs=12", "trainer.patience=12", "trainer.checkpoint.every_steps=5")


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `train.py` in `folder`, and do not wait for it."""
    return subprocess.Popen(
        command("train.py", *arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells start what runs beside them deaf
    )


def position(run: Path) -> tuple[int, int]:
    """Return how far the newest checkpoint of a run is, in epochs and batches."""
    names = [path.stem.split("-") for path in run.glob("checkpoints/last-*.ckpt")]
    return max(((int(epoch), int(batches)) for _, epoch, batches in names), default=(0, 0))


def cut_off(process: subprocess.Popen[str], run: Path, *, at: tuple[int, int], by: signal.Signals) -> str:
    """Send a signal once the run has come so far, and return what the process had to say."""
    try:
        deadline = time.monotonic() + 200
        while position(run) < at and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(by)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert not (run / "record.json").exists(), printed
    return printed


def outcome(run: Path) -> dict[str, Any]:
    """Return all that a run came to, but for how long it took and when."""
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    metrics = json.loads((run / "metrics.json").read_text())
    curve = json.loads((run / "learning_curve.json").read_text())
    return {
        "state": (run / "model" / "state.safetensors").read_bytes(),
        "metrics": {name: value for name, value in metrics.items() if not name.startswith("time/")},
        "intervals": json.loads((run / "intervals.json").read_text()),
        "curve": [{name: value for name, value in entry.items() if name != "seconds"} for entry in curve],
        "results": [(run / "per_query" / f"{part}.parquet").read_bytes() for part in ("validation", "test")],
        "logged": {
            tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
            for tag in accumulator.Tags()["scalars"]
            if not tag.startswith("time/")
        },
        "best": sorted(path.name for path in (run / "checkpoints").iterdir()),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run that was never stopped: runs/whole."""
    folder = tmp_path_factory.mktemp("resuming")
    succeed(folder, "train.py", *SHOP, *NETWORK, *LONG, "run_dir=runs/whole")
    return folder


def test_a_run_that_was_killed_at_random_and_gone_on_with_is_the_run_that_was_not(whole: Path) -> None:
    cut = whole / "runs" / "killed"
    steps = random.Random(os.urandom(8))  # a step of its own each time that this is run
    # From the first batch on: before it there may be no run yet to go on with.
    first, second = sorted((steps.randrange(0, 4), steps.randrange(1, 20)) for _ in range(2))
    process = started(whole, *SHOP, *NETWORK, *LONG, "run_dir=runs/killed")
    cut_off(process, cut, at=first, by=signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    process = started(whole, "resume=runs/killed")
    printed = cut_off(process, cut, at=(second[0] + 4, second[1]), by=signal.SIGTERM)
    assert process.returncode == 143, printed
    assert "train.py resume=runs/killed goes on with it" in printed
    succeed(whole, "train.py", "resume=runs/killed")
    assert outcome(cut) == outcome(whole / "runs" / "whole"), f"killed after {first} and {second}"
    assert len(json.loads((cut / "record.json").read_text())["resumed"]) == 2


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(whole: Path) -> None:
    cut = whole / "runs" / "interrupted"
    arguments = [*SHOP, *NETWORK, "trainer.max_epochs=1000", "trainer.patience=1000"]
    process = started(whole, *arguments, "trainer.checkpoint.every_minutes=60", "run_dir=runs/interrupted")
    while not list(cut.glob("checkpoints/best-*.ckpt")) and process.poll() is None:
        time.sleep(0.01)
    assert position(cut) == (0, 0)
    printed = cut_off(process, cut, at=(0, 0), by=signal.SIGINT)
    assert process.returncode == 130, printed
    assert position(cut) > (0, 0)
    *_, told, last = printed.splitlines()
    assert told == "the run is cut off; train.py resume=runs/interrupted goes on with it"
    assert last == "interrupted: nothing that was under way is taken for whole"


def test_settings_that_the_run_had_not_are_named_and_refused(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = whole / "runs" / "other"
    process = started(whole, *SHOP, *NETWORK, *LONG, "run_dir=runs/other")
    cut_off(process, cut, at=(0, 5), by=signal.SIGKILL)
    monkeypatch.chdir(whole)
    other = ["model=lstm", "seed=1", "trainer.patience=12", "run_dir=runs/other", "progress=true"]
    message = fail_here(monkeypatch, capsys, "train", "resume=runs/other", *other)
    assert "model is 'neumf' in the run, 'lstm' here; seed is 0 in the run, 1 here. Leave them out" in message
    assert "patience" not in message and "run_dir" not in message
    config = cut / "config.yaml"
    config.write_text(config.read_text().replace("patience: 12", "patience: 13"))
    message = fail_here(monkeypatch, capsys, "train", "resume=runs/other")
    assert message.startswith("runs/other/config.yaml is not what the run was started with")


def test_what_is_no_run_to_go_on_with_is_refused_before_any_work(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(whole)
    (whole / "runs" / "notes").mkdir(exist_ok=True)
    expected = {
        "runs/nowhere": "there is no such folder",
        "runs/whole/record.json": "is a file; name the folder of a run",
        "runs/notes": "is not the folder of a run: it holds no started.json",
        "runs/whole": "the run is finished, and nothing is left to be done",
    }
    for folder, said in expected.items():
        assert fail_here(monkeypatch, capsys, "train", f"resume={folder}").startswith(f"resume={folder}: {said}")
    message = fail_here(monkeypatch, capsys, "train", "--multirun", "resume=runs/whole")
    assert message.startswith("resume: goes on with one run")


def test_two_processes_cannot_be_at_work_on_one_run(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(whole)
    cut = whole / "runs" / "shared"
    arguments = [*SHOP, *NETWORK, *LONG, "trainer.max_epochs=1000", "trainer.patience=1000", "run_dir=runs/shared"]
    process = started(whole, *arguments)
    try:
        while position(cut) < (0, 5) and process.poll() is None:
            time.sleep(0.01)
        for refused in (["resume=runs/shared"], [*arguments, "overwrite=true"]):
            message = fail_here(monkeypatch, capsys, "train", *refused)
            assert message.startswith("another process is at work on the run in runs/shared; wait for it")
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_a_run_whose_log_has_changed_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    rows = [f"u{user},i{(user * 7 + step) % 20},{1000 * step + user}" for step in range(12) for user in range(40)]
    log.write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    arguments = ["data=csv", "data.path=log.csv", *SHOP[3:], "model=neumf", *LONG, "run_dir=runs/cut"]
    process = started(tmp_path, *arguments)
    cut_off(process, tmp_path / "runs" / "cut", at=(0, 5), by=signal.SIGKILL)
    log.write_text("\n".join(["user_id,item_id,timestamp", *rows[:-1]]))
    for manifest in (tmp_path / "prepared").glob("*/manifest.json"):
        manifest.unlink()
    monkeypatch.chdir(tmp_path)
    message = fail_here(monkeypatch, capsys, "train", "resume=runs/cut")
    assert message.startswith("the data of the run in runs/cut is no longer what it was")
