"""A later piece added while users are forgotten, a model is in use, or the process or the disk gives out."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recdl.data import appending
from recdl.data.forgetting import forget_users
from recdl.data.prepared import PreparedLog
from recdl.data.queries import Queries
from recdl.errors import DataError
from recdl.models.popularity import PersonalPopularity
from tests.data.files import HEADER, left_behind, prepared
from tests.data.growing import NEW, OLD, SECRET, appended, by_user, everything


@pytest.fixture(autouse=True, scope="module")
def key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECDL_KEY", SECRET)
        yield


def test_users_who_are_forgotten_meanwhile_do_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = prepared(tmp_path, OLD)
    inner = appending.encode_events

    def forget_then_encode(*arguments: Any) -> Any:
        forget_users(tmp_path / "prepared", ["abe"])
        return inner(*arguments)

    monkeypatch.setattr(appending, "encode_events", forget_then_encode)
    with pytest.raises(DataError, match=r"users were forgotten in .* while the log was appended to; do it again"):
        appended(old, NEW)
    monkeypatch.undo()
    assert "abe" not in by_user(appended(old, NEW))


def test_what_a_model_learned_from_the_old_log_holds_for_its_indices_in_the_new_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = [f"u{rng.integers(20)},i{rng.integers(11)},{time}\n" for time in range(200)] + ["u0,i11,200\n"]
    old = prepared(tmp_path, HEADER + "".join(lines))
    new = appended(old, HEADER + "aaa,i0,300\nu1,a0,301\nu1,i11,302\n")
    assert new.grown_from(old.fingerprint) == (20, 12)
    model = PersonalPopularity().fit(old.interactions)
    restored = PersonalPopularity().set_state(model.get_state())
    known = new.interactions.where(new.interactions.items < 12)
    asked = new.users.indices(["u1", "u2"])
    fresh = Queries.of_log(known, asked, known.offsets[asked], known.offsets[asked + 1])
    inner = old.interactions
    before = Queries.of_log(inner, asked, inner.offsets[asked], inner.offsets[asked + 1])
    own = [inner.items[start:end].tolist() for start, end in zip(before.starts, before.ends, strict=True)]
    i11 = int(old.items.indices(["i11"])[0])
    now = [known.items[start:end].tolist() for start, end in zip(fresh.starts, fresh.ends, strict=True)]
    assert now == [[*own[0], i11], own[1]]
    scores, expected = restored.score(fresh), model.score(before)
    assert scores.shape == expected.shape == (2, 12)
    assert np.array_equal(scores[1], expected[1])
    assert not np.array_equal(scores[0], expected[0])


_KILLED = """
import os, signal, sys
from pathlib import Path
from recdl.data import appending, merging
from recdl.data.inputs import Piece
from recdl.data.pieces import later_piece
from recdl.data.prepared import PreparedLog

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

stage, folder, piece = sys.argv[1:]
if stage == "read":
    appending.encode_events = kill
elif stage == "placed":
    appending.write_merged = kill
elif stage == "half an array":
    merging.np.insert = kill
elif stage == "arrays written":
    appending.content_fingerprint = kill
elif stage == "all written":
    written = appending.write_json
    appending.write_json = lambda *given: (written(*given), kill())
log = PreparedLog.open(Path(folder))
appending.append(log, later_piece(log, Piece(path=piece)), progress=False)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a system without SIGKILL")
@pytest.mark.parametrize("stage", ["placed", "half an array", "all written"])
def test_a_process_that_is_killed_leaves_the_old_log_and_no_half_of_a_new_one(tmp_path: Path, stage: str) -> None:
    old = prepared(tmp_path, OLD)
    before = everything(old.folder)
    (tmp_path / "piece.csv").write_text(NEW)
    killed = subprocess.run([sys.executable, "-c", _KILLED, stage, str(old.folder), str(tmp_path / "piece.csv")])
    assert killed.returncode == -signal.SIGKILL
    assert everything(old.folder) == before
    assert [path for path in left_behind(old.folder.parent) if not path.name.startswith(".")] == [old.folder]
    new = appended(old, NEW)
    assert PreparedLog.open(new.folder).interactions.n_events == 6
    assert forget_users(old.folder.parent, []).leftovers.removed == 1
    assert {path for path in left_behind(old.folder.parent) if path.is_dir()} == {old.folder, new.folder}


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = prepared(tmp_path, OLD)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(appending, "write_json", full)
    with pytest.raises(DataError, match=r"cannot be written to .*No space left.*free some space"):
        appended(old, NEW)
    assert left_behind(old.folder.parent) == [old.folder]
