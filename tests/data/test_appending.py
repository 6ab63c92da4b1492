"""A later piece added to a prepared log: what preparing both gives, while what was numbered keeps its number."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data.forgetting import forget_users
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import Privacy
from recdl.data.sources import Columns, Filters
from recdl.data.splits import LeaveLastOut, split_log
from recdl.errors import DataError
from tests.data.files import HEADER, csv_log, dropped, events, left_behind, prepared
from tests.data.growing import FULL, NEW, OLD, SECRET, appended, by_user, everything, ids

Row = tuple[str, str, int, str, str]


@pytest.fixture(autouse=True, scope="module")
def key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECDL_KEY", SECRET)
        yield


@st.composite
def rows(draw: st.DrawFn, min_size: int = 1) -> list[Row]:
    row = st.tuples(
        st.sampled_from(["ann", "bob", "cat", "dan", "Zoe", "ümit", "007"]),
        st.sampled_from("pqrsTU"),
        st.integers(0, 4),
        st.sampled_from(["view", "buy"]),
        st.sampled_from(["1", "2.5", "-3"]),
    )
    return draw(st.lists(row, min_size=min_size, max_size=25))


def text_of(*parts: list[Row]) -> str:
    return FULL + "".join(",".join(map(str, row)) + "\n" for part in parts for row in part)


@st.composite
def log_settings(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "columns": Columns(behavior="behavior", weight=draw(st.sampled_from([None, "weight"]))),
        "behaviors": {"view": ("view",), "buy": ("buy",)},
        "privacy": Privacy(
            pseudonyms=draw(st.sampled_from([(), ("user",), ("user", "item")])),
            times=draw(st.sampled_from([None, "3s"])),
        ),
    }


@settings(max_examples=6)
@given(rows(), rows(min_size=0), log_settings())
def test_it_holds_what_preparing_both_gives_and_old_indices_stay(
    first: list[Row], second: list[Row], given_: dict[str, Any]
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        old = prepared(folder, text_of(first), **given_)
        before = everything(old.folder)
        both = csv_log(folder / "both.csv", text_of(first, second), **given_)
        joint = prepare(both, folder / "joint", progress=False)
        new = appended(old, text_of(second))
        assert by_user(new) == by_user(joint)
        for mine, theirs, whole in zip(ids(new), ids(old), ids(joint), strict=True):
            assert mine[: len(theirs)] == theirs
            assert mine[len(theirs) :] == sorted(set(whole) - set(theirs), key=str.encode)
        assert everything(old.folder) == before
        counts = new.manifest["counts"]
        n_read = len(first) + (len(second) if new.folder != old.folder else 0)
        assert sum(counts["dropped"].values()) + counts["events"] == counts["rows_read"] == n_read
        assert counts["events_by_behavior"] == joint.manifest["counts"]["events_by_behavior"]
        assert PreparedLog.open(new.folder).fingerprint == new.fingerprint
        again = appended(new, text_of(second))
        assert (again.folder, again.fingerprint) == (new.folder, new.fingerprint)
        assert (new.folder == old.folder) == (new.interactions.n_events == old.interactions.n_events)


@settings(max_examples=4)
@given(rows(), rows(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_limits_hold_of_the_whole_and_what_had_passed_stays(
    first: list[Row], second: list[Row], of_users: int, of_items: int, users: int
) -> None:
    limits = {"columns": Columns(), "filters": Filters(None, of_users, of_items, users)}
    with TemporaryDirectory() as name:
        folder = Path(name)
        try:
            old = prepared(folder, text_of(first), **limits)
        except DataError:  # nothing passes
            return
        new = appended(old, text_of(second))
        there = "".join(f"{user},{item},{time // 1_000_000}\n" for user, item, _, time in events(old))
        piece = "".join(f"{user},{item},{time}\n" for user, item, time, *_ in second)
        both = csv_log(folder / "both.csv", HEADER + there + piece, **limits)
        joint = prepare(both, folder / "joint", progress=False)
        assert by_user(new) == by_user(joint)
        assert [mine[: len(theirs)] for mine, theirs in zip(ids(new), ids(old), strict=True)] == [*ids(old)]
        again = appended(new, text_of(second))
        assert again.fingerprint == new.fingerprint


@settings(max_examples=3)
@given(rows(), rows(), rows())
def test_pieces_may_come_one_after_the_other(one: list[Row], two: list[Row], three: list[Row]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        old = prepared(folder, text_of(one))
        last = appended(appended(old, text_of(two)), text_of(three))
        joint = prepare(csv_log(folder / "all.csv", text_of(one, two, three)), folder / "joint", progress=False)
        assert by_user(last) == by_user(joint)


@settings(max_examples=3)
@given(rows(), rows())
def test_users_can_be_forgotten_in_it_and_stay_out_of_later_pieces(first: list[Row], second: list[Row]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        new = appended(prepared(folder, text_of(first)), text_of(second))
        before = by_user(new)
        gone = first[0][0]
        done = forget_users(folder / "prepared", [gone])
        left = {user: own for user, own in before.items() if user != gone}
        if not left:
            assert not new.folder.exists()
            return
        after = PreparedLog.open(new.folder)
        assert by_user(after) == left
        assert new.fingerprint in done.forgotten.logs
        assert after.grown_from(new.fingerprint) is None
        assert gone not in by_user(appended(after, text_of(first)))


@settings(max_examples=3)
@given(rows(), rows())
def test_it_is_split_as_the_joint_log_is(first: list[Row], second: list[Row]) -> None:
    def parts(log: PreparedLog) -> list[Any]:
        split = split_log(LeaveLastOut(), log)
        train = log.users.ids(split.train.users), log.items.ids(split.train.items), split.train.timestamps
        asked, targets = split.test.queries, split.test
        known = [
            log.items.ids(asked.items[start:end]).tolist()
            for start, end in zip(asked.starts, asked.ends, strict=True)
        ]
        sought = np.split(log.items.ids(targets.target_items), targets.target_offsets[1:-1])
        tests = zip(log.users.ids(asked.users).tolist(), known, map(sorted, sought), strict=True)
        return [sorted(zip(*(part.tolist() for part in train), strict=True)), sorted(tests)]

    with TemporaryDirectory() as name:
        folder = Path(name)
        new = appended(prepared(folder, text_of(first)), text_of(second))
        joint = prepare(csv_log(folder / "both.csv", text_of(first, second)), folder / "joint", progress=False)
        try:
            expected = parts(joint)
        except DataError:
            with pytest.raises(DataError):
                parts(new)
            return
        assert parts(new) == expected


def test_what_came_is_told_in_numbers(tmp_path: Path) -> None:
    old = prepared(tmp_path, OLD)
    new = appended(old, NEW)
    assert by_user(new) == {
        user: [(item, "interaction", time * 1_000_000, None) for item, time in own]
        for user, own in {
            "ann": [("x", 1), ("a", 3), ("y", 5)],
            "bob": [("y", 2), ("z", 7)],
            "abe": [("x", 4)],
        }.items()
    }
    assert ids(new) == (["ann", "bob", "abe"], ["x", "y", "a", "z"])
    (piece,) = new.manifest["pieces"]
    assert {name: piece[name] for name in ("rows_read", "events", "late", "users", "items")} == {
        "rows_read": 4,
        "events": 3,
        "late": 1,
        "users": 1,
        "items": 2,
    }
    assert dropped(new) == {"duplicate": 1}
    assert new.manifest["appended_to"] == [{"fingerprint": old.fingerprint, "users": 2, "items": 2}]
    assert new.folder != old.folder and new.folder.parent == old.folder.parent


def test_a_log_says_which_of_its_indices_are_those_of_a_log_it_grew_from(tmp_path: Path) -> None:
    old = prepared(tmp_path, OLD)
    new = appended(old, NEW)
    last = appended(new, HEADER + "eve,w,9\n")
    assert last.grown_from(old.fingerprint) == (2, 2)
    assert last.grown_from(new.fingerprint) == (3, 4)
    assert last.grown_from(last.fingerprint) == (4, 5)
    assert old.grown_from(last.fingerprint) is None
    assert [piece["events"] for piece in last.manifest["pieces"]] == [3, 1]


def test_many_events_of_large_logs_go_in_by_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lines = [f"u{rng.integers(40)},i{rng.integers(30)},{rng.integers(500)}\n" for _ in range(900)]
    for module in ("appended_events._BATCH", "merging._BLOCK", "appended_tables._ROWS"):
        monkeypatch.setattr(f"recdl.data.{module}", 7)
    both = prepare(csv_log(tmp_path / "both.csv", HEADER + "".join(lines)), tmp_path / "joint", progress=False)
    for cut in (20, 450, 880):
        new = appended(prepared(tmp_path, HEADER + "".join(lines[:cut])), HEADER + "".join(lines[cut:]))
        assert by_user(new) == by_user(both)


@pytest.mark.parametrize("rest", ["", "ann,x,1\nann,x,1\nbob,y,2\n"])
def test_a_piece_without_anything_new_changes_nothing(tmp_path: Path, rest: str) -> None:
    old = prepared(tmp_path, OLD)
    before = everything(old.folder.parent)
    assert appended(old, HEADER + rest) is old
    assert everything(old.folder.parent) == before


def test_the_same_piece_is_appended_once(tmp_path: Path) -> None:
    old = prepared(tmp_path, OLD)
    new = appended(old, NEW)
    assert appended(old, NEW).folder == new.folder
    assert len(left_behind(old.folder.parent)) == 2


def test_what_is_left_out_is_counted_and_a_piece_of_nothing_else_is_an_error(tmp_path: Path) -> None:
    old = prepared(tmp_path, OLD, end="1970-01-01T00:00:06")
    assert dropped(appended(old, NEW)) == {"outside_period": 1, "duplicate": 1}
    with pytest.raises(DataError, match=r"nothing is left of 1 rows; .*outside_period 1.*state data\.start"):
        appended(old, HEADER + "bob,z,7\n")
    assert len(left_behind(old.folder.parent)) == 2
    assert appended(old, HEADER + "bob,z,7\n", end="1970-01-02").interactions.n_events == 4
