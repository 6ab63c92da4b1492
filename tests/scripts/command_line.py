"""The scripts as a user runs them: in a process of their own, or, where only the message matters, in this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recdl.commands import main

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SHOP = (
    "data.n_users=150",
    "data.n_items=80",
    "data.n_categories=10",
    "evaluation.cutoffs=[10]",
    "progress=false",
    "trainer.progress_bar=false",
)
"""Overrides for a generated shop that trains in a second."""


def command(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPTS / script), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in `folder`, whatever comes of it."""
    return subprocess.run(
        command(script, *arguments), cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )


def succeed(folder: Path, script: str, *arguments: str) -> str:
    """Run a script in `folder` and return what it printed to standard output."""
    done = run(folder, script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fail(folder: Path, script: str, *arguments: str) -> str:
    """Run a script that must fail, and return its message."""
    done = run(folder, script, *arguments)
    assert done.returncode == 1, done.stdout
    return message_in(done.stderr)


def fail_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run `recdl <arguments>`, which must fail, in this process and its folder, and return the message."""
    monkeypatch.setattr(sys, "argv", ["recdl", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    assert stopped.value.code == 1, shown.out
    return message_in(shown.err)


def message_in(errors: str) -> str:
    assert "Traceback" not in errors
    before, found, message = errors.rpartition("error: ")
    assert found, errors
    assert not before or before.endswith("\n"), errors
    return message.rstrip("\n")
