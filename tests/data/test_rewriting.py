"""A prepared log written anew and put in its place."""

from pathlib import Path

import pytest

from recdl.data import rewriting
from recdl.data.forgetting import forget_users
from recdl.data.prepared import PreparedLog
from tests.data.files import HEADER, prepared


def test_folders_are_swapped_in_two_steps_where_one_does_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "_exchange", lambda *_: False)
    folder = prepared(tmp_path, HEADER + "ann,x,1\nbob,x,3\ncat,z,4\n").folder
    forget_users(tmp_path / "prepared", ["ann"])
    assert len(PreparedLog.open(folder).users) == 2
    assert not [path for path in (tmp_path / "prepared").iterdir() if path.is_dir() and path != folder]
