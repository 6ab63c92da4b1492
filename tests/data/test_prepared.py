"""The prepared folder: what is taken for whole, and what is not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog, content_fingerprint
from recdl.data.prepared_source import PreparedSource
from recdl.data.vocabulary import Vocabulary
from recdl.errors import ConfigError, RecordError
from tests.data.files import HEADER, prepared
from tests.logs import log_of_events


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepared(tmp_path, HEADER + "a,x,1\na,y,2\nb,x,3\n").folder


def test_an_opened_log_is_memory_mapped(folder: Path) -> None:
    log = PreparedLog.open(folder)
    assert isinstance(log.interactions.timestamps, np.memmap)
    assert log.manifest["fingerprint"] == log.fingerprint


def test_the_fingerprint_does_not_depend_on_the_place(folder: Path, tmp_path: Path) -> None:
    fingerprint = PreparedLog.open(folder).fingerprint
    shutil.move(folder, tmp_path / "elsewhere")
    assert PreparedLog.open(tmp_path / "elsewhere").fingerprint == fingerprint


def test_no_place_is_written_into_the_folder(folder: Path, tmp_path: Path) -> None:
    assert str(tmp_path) not in (folder / "manifest.json").read_text()


def test_a_prepared_log_is_a_source_that_is_only_opened(folder: Path, tmp_path: Path) -> None:
    log = prepare(PreparedSource(path=str(folder)), tmp_path / "unused", progress=False)
    assert (log.folder, log.fingerprint) == (folder, PreparedLog.open(folder).fingerprint)
    assert not (tmp_path / "unused").exists()
    with pytest.raises(RecordError, match="nowhere is no prepared log"):
        prepare(PreparedSource(path=str(tmp_path / "nowhere")), tmp_path / "unused", progress=False)
    with pytest.raises(ConfigError, match=r"data\.path: state the folder of the prepared log"):
        PreparedSource(path="")


@pytest.mark.parametrize("content", [None, "empty"])
def test_a_folder_without_manifest_is_no_prepared_log(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "log").mkdir()
    with pytest.raises(RecordError, match=r"is no prepared log: it has no manifest\.json; prepare the log first"):
        PreparedLog.open(tmp_path / "log")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\udcff"])
def test_a_damaged_manifest_is_named(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecordError, match=r"manifest\.json is damaged .*delete .* and prepare the log again"):
        PreparedLog.open(folder)


@pytest.mark.parametrize("key", ["counts", "fingerprint"])
def test_a_manifest_that_lacks_a_key_is_named(folder: Path, key: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest[key]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RecordError, match=f"lacks '{key}'"):
        PreparedLog.open(folder)


def test_another_format_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(RecordError, match="is of format 99, this recdl reads format 1"):
        PreparedLog.open(folder)


@pytest.mark.parametrize("name", ["offsets.npy", "items.npy", "users.parquet", "items.parquet"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_file_is_named(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-1] if damage == "cut" else b"")
    with pytest.raises(RecordError, match=name):
        PreparedLog.open(folder)


def test_a_changed_value_is_noticed(folder: Path) -> None:
    times = np.load(folder / "timestamps.npy")
    times[-1] += 1
    np.save(folder / "timestamps.npy", times)
    with pytest.raises(RecordError, match="does not hold what its manifest says"):
        PreparedLog.open(folder)


def test_a_changed_id_is_noticed(folder: Path) -> None:
    Vocabulary(["a", "c"]).save(folder / "users.parquet")
    with pytest.raises(RecordError, match="does not hold what its manifest says"):
        PreparedLog.open(folder)


def test_the_fingerprint_tells_ids_apart_that_read_the_same_in_a_row() -> None:
    log = log_of_events([(0, 1, 0, 0), (1, 1, 0, 0)], n_users=2, n_items=1)
    items = Vocabulary(["x"])
    one = content_fingerprint(log, Vocabulary(["ab", "c"]), items)
    assert one != content_fingerprint(log, Vocabulary(["a", "bc"]), items)
    assert one == content_fingerprint(log, Vocabulary(Vocabulary(["", "ab", "c"]).to_arrow()[1:]), items)


def test_an_empty_vocabulary_has_a_fingerprint() -> None:
    log = log_of_events([], n_users=0, n_items=0)
    assert len(content_fingerprint(log, Vocabulary([]), Vocabulary([]))) == 64
