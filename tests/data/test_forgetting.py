"""Users taken out of prepared logs: what is left is what preparation without them gives."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data.forgetting import Forgetting, forget_users
from recdl.data.forgotten import Forgotten
from recdl.data.inputs import AttributeTable
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import Key, Privacy
from recdl.data.sources import Columns, Filters
from recdl.errors import DataError, RecordError
from tests.data.files import HEADER, csv_log, events, prepared

SECRET = "a key of more than sixteen bytes"
KEY = Key(SECRET.encode())
LOG = HEADER + "ann,x,1\nann,y,2\nbob,x,3\ncat,z,4\n"
USERS = [f"user{number}-of-the-shop" for number in range(6)]


def forget(tmp_path: Path, *users: str, **settings: Any) -> Forgetting:
    return forget_users(tmp_path / "prepared", users, **settings)


def files(folder: Path) -> dict[str, bytes]:
    """Every file but the manifest, which tells how the log came about."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def everything(folder: Path) -> bytes:
    return b"".join(str(path).encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file())


def comparable(log: PreparedLog) -> dict[str, Any]:
    """What the manifest says, but for its past, and for raw rows by reason: what became of them is not known."""
    manifest = json.loads(json.dumps(log.manifest)) | {"earlier_fingerprints": None}
    del manifest["counts"]["dropped"]
    for table in manifest["tables"].values():
        del table["without_id"], table["not_in_the_log"]
    return manifest


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, dict[str, Any], list[str]]:
    """A log with a weight and a session a row, settings of its preparation, and users to forget."""
    row = st.tuples(
        st.sampled_from(USERS),
        st.sampled_from("pqrst"),
        st.integers(0, 7_200),
        st.sampled_from(["view", "buy"]),
        st.sampled_from(["1", "2.5", "-3"]),
        st.sampled_from(["s", "t", ""]),
    )
    rows = draw(st.lists(row, min_size=1, max_size=40))
    limits = st.integers(1, 3)
    settings: dict[str, Any] = {
        "columns": Columns(
            behavior="behavior",
            weight=draw(st.sampled_from([None, "weight"])),
            session=draw(st.sampled_from([None, "session"])),
        ),
        "filters": Filters(None, draw(limits), draw(limits), draw(limits)),
        "privacy": Privacy(
            pseudonyms=draw(st.sampled_from([(), ("user",), ("user", "item")])),
            times=draw(st.sampled_from([None, "hour"])),
        ),
    }
    heading = "user_id,item_id,timestamp,behavior,weight,session\n"
    text = heading + "".join(",".join(map(str, row)) + "\n" for row in rows)
    return text, settings, draw(st.lists(st.sampled_from([*USERS, "stranger"]), min_size=1, max_size=3))


def with_tables(folder: Path) -> dict[str, AttributeTable]:
    """Tables that lack some users and items, and know others that have no event."""
    known = "".join(f"{user},{number},Rome{number}\n" for number, user in enumerate([*USERS[1:], "nobody"]))
    (folder / "users.csv").write_text("id,age,city\n" + known)
    (folder / "items.csv").write_text("id,color\np,red\nq,red\nr,\nv,blue\n")
    return {
        "user_table": AttributeTable(path=str(folder / "users.csv"), numbers=("age",)),
        "item_table": AttributeTable(path=str(folder / "items.csv")),
    }


@pytest.fixture(autouse=True, scope="module")
def key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECDL_KEY", SECRET)
        yield


@settings(max_examples=15)
@given(cases())
def test_what_is_left_is_what_preparation_with_the_list_gives(case: tuple[str, dict[str, Any], list[str]]) -> None:
    text, given, users = case
    with TemporaryDirectory() as name:
        folder = Path(name)
        log = csv_log(folder / "log.csv", text, **given, **with_tables(folder))
        try:
            before = prepare(log, folder / "prepared", progress=False)
        except DataError:  # the filters leave nothing
            return
        done = forget_users(folder / "prepared", users, key=KEY)
        shutil.copytree(folder / "prepared", folder / "other", ignore=shutil.ignore_patterns("log-*"))
        try:
            fresh = prepare(log, folder / "other", progress=False)
        except DataError:
            assert not before.folder.exists()
            assert [one.state for one in done.logs] == ["removed"]
            return
        rewritten = PreparedLog.open(before.folder)
        assert files(rewritten.folder) == files(fresh.folder)
        assert rewritten.fingerprint == fresh.fingerprint
        assert comparable(rewritten) == comparable(fresh)
        counts = rewritten.manifest["counts"]
        assert sum(counts["dropped"].values()) + counts["events"] == counts["rows_read"]
        raw = {*users} | set(KEY.pseudonyms("user", users))
        assert not any(one.encode() in everything(folder / "prepared") for one in raw - {"stranger"})


def test_a_log_of_several_blocks_is_rewritten_like_one_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = HEADER + "".join(f"u{row % 7},i{row % 5 + row % 3},{row}\n" for row in range(200))
    monkeypatch.setattr("recdl.data.core._BLOCK", 40)
    monkeypatch.setattr("recdl.data.rewriting._ROWS", 2)
    log = csv_log(tmp_path / "log.csv", text, filters=Filters(min_item_users=5), **with_tables(tmp_path))
    folder = prepare(log, tmp_path / "prepared", progress=False).folder
    forget(tmp_path, "u3", "u5")
    Forgotten.open(tmp_path / "prepared").save(tmp_path / "other")
    fresh = prepare(log, tmp_path / "other", progress=False)
    assert PreparedLog.open(folder).fingerprint == fresh.fingerprint


def test_the_outcome_is_told_in_numbers(tmp_path: Path) -> None:
    # Without ann only bob has x and y; below two users each they go, and bob with them.
    text = HEADER + "ann,x,1\nann,y,2\nbob,x,3\nbob,y,3\ncat,z,4\ndan,z,5\n"
    before = prepared(tmp_path, text, filters=Filters(min_item_users=2))
    done = forget(tmp_path, "ann", "stranger")
    (log,) = done.logs
    assert (done.given, done.repeated, done.found) == (2, 0, 1)
    assert (log.folder, log.state, log.problem) == (before.folder, "rewritten", None)
    assert (log.users, log.events) == (1, 2)
    assert (log.users_below_limits, log.events_below_limits, log.items) == (1, 2, 2)
    after = PreparedLog.open(before.folder)
    assert {name: n for name, n in after.manifest["counts"]["dropped"].items() if n} == {
        "forgotten": 2,
        "few_users": 2,
    }
    assert after.manifest["earlier_fingerprints"] == [before.fingerprint]
    assert done.forgotten.logs == {before.fingerprint}
    assert done.indices[before.fingerprint].tolist() == [0]


def test_a_second_call_finds_nobody_and_changes_nothing(tmp_path: Path) -> None:
    folder = prepared(tmp_path, LOG).folder
    forget(tmp_path, "ann")
    content = everything(tmp_path / "prepared")
    done = forget(tmp_path, "ann")
    assert (done.given, done.repeated, done.found) == (1, 1, 0)
    assert [one.state for one in done.logs] == ["untouched"]
    assert everything(tmp_path / "prepared") == content
    assert [user for user, *_ in events(PreparedLog.open(folder))] == ["bob", "cat"]


def test_every_log_below_the_root_is_cleaned_or_only_the_one_named(tmp_path: Path) -> None:
    one = prepared(tmp_path, LOG, name="one").folder
    other = prepared(tmp_path, LOG, name="other").folder
    forget(tmp_path, "ann", folder=other)
    assert [len(PreparedLog.open(folder).users) for folder in (one, other)] == [3, 2]
    forget(tmp_path)
    assert [len(PreparedLog.open(folder).users) for folder in (one, other)] == [2, 2]


def test_a_log_of_nobody_else_is_removed(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "ann,x,1\n")
    done = forget(tmp_path, "ann")
    assert [one.state for one in done.logs] == ["removed"]
    assert done.forgotten.logs == {log.fingerprint}
    assert sorted(path.name for path in (tmp_path / "prepared").iterdir()) == [
        ".forgetting.lock",
        "forgotten.json",
    ]


@pytest.mark.parametrize("secret", [None, "another key of more than sixteen bytes"])
def test_a_log_whose_key_was_not_given_is_told(tmp_path: Path, secret: str | None) -> None:
    prepared(tmp_path, LOG, privacy=Privacy(pseudonyms=("user",)))
    plain = prepared(tmp_path, LOG, name="plain")
    done = forget(tmp_path, "ann", key=None if secret is None else Key(secret.encode()))
    states = {one.folder.name.partition("-")[0]: (one.state, one.problem) for one in done.logs}
    problem = states["log"][1] or ""
    assert states["log"][0] == "untouched" and ("no key was given" if secret is None else "another key") in problem
    assert states["plain"] == ("rewritten", None)
    assert "ann" not in PreparedLog.open(plain.folder).users.to_arrow().to_pylist()


@pytest.mark.parametrize("raw", [False, True])
def test_users_of_a_log_with_pseudonyms_are_found_by_either_name(tmp_path: Path, raw: bool) -> None:
    folder = prepared(tmp_path, LOG, privacy=Privacy(pseudonyms=("user",))).folder
    (pseudonym,) = KEY.pseudonyms("user", ["ann"])
    done = forget(tmp_path, "ann", key=KEY) if raw else forget(tmp_path, pseudonym)
    assert [(one.state, one.problem) for one in done.logs] == [("rewritten", None)]
    assert pseudonym not in PreparedLog.open(folder).users.to_arrow().to_pylist()


def test_a_damaged_log_is_told_and_the_others_are_cleaned(tmp_path: Path) -> None:
    for name in ("arrays", "manifest", "vocabulary", "settings", "whole"):
        prepared(tmp_path, LOG, name=name)
    folders = {path.name.partition("-")[0]: path for path in (tmp_path / "prepared").glob("*-*")}
    (folders["arrays"] / "items.npy").write_bytes(b"no array")
    (folders["manifest"] / "manifest.json").write_text("{")
    (folders["vocabulary"] / "users.parquet").write_bytes(b"no table")
    manifest = json.loads((folders["settings"] / "manifest.json").read_text())
    (folders["settings"] / "manifest.json").write_text(json.dumps(manifest | {"settings": {}}))
    states = {one.folder.name.partition("-")[0]: one for one in forget(tmp_path, "ann").logs}
    assert {name: one.state for name, one in states.items() if one.problem} == dict.fromkeys(
        ("arrays", "manifest", "vocabulary", "settings"), "unreadable"
    )
    assert all(str(folders[name]) in (one.problem or str(folders[name])) for name, one in states.items())
    assert states["whole"].state == "rewritten"


def test_nothing_is_done_without_a_root_or_beside_a_damaged_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*prepared of prepared logs; say where"):
        forget(tmp_path, "ann")
    folder = prepared(tmp_path, LOG).folder
    (tmp_path / "prepared" / "forgotten.json").write_text("{")
    with pytest.raises(RecordError, match="restore it from a backup"):
        forget(tmp_path, "ann")
    assert len(PreparedLog.open(folder).users) == 3


def test_two_cannot_forget_at_once(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    prepared(tmp_path, LOG)
    with (tmp_path / "prepared" / ".forgetting.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is forgetting users"):
            forget(tmp_path, "ann")


def test_what_killed_preparations_left_is_removed_and_what_is_in_use_is_told(tmp_path: Path) -> None:
    prepared(tmp_path, LOG)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    root = tmp_path / "prepared"
    for process in (ended.pid, os.getpid()):
        (root / f".log-abc.{process}.partial").mkdir()
        (root / f".snapshot-{process}-xyz").mkdir()
        (root / f".ordered-{process}-xyz" / "deep").mkdir(parents=True)
        (root / f".some.json.{process}.partial").touch()
    leftovers = forget(tmp_path, "ann").leftovers
    assert leftovers.removed == 4
    assert all(str(os.getpid()) in path.name and path.exists() for path in leftovers.in_use)
    assert len(leftovers.in_use) == 4
    assert not [path for path in root.iterdir() if str(ended.pid) in path.name]


def test_a_log_that_was_being_prepared_meanwhile_does_not_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recdl.data import preparation

    inner = preparation._write

    def forget_then_write(*arguments: Any) -> None:
        inner(*arguments)
        forget(tmp_path, "ann")

    monkeypatch.setattr(preparation, "_write", forget_then_write)
    with pytest.raises(
        DataError, match=r"users were forgotten in .* while the log was prepared; prepare it again"
    ):
        prepared(tmp_path, LOG)
    monkeypatch.undo()
    assert not list((tmp_path / "prepared").glob("*-*"))
    assert "ann" not in prepared(tmp_path, LOG).users.to_arrow().to_pylist()


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepared(tmp_path, LOG).folder
    content = everything(folder)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recdl.data.rewriting.write_json", full)
    with pytest.raises(DataError, match=r"cannot be written to .*No space left.*free some space"):
        forget(tmp_path, "ann")
    assert everything(folder) == content
    assert not [path for path in (tmp_path / "prepared").iterdir() if path.is_dir() and path != folder]
    monkeypatch.undo()
    assert [one.state for one in forget(tmp_path).logs] == ["rewritten"]


_KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from recdl.data import forgetting, rewriting

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

stage, steps, root = sys.argv[1], sys.argv[2], Path(sys.argv[3])
if steps == "two":
    rewriting._exchange = lambda *_: False
if stage == "list saved":
    forgetting._search = kill
elif stage == "logs known":
    forgetting.left_without = kill
elif stage == "arrays written":
    rewriting._write_vocabulary = kill
elif stage == "all written":
    rewriting.replace_folder = forgetting.replace_folder = kill
elif stage in ("whole", "between", "replaced"):
    rename, count = Path.rename, {"whole": 1, "between": 2, "replaced": 3}[stage]
    done = []
    def counted(self, target):
        rename(self, target)
        done.append(target)
        if len(done) == count:
            kill()
    Path.rename = counted
elif stage == "removing":
    def half(path, *_):
        next(Path(path).iterdir()).unlink()
        kill()
    shutil.rmtree = half
forgetting.forget_users(root, ["ann"])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a system without SIGKILL")
@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        (stage, "one")
        for stage in ("list saved", "logs known", "arrays written", "all written", "whole", "removing")
    ]
    + [(stage, "two") for stage in ("between", "replaced", "removing")],
)
def test_a_process_that_is_killed_leaves_a_whole_log_and_a_second_call_finishes(
    tmp_path: Path, stage: str, steps: str
) -> None:
    if steps == "one" and stage == "removing" and not sys.platform.startswith("linux"):
        pytest.skip("only Linux exchanges two folders in one step")
    folder = prepared(tmp_path, LOG).folder
    root = tmp_path / "prepared"
    killed = subprocess.run([sys.executable, "-c", _KILLED, stage, steps, str(root)])
    assert killed.returncode == -signal.SIGKILL
    assert Forgotten.open(root).known(["ann"]) == [True]
    swapped = stage in ("replaced", "removing")
    if stage == "between":  # the only moment without a folder: both lie beside it, whole
        assert not folder.exists()
        assert [
            len(PreparedLog.open(root / f".{folder.name}.{one}").users) for one in ("rewritten", "replaced")
        ] == [
            2,
            3,
        ]
    else:
        assert len(PreparedLog.open(folder).users) == (2 if swapped else 3)
    done = forget_users(root, ["ann"])
    assert done.repeated == 1
    assert [one.state for one in done.logs] == ["untouched" if swapped or stage == "between" else "rewritten"]
    assert len(PreparedLog.open(folder).users) == 2
    assert sorted(path.name for path in root.iterdir()) == [".forgetting.lock", "forgotten.json", folder.name]
    assert len(done.forgotten.logs) == 1
    assert b"ann" not in everything(root)


@pytest.mark.parametrize("order", [["ann"], ["bob", "ann"]])
def test_users_forgotten_one_after_the_other_are_as_if_at_once(tmp_path: Path, order: Sequence[str]) -> None:
    log = csv_log(tmp_path / "log.csv", LOG)
    before = prepare(log, tmp_path / "prepared", progress=False)
    seen = [before.fingerprint]
    for user in order:
        forget(tmp_path, user)
        seen.append(PreparedLog.open(before.folder).fingerprint)
    Forgotten.open(tmp_path / "prepared").save(tmp_path / "other")
    fresh = prepare(log, tmp_path / "other", progress=False)
    after = PreparedLog.open(before.folder)
    assert files(after.folder) == files(fresh.folder)
    assert after.manifest["earlier_fingerprints"] == seen[:-1]
    assert Forgotten.open(tmp_path / "prepared").logs == set(seen[:-1])
