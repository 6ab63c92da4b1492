import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts.command_line import SCRIPTS

Commands = list[list[str]]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`scripts/environment.py` for a checkout in `tmp_path`."""
    found = importlib.util.spec_from_file_location("environment_of_scripts", SCRIPTS / "environment.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text(name)
    folder = tmp_path / ".venv"
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "FOLDER", folder)
    monkeypatch.setattr(module, "PYTHON", folder / "bin" / "python")
    monkeypatch.setattr(module, "STAMP", folder / "recdl-installed")
    return module


@pytest.fixture
def commands(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Note the commands that would be run, and let the first of them make the environment's Python."""
    noted: Commands = []

    def note(command: list[str], _: str) -> None:
        noted.append(command)
        environment.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        environment.PYTHON.touch()

    monkeypatch.setattr(environment, "_run", note)
    monkeypatch.setattr(environment, "_works", lambda python: Path(python).exists())
    return noted


def test_the_first_call_makes_an_environment_and_installs_the_pinned_versions(
    environment: ModuleType, commands: Commands, tmp_path: Path
) -> None:
    assert environment.ensure() == tmp_path / ".venv" / "bin" / "python"
    assert commands[0][1:4] == ["-m", "venv", "--clear"]
    assert commands[1][-4:-1] == ["--constraint", str(tmp_path / "constraints.txt"), "--editable"]
    assert len(commands) == 2


def test_a_second_call_changes_nothing(environment: ModuleType, commands: Commands) -> None:
    environment.ensure()
    before = environment.STAMP.stat().st_mtime_ns
    environment.ensure()
    assert len(commands) == 2
    assert environment.STAMP.stat().st_mtime_ns == before


def test_an_extra_is_added_to_those_that_are_there_and_asked_for_once(
    environment: ModuleType, commands: Commands, tmp_path: Path
) -> None:
    for extras in (("b",), ("a", "b"), ("a",), ()):
        environment.ensure(*extras)
    assert [command[-1] for command in commands if "pip" in command] == [f"{tmp_path}[b]", f"{tmp_path}[a,b]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_dependencies_are_installed_into_the_same_environment(
    name: str, environment: ModuleType, commands: Commands, tmp_path: Path
) -> None:
    environment.ensure()
    (tmp_path / name).write_text("changed")
    environment.ensure()
    assert [command[2] for command in commands] == ["venv", "pip", "pip"]


def test_an_environment_whose_python_is_gone_is_made_again(environment: ModuleType, commands: Commands) -> None:
    environment.ensure()
    environment.PYTHON.unlink()
    environment.ensure()
    assert [command[2] for command in commands] == ["venv", "pip", "venv", "pip"]


def test_a_failed_install_says_what_to_do_and_is_not_taken_for_done(
    environment: ModuleType, commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.ensure()
    (tmp_path / "constraints.txt").write_text("changed")

    def fail(_: list[str], complaint: str) -> None:
        sys.exit(f"error: {complaint}")

    monkeypatch.setattr(environment, "_run", fail)
    with pytest.raises(SystemExit, match=r"the install failed(.|\n)*run the same command again"):
        environment.ensure()
    assert not environment.STAMP.exists()
    assert len(commands) == 2


def test_a_command_that_fails_ends_with_its_complaint(environment: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"^error: it failed$"):
        environment._run([sys.executable, "-c", "raise SystemExit(3)"], "it failed")


def test_an_old_python_looks_for_a_newer_one(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/bin/{name}" if name == "python3.12" else None)
    monkeypatch.setattr(environment, "_works", lambda _: True)
    assert environment._suitable_python() == "/bin/python3.12"


def test_without_a_newer_one_it_says_what_is_needed(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match=r"^error: recdl needs Python 3\.11 to 3\.13; (.|\n)*Install one"):
        environment._suitable_python()


def test_the_bounds_are_those_of_the_package(environment: ModuleType) -> None:
    text = (SCRIPTS.parent / "pyproject.toml").read_text(encoding="utf-8")
    oldest, too_new = (".".join(map(str, version)) for version in (environment.OLDEST, environment.TOO_NEW))
    assert f'requires-python = ">={oldest},<{too_new}"' in text


def test_a_script_without_recdl_says_how_to_get_it(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match=r"^error: recdl is not installed(.|\n)*scripts/main_job\.py"):
        environment.run_verb("train")
