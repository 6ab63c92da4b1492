"""A preparation that is killed: nothing is taken for whole, and the next one cleans up after it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recdl.data.engines.embedded import Embedded
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sources import CsvLog, Filters
from recdl.storage import held, is_held

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a system without SIGKILL")

_KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from recdl import storage
from recdl.data import plain, preparation
from recdl.data.sources import CsvLog, Filters

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def kill_after(inner):
    def called(*arguments, **settings):
        inner(*arguments, **settings)
        kill()
    return called

def kill_within(inner):
    def called(*arguments, **settings):
        for batch in inner(*arguments, **settings):
            yield batch
            kill()
    return called

stage, path, root = sys.argv[1:]
if stage == "rows read":
    preparation.audit = kill
elif stage == "encoded":
    preparation._encode = kill_after(preparation._encode)
elif stage == "an array half written":
    preparation._distinct = kill_within(preparation._distinct)
elif stage == "arrays written":
    preparation._filtered = kill
elif stage == "filtered":
    preparation._filtered = kill_after(preparation._filtered)
elif stage == "read without an engine":
    plain._ENOUGH = 0
    preparation._sorted_here = kill
elif stage == "scratch half removed":
    inner = shutil.rmtree
    def half(path, **settings):
        if Path(path).name != "scratch":
            return inner(path, **settings)
        next(one for one in Path(path).rglob("*") if one.is_file()).unlink()
        kill()
    preparation.shutil.rmtree = half
elif stage == "all but the manifest":
    preparation.write_json = kill
elif stage == "all written":
    preparation.write_json = kill_after(preparation.write_json)
elif stage == "in place":
    Path.rename = kill_after(Path.rename)
log = CsvLog(name="log", path=path, filters=Filters(min_user_events=2))
preparation.prepare(log, Path(root), progress=False)
"""
_STAGES = (
    "rows read",
    "encoded",
    "an array half written",
    "arrays written",
    "filtered",
    "read without an engine",
    "scratch half removed",
    "all but the manifest",
    "all written",
)


def log_file(folder: Path) -> Path:
    path = folder / "log.csv"
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"u{n % 3},i{n % 5},{n}\n" for n in range(20)))
    return path


def kill_at(stage: str, path: Path, root: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, stage, str(path), str(root)])
    assert killed.returncode == -signal.SIGKILL


def prepared(path: Path, root: Path, *, engine: Embedded | None = None) -> PreparedLog:
    log = CsvLog(name="log", path=str(path), filters=Filters(min_user_events=2))
    return prepare(log, root, engine=engine, progress=False)


@pytest.mark.parametrize("stage", _STAGES)
def test_nothing_is_taken_for_whole_and_the_next_preparation_removes_what_is_left(
    tmp_path: Path, stage: str
) -> None:
    path, root = log_file(tmp_path), tmp_path / "prepared"
    kill_at(stage, path, root)
    (left,) = root.iterdir()
    assert left.name.startswith(".log-") and left.name.endswith(".partial")
    log = prepared(path, root)
    assert [one.name for one in root.iterdir()] == [log.folder.name]
    assert not (log.folder / "scratch").exists()
    assert log.fingerprint == prepared(path, tmp_path / "undisturbed").fingerprint


def test_what_is_in_its_place_when_the_process_is_killed_is_whole(tmp_path: Path) -> None:
    path, root = log_file(tmp_path), tmp_path / "prepared"
    kill_at("in place", path, root)
    (folder,) = root.iterdir()
    assert PreparedLog.open(folder).fingerprint == prepared(path, tmp_path / "undisturbed").fingerprint


def test_a_folder_that_another_container_is_filling_is_left_alone(tmp_path: Path) -> None:
    path, root = log_file(tmp_path), tmp_path / "prepared"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    filling = root / f".log-abc.{ended.pid}.partial"  # a number that no process here has
    filling.mkdir(parents=True)
    with held(filling):
        prepared(path, root)
    assert filling.is_dir()


def test_a_folder_is_held_as_long_as_it_is_filled(tmp_path: Path) -> None:
    with held(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
