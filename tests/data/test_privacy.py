"""Pseudonyms, coarse times and suppression: what a prepared log still says of persons."""

import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data.inputs import AttributeTable
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import Key, Privacy, find_key
from recdl.data.sources import Filters
from recdl.errors import ConfigError
from tests.data.files import HEADER, dropped, events, prepared

SECRET = "a key of more than sixteen bytes"
BOTH = Privacy(pseudonyms=("user", "item"))
USERS = Privacy(pseudonyms=("user",))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RECDL_KEY", SECRET)
    return SECRET


def pseudonym(kind: str, raw: str, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), f"{kind}:{raw}".encode(), hashlib.sha256).hexdigest()[:32]


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_ids_become_hmacs_under_the_key(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "ann,x,1\nann,ann,2\nbob,x,3\n", privacy=BOTH)
    expected = [("ann", "x", 1), ("ann", "ann", 2), ("bob", "x", 3)]
    assert sorted(events(log)) == sorted(
        (pseudonym("user", user), pseudonym("item", item), "interaction", time * 1_000_000)
        for user, item, time in expected
    )
    assert pseudonym("user", "ann") != pseudonym("item", "ann")


def test_pseudonyms_are_numbered_by_themselves_and_not_by_what_they_stand_for(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "".join(f"u{n},x,1\n" for n in range(50)), privacy=USERS)
    ids = log.users.to_arrow().to_pylist()
    assert ids == sorted(ids) == sorted(pseudonym("user", f"u{n}") for n in range(50))


def test_neither_a_raw_id_nor_the_key_is_left_in_the_folder(tmp_path: Path) -> None:
    table = tmp_path / "users.csv"
    table.write_text("user_id,city\nann.smith@example.org,Rome\n")
    log = prepared(
        tmp_path,
        HEADER + "ann.smith@example.org,x-raw-item,1\n",
        privacy=BOTH,
        user_table=AttributeTable(path=str(table), id="user_id"),
    )
    content = everything(log.folder)
    for secret in (b"ann.smith", b"x-raw-item", SECRET.encode(), b"RECDL_KEY"):
        assert secret not in content


def test_tables_of_users_and_items_are_keyed_alike(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,city\nann,Rome\nbob,Oslo\ncat,Bonn\n")
    (tmp_path / "items.csv").write_text("item_id,color\nx,red\n")
    log = prepared(
        tmp_path,
        HEADER + "ann,x,1\nbob,y,2\ndan,x,3\n",
        privacy=BOTH,
        user_table=AttributeTable(path=str(tmp_path / "users.csv"), id="user_id"),
        item_table=AttributeTable(path=str(tmp_path / "items.csv"), id="item_id"),
    )
    assert log.user_table is not None and log.item_table is not None
    cities = dict(zip(log.users.to_arrow().to_pylist(), log.user_table["city"].to_pylist(), strict=True))
    assert cities == {
        pseudonym("user", "ann"): "Rome",
        pseudonym("user", "bob"): "Oslo",
        pseudonym("user", "dan"): None,
    }
    colors = dict(zip(log.items.to_arrow().to_pylist(), log.item_table["color"].to_pylist(), strict=True))
    assert colors == {pseudonym("item", "x"): "red", pseudonym("item", "y"): None}
    assert log.manifest["tables"]["user_table"]["not_in_the_log"] == 1


def test_another_key_is_another_log_and_the_same_key_finds_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(tmp_path, HEADER + "ann,x,1\n", privacy=USERS)
    in_file = tmp_path / "key"
    in_file.write_text(SECRET + "\n")
    monkeypatch.delenv("RECDL_KEY")
    again = prepared(tmp_path, HEADER + "ann,x,1\n", privacy=Privacy(("user",), key_file=str(in_file)))
    assert again.folder == first.folder
    in_file.write_text(SECRET + "2")
    other = prepared(tmp_path, HEADER + "ann,x,1\n", privacy=Privacy(("user",), key_file=str(in_file)))
    assert other.folder != first.folder
    assert other.users.to_arrow().to_pylist() == [pseudonym("user", "ann", SECRET + "2")]


def test_what_a_log_says_of_its_key_is_no_more_than_a_check(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "ann,x,1\n", privacy=USERS)
    known = log.manifest["settings"]["privacy"]
    assert known == {"pseudonyms": ["user"], "key_check": Key(SECRET.encode()).check}
    assert len(known["key_check"]) == 16
    assert SECRET not in repr(Key(SECRET.encode()))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (None, "the environment has no key in RECDL_KEY"),
        ("", "RECDL_KEY: 0 bytes are too short"),
        ("fifteen bytes..", "RECDL_KEY: 15 bytes are too short"),
    ],
)
def test_a_missing_or_short_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, complaint: str
) -> None:
    monkeypatch.delenv("RECDL_KEY")
    if given is not None:
        monkeypatch.setenv("RECDL_KEY", given)
    with pytest.raises(ConfigError, match=complaint) as refused:
        prepared(tmp_path, HEADER + "ann,x,1\n", privacy=USERS)
    assert not given or given not in str(refused.value)


def test_a_key_in_the_place_of_its_name_is_refused_and_not_shown(tmp_path: Path) -> None:
    secret = "0f-this-is-the-key-itself"
    with pytest.raises(ConfigError, match="key_variable: is the name of an environment variable") as refused:
        Privacy(("user",), key_variable=secret)
    assert secret not in str(refused.value)
    with pytest.raises(ConfigError, match="key_file: names no file that can be read") as refused:
        find_key("RECDL_KEY", str(tmp_path / secret))
    assert secret not in str(refused.value)


@pytest.mark.parametrize("given", [("user", "user"), ("shop",)])
def test_only_users_and_items_have_pseudonyms(given: Any) -> None:
    with pytest.raises(ConfigError, match="a list of user, item, both or none, each once"):
        Privacy(pseudonyms=given)


def test_a_rounding_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.privacy\.times .*'month' is no duration"):
        Privacy(times="month")


@pytest.mark.parametrize(
    ("times", "rounded"),
    [("minute", [-60, 0, 3600]), ("hour", [-3600, 0, 3600]), ("15m", [-900, 0, 3600]), ("day", [-86_400, 0, 0])],
)
def test_times_are_rounded_down_also_before_1970(tmp_path: Path, times: str, rounded: list[int]) -> None:
    log = prepared(tmp_path, HEADER + "a,x,-1\na,y,59\na,z,3659\n", privacy=Privacy(times=times))
    assert [time // 1_000_000 for *_, time in events(log)] == rounded


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 7200)), min_size=1))
def test_coarse_times_say_nothing_of_the_order_within_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]]
) -> None:
    def read(times: list[int]) -> PreparedLog:
        text = "".join(f"{user},{item},{time}\n" for (user, item, _), time in zip(rows, times, strict=True))
        return prepared(tmp_path_factory.mktemp("log"), HEADER + text, privacy=Privacy(times="hour"))

    exact = [time for *_, time in rows]
    turned = [time // 3600 * 3600 + 3599 - time % 3600 for time in exact]
    assert read(exact).fingerprint == read(turned).fingerprint
    assert set(events(read(exact))) == {
        (user, item, "interaction", time // 3600 * 3600 * 1_000_000) for user, item, time in rows
    }


def test_what_becomes_the_same_event_is_counted_as_a_duplicate(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1\na,x,2\n", privacy=Privacy(times="minute"))
    assert (len(events(log)), dropped(log)) == (1, {"duplicate": 1})


def test_items_of_few_users_are_dropped_and_counted_apart(tmp_path: Path) -> None:
    text = HEADER + "a,x,1\na,y,2\na,y,3\nb,x,1\nb,z,2\n"
    log = prepared(tmp_path, text, filters=Filters(min_item_users=2))
    assert [(user, item) for user, item, *_ in events(log)] == [("a", "x"), ("b", "x")]
    assert dropped(log) == {"few_users": 3}


Row = tuple[str, str, int]


def suppressed(rows: set[Row], min_user: int, min_item: int, min_users: int) -> set[Row]:
    """Drop what falls short, the slow and obvious way, until nothing does."""
    while True:
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        having = Counter(item for _, item in {row[:2] for row in rows})
        kept = {
            row
            for row in rows
            if users[row[0]] >= min_user and items[row[1]] >= min_item and having[row[1]] >= min_users
        }
        if kept == rows:
            return kept
        rows = kept


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from("vwxyz"), st.integers(1, 3)), min_size=8),
    *(st.integers(1, 3) for _ in range(3)),
)
def test_suppression_holds_for_all_that_is_left(
    tmp_path_factory: pytest.TempPathFactory, rows: set[Row], min_user: int, min_item: int, min_users: int
) -> None:
    left = suppressed(rows, min_user, min_item, min_users)
    if not left:
        return
    text = HEADER + "".join(f"{user},{item},{time}\n" for user, item, time in sorted(rows))
    filters = Filters(min_user_events=min_user, min_item_events=min_item, min_item_users=min_users)
    log = prepared(tmp_path_factory.mktemp("log"), text, filters=filters)
    assert {(user, item, time // 1_000_000) for user, item, _, time in events(log)} == left
    assert sum(dropped(log).values()) == len(rows) - len(left)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_item_users: 0 is below 1"):
        Filters(min_item_users=0)


def test_the_manifest_is_json_without_a_path_to_the_key(tmp_path: Path) -> None:
    in_file = tmp_path / "very-secret-place"
    in_file.write_text(SECRET)
    log = prepared(tmp_path, HEADER + "ann,x,1\n", privacy=Privacy(("user",), key_file=str(in_file)))
    assert "very-secret-place" not in json.dumps(log.manifest)
