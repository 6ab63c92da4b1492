import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.scripts.command_line import SHOP, command, environment, fail, fail_here, run, succeed

LSTM = (
    *SHOP,
    "model=lstm",
    "model.network.embedding_size=8",
    "model.network.hidden_size=8",
    "model.network.embedding_dropout=0",
    "model.network.hidden_dropout=0",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "tracking=none",
    "refit=true",
)
TWO = ("trainer.devices=2",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working folder with the run of one process, runs/one."""
    folder = tmp_path_factory.mktemp("devices")
    succeed(folder, "train.py", *LSTM, "run_dir=runs/one")
    return folder


def metrics(run_folder: Path) -> dict[str, float]:
    """Return the metrics of a run, but for seconds."""
    read = json.loads((run_folder / "metrics.json").read_text())
    return {name: value for name, value in read.items() if not name.startswith("time/")}


def assert_same(run_folder: Path, other: Path) -> None:
    assert metrics(run_folder) == pytest.approx(metrics(other), rel=1e-3)
    ours, theirs = (load_file(one / "model" / "state.safetensors") for one in (run_folder, other))
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], atol=2e-3)


def torchrun(folder: Path, node: int, port: int, *arguments: str) -> "subprocess.Popen[str]":
    """Start one of two nodes, of one process each."""
    options = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={node}", "--master-addr=127.0.0.1"]
    script = command("train.py", *arguments)[1:]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options, f"--master-port={port}", *script],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_leave_the_record_that_one_leaves(folder: Path) -> None:
    done = run(folder, "train.py", *LSTM, "trainer=ddp", "trainer.accelerator=cpu", "run_dir=runs/two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run record: runs/two") == 1  # the first alone prints
    assert_same(folder / "runs" / "two", folder / "runs" / "one")


def test_two_machines_leave_the_record_that_one_leaves(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ("trainer=multinode", "trainer.accelerator=cpu", "run_dir=runs/nodes")
    nodes = [torchrun(folder, node, port, *LSTM, *where) for node in range(2)]
    shown = [node.communicate(timeout=300) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], shown
    assert_same(folder / "runs" / "nodes", folder / "runs" / "one")


def test_a_process_that_dies_ends_all_and_the_run_is_gone_on_with(folder: Path) -> None:
    settings = (*LSTM, *TWO, "trainer.checkpoint.every_steps=1", "run_dir=runs/died")
    first = subprocess.Popen(
        command("train.py", *settings),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not list((folder / "runs").glob("died/checkpoints/last-*.ckpt")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(_child(first.pid), signal.SIGKILL)
    _, errors = first.communicate(timeout=60)
    assert first.returncode != 0, errors
    assert not (folder / "runs" / "died" / "record.json").exists()
    succeed(folder, "train.py", "resume=runs/died")
    assert_same(folder / "runs" / "died", folder / "runs" / "one")


def test_no_process_outlives_the_one_that_started_it(folder: Path) -> None:
    first = subprocess.Popen(
        command(
            "train.py", *LSTM, *TWO, "trainer.max_epochs=1000", "trainer.patience=1000", "run_dir=runs/orphan"
        ),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 200
    while not list((folder / "runs").glob("orphan/checkpoints/best-*.ckpt")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    child = _child(first.pid)
    first.kill()
    first.wait(timeout=60)
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("the system does not list the children of a process")
    return int(children.read_text().split()[0])


def test_devices_that_are_not_there_are_refused_before_work_starts(tmp_path: Path) -> None:
    message = fail(tmp_path, "train.py", *SHOP, "model=lstm", "trainer=gpu", "trainer.devices=64")
    assert message.startswith("trainer.devices=64, but this machine has ")
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "trainer.nodes=2"], "trainer.nodes=2: over several machines each starts its processes by a"),
        (["benchmark", "trainer.devices=2"], "trainer.devices=2: one model after the other is trained by one"),
    ],
)
def test_what_needs_a_launcher_or_has_one_process_is_told(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fail_here(monkeypatch, capsys, arguments[0], *SHOP, *arguments[1:]).startswith(message)
    assert not (tmp_path / "prepared").exists()


def test_more_processes_than_the_settings_say_are_refused(tmp_path: Path) -> None:
    environment_of_one = environment() | {"LOCAL_RANK": "0", "WORLD_SIZE": "3", "RANK": "0"}
    done = subprocess.run(
        command("train.py", *LSTM, *TWO), cwd=tmp_path, env=environment_of_one, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "2 processes, but 3 were started; let both say the same" in done.stderr
