import builtins
import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recdl
from recdl.evaluation import provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "model.py").write_text("k = 1\n")
    git(tmp_path, "add", "model.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_versions_are_those_that_are_installed() -> None:
    versions = provenance.versions()
    assert versions["python"] == platform.python_version()
    assert versions["recdl"] == recdl.__version__
    assert versions["numpy"] == np.__version__


def test_a_library_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_LIBRARIES", ("numpy", "no-such-library"))
    assert set(provenance.versions()) == {"python", "recdl", "numpy"}


def test_a_clean_checkout_is_named_by_its_commit(repository: Path) -> None:
    assert provenance.git_state(repository) == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": False}


def test_a_changed_file_makes_the_checkout_dirty(repository: Path) -> None:
    (repository / "model.py").write_text("k = 2\n")
    state = provenance.git_state(repository)
    assert state is not None and state["dirty"] is True


def test_untracked_files_such_as_runs_do_not_make_the_checkout_dirty(repository: Path) -> None:
    (repository / "run.json").write_text("{}")
    state = provenance.git_state(repository)
    assert state is not None and state["dirty"] is False


def test_a_folder_outside_of_any_checkout_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_state(tmp_path) is None


def test_without_git_there_is_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state(repository) is None


def test_a_git_that_hangs_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **keywords: Any) -> None:
        raise subprocess.TimeoutExpired("git", keywords["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert provenance.git_state(repository) is None


def test_of_the_program_only_the_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/anna/.venv/bin/recdl", "train", "data.path=/data/log.csv"])
    assert provenance.command_line() == ["recdl", "train", "data.path=/data/log.csv"]


def test_a_relative_program_is_kept_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", "model=lstm"])
    assert provenance.command_line() == ["scripts/train.py", "model=lstm"]


def test_hardware_is_what_the_system_says_and_fits_in_json() -> None:
    hardware = provenance.hardware()
    assert hardware["platform"] == f"{platform.system()} {platform.machine()}"
    assert 1 <= hardware["n_cpus"] <= (os.cpu_count() or 1)
    assert hardware["cpu"]
    assert json.loads(json.dumps(hardware)) == hardware


def test_hardware_names_neither_host_nor_user() -> None:
    said = json.dumps([provenance.hardware(), provenance.versions()])
    assert f'"{platform.node()}"' not in said
    assert str(Path.home()) not in said
    assert f'"{getpass.getuser()}"' not in said


def test_gpus_are_not_looked_for_where_torch_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert provenance.hardware()["gpus"] == []
    assert "torch" not in sys.modules


def test_peak_memory_covers_what_was_held() -> None:
    held = np.ones(2_000_000)
    peak = provenance.peak_memory()["resident_bytes"]
    assert peak is None or peak > held.nbytes


def test_peak_memory_is_unknown_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_resource(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "resource":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_resource)
    assert provenance.peak_memory()["resident_bytes"] is None
