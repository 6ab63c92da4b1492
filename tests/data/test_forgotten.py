"""Users who were forgotten stay so, whatever is prepared below the root afterwards."""

from pathlib import Path

import pytest

from recdl.data.forgotten import Forgotten
from recdl.data.privacy import Privacy
from recdl.errors import RecordError
from tests.data.files import HEADER, dropped, events, prepared

LOG = HEADER + "ann,x,1\nann,y,2\nbob,x,3\n"


def forget(tmp_path: Path, *users: str) -> None:
    Forgotten.open(tmp_path / "prepared").with_users(users).save(tmp_path / "prepared")


def test_a_later_preparation_drops_and_counts_them(tmp_path: Path) -> None:
    forget(tmp_path, "ann")
    log = prepared(tmp_path, LOG)
    assert [user for user, *_ in events(log)] == ["bob"]
    assert dropped(log) == {"forgotten": 2}


@pytest.mark.parametrize("by_pseudonym", [False, True])
def test_so_does_one_with_pseudonyms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_pseudonym: bool) -> None:
    monkeypatch.setenv("RECDL_KEY", "a key of more than sixteen bytes")
    privacy = Privacy(pseudonyms=("user",))
    key = privacy.key()
    assert key is not None
    ann, bob = key.pseudonyms("user", ["ann", "bob"])
    forget(tmp_path, ann if by_pseudonym else "ann")
    log = prepared(tmp_path, LOG, privacy=privacy)
    assert log.users.to_arrow().to_pylist() == [bob]
    assert dropped(log) == {"forgotten": 2}


def test_the_list_holds_no_id_and_grows(tmp_path: Path) -> None:
    forget(tmp_path, "ann.smith@example.org")
    forget(tmp_path, "bob")
    text = (tmp_path / "prepared" / "forgotten.json").read_text()
    assert "ann.smith" not in text
    known = Forgotten.open(tmp_path / "prepared").known(["ann.smith@example.org", "bob", "cat"])
    assert known == [True, True, False]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is damaged .*restore it from a backup"),
        ('{"format_version": 1, "salt": "no hex", "users": []}', "is damaged"),
        ('{"format_version": 2, "salt": "00", "users": []}', "is of format 2, this recdl reads format 1"),
    ],
)
def test_nothing_is_prepared_beside_a_damaged_list(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "forgotten.json").write_text(content)
    with pytest.raises(RecordError, match=complaint):
        prepared(tmp_path, LOG)
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["forgotten.json"]
