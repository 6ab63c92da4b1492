"""A later piece added to a prepared log: what preparing both gives, while what was numbered keeps its number."""

import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data import appending
from recdl.data.appending import append
from recdl.data.forgetting import forget_users
from recdl.data.inputs import AttributeTable, Piece
from recdl.data.ordered import OrderedLog
from recdl.data.pieces import later_piece
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import Key, Privacy
from recdl.data.queries import Queries
from recdl.data.sources import Columns, CsvLog, Filters, JsonLog, TableLog, Time
from recdl.data.splits import LeaveLastOut, split_log
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.popularity import PersonalPopularity
from tests.data.files import HEADER, csv_log, dropped, events, left_behind, prepared

SECRET = "a key of more than sixteen bytes"
OLD = HEADER + "ann,x,1\nbob,y,2\nann,y,5\n"
NEW = HEADER + "abe,x,4\nann,a,3\nann,y,5\nbob,z,7\n"
FULL = "user_id,item_id,timestamp,behavior,weight\n"
Row = tuple[str, str, int, str, str]


@pytest.fixture(autouse=True, scope="module")
def key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECDL_KEY", SECRET)
        yield


def appended(log: PreparedLog, text: str, **said: Any) -> PreparedLog:
    """Append a piece in CSV to a log that was prepared from CSV."""
    path = log.folder.parent.parent / "piece.csv"
    path.write_text(text)
    new_behaviors = said.pop("new_behaviors", ())
    piece = later_piece(log, Piece(path=str(path), **said))
    return append(log, piece, new_behaviors=new_behaviors, progress=False)


def by_user(log: PreparedLog) -> dict[str, list[tuple[Any, ...]]]:
    """The events of each user in their order, by raw ids, with weights."""
    weights = log.interactions.weights
    numbers = [None] * log.interactions.n_events if weights is None else weights.tolist()
    found: dict[str, list[tuple[Any, ...]]] = {}
    for (user, *event), weight in zip(events(log), numbers, strict=True):
        found.setdefault(user, []).append((*event, weight))
    return found


def ids(log: PreparedLog) -> tuple[list[str], list[str]]:
    return log.users.to_arrow().to_pylist(), log.items.to_arrow().to_pylist()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


def test_a_new_behavior_is_an_error_unless_it_is_named(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,behavior\n"
    old = prepared(tmp_path, text + "ann,x,1,view\nann,x,2,buy\n", columns=Columns(behavior="behavior"))
    piece = text + "bob,x,3,back\nbob,x,4,view\n"
    with pytest.raises(DataError, match=r"log lacks: 'back' \(1 events\); the log has buy, view.*new_behaviors="):
        appended(old, piece)
    for said in ({"new_behaviors": ("gone", "back")}, {"behaviors": {"back": ("back",)}}):
        new = appended(old, piece, **said)
        assert new.interactions.behavior_names == ("buy", "view", "back")
        assert by_user(new)["bob"] == [("x", "back", 3_000_000, None), ("x", "view", 4_000_000, None)]


def test_raw_values_that_were_added_hold_for_later_pieces(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,behavior\n"
    funnel = {"view": ("pv",), "buy": ("b1",)}
    weights = {"buy": 5.0}
    old = prepared(
        tmp_path,
        text + "ann,x,1,pv\n",
        columns=Columns(behavior="behavior"),
        behaviors=funnel,
        behavior_weights=weights,
    )
    with pytest.raises(DataError, match=r"does not name: 'b2' \(1 rows\).*Add each to a behaviour's list"):
        appended(old, text + "ann,x,2,b2\n")
    new = appended(old, text + "ann,x,2,b2\nann,x,3,ret\n", behaviors={"buy": ("b2",), "return": ("ret",)})
    assert new.manifest["settings"]["behaviors"] == [["view", ["pv"]], ["buy", ["b1", "b2"]], ["return", ["ret"]]]
    assert new.interactions.behavior_weights == (1.0, 5.0, 1.0)
    last = appended(new, text + "ann,x,4,ret\nann,x,5,b2\nann,x,6,pv\n")
    assert [behavior for _, behavior, *_ in by_user(last)["ann"]] == [
        "view",
        "buy",
        "return",
        "return",
        "buy",
        "view",
    ]


def test_behaviors_that_were_filtered_out_stay_out(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,behavior\n"
    filters = Filters(behaviors=("view",))
    old = prepared(
        tmp_path, text + "ann,x,1,view\nann,x,2,buy\n", columns=Columns(behavior="behavior"), filters=filters
    )
    new = appended(old, text + "ann,x,3,buy\nann,x,4,view\n")
    assert (new.interactions.behavior_names, new.interactions.n_events) == (("view",), 2)
    assert dropped(new) == {"behavior_not_kept": 2}
    assert appended(old, text + "ann,x,3,buy\n") is old


def test_files_by_behavior_are_told_apart(tmp_path: Path) -> None:
    for name, line in {"views": "ann,x,1", "buys": "ann,x,2", "later": "ann,x,3", "backs": "ann,x,4"}.items():
        (tmp_path / f"{name}.csv").write_text(HEADER + line + "\n")
    path = {"view": str(tmp_path / "views.csv"), "buy": str(tmp_path / "buys.csv")}
    log = CsvLog(name="log", path=path, time=Time("s"))
    old = prepare(log, tmp_path / "prepared", progress=False)
    piece = later_piece(old, Piece(path={"buy": str(tmp_path / "later.csv"), "back": str(tmp_path / "backs.csv")}))
    with pytest.raises(DataError, match="'back'"):
        append(old, piece, progress=False)
    new = append(old, piece, new_behaviors=("back",), progress=False)
    assert [behavior for _, behavior, *_ in by_user(new)["ann"]] == ["view", "buy", "buy", "back"]


def test_tables_get_new_rows_and_changed_rows_and_keep_the_others(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,color,price\nx,red,1.5\ny,blue,2\n")
    table = AttributeTable(path=str(tmp_path / "items.csv"), numbers=("price",))
    (tmp_path / "users.csv").write_text("id,city\nann,Rome\n")
    users = AttributeTable(path=str(tmp_path / "users.csv"))
    old = prepared(tmp_path, OLD, item_table=table, user_table=users)
    (tmp_path / "more.csv").write_text("id,color,price\ny,green,\nz,pink,3\nw,grey,4\n")
    new = appended(old, NEW, item_table=str(tmp_path / "more.csv"))
    assert ids(new)[1] == ["x", "y", "a", "z"]
    assert new.item_table is not None and new.user_table is not None
    assert new.item_table.to_pydict() == {
        "color": ["red", "green", None, "pink"],
        "price": [1.5, None, None, 3.0],
    }
    assert new.user_table.to_pydict() == {"city": ["Rome", None, None]}
    assert new.manifest["tables"]["item_table"] == {
        "rows_read": 5,
        "without_id": 0,
        "not_in_the_log": 1,
        "missing": 1,
        "nulls": {"color": 1, "price": 2},
    }
    assert PreparedLog.open(new.folder).fingerprint == new.fingerprint


@pytest.mark.parametrize("piece", [OLD, HEADER])
def test_changed_rows_alone_make_a_new_log_and_the_same_rows_do_not(tmp_path: Path, piece: str) -> None:
    (tmp_path / "items.csv").write_text("id,color\nx,red\n")
    old = prepared(tmp_path, OLD, item_table=AttributeTable(path=str(tmp_path / "items.csv")))
    assert appended(old, piece, item_table=str(tmp_path / "items.csv")) is old
    (tmp_path / "more.csv").write_text("id,color\nx,blue\n")
    new = appended(old, piece, item_table=str(tmp_path / "more.csv"))
    assert new.fingerprint != old.fingerprint and by_user(new) == by_user(old)
    assert new.item_table is not None and new.item_table["color"].to_pylist() == ["blue", None]


def test_a_table_of_other_columns_or_of_a_log_without_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,color\nx,red\n")
    (tmp_path / "more.csv").write_text("id,size\nx,3\n")
    with pytest.raises(ConfigError, match=r"data\.item_table: the log was prepared without such a table"):
        appended(prepared(tmp_path, OLD), NEW, item_table=str(tmp_path / "items.csv"))
    old = prepared(tmp_path, OLD, item_table=AttributeTable(path=str(tmp_path / "items.csv")))
    with pytest.raises(DataError, match=r"data\.item_table: its columns are size, those of .* are color"):
        appended(old, NEW, item_table=str(tmp_path / "more.csv"))
    piece = csv_log(tmp_path / "piece.csv", NEW, user_table=AttributeTable(path=str(tmp_path / "items.csv")))
    with pytest.raises(DataError, match=r"data\.user_table: the log has no such table"):
        append(old, piece, progress=False)


def test_pseudonyms_are_of_the_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = prepared(tmp_path, OLD, privacy=Privacy(pseudonyms=("user",)))
    new = appended(old, NEW)
    ann, abe = Key(SECRET.encode()).pseudonyms("user", ["ann", "abe"])
    assert len(by_user(new)[ann]) == 3 and len(by_user(new)[abe]) == 1
    assert not any(
        name.encode() in content for content in everything(new.folder).values() for name in ("ann", "abe")
    )
    for piece in (csv_log(tmp_path / "piece.csv", NEW), None):
        monkeypatch.setenv("RECDL_KEY", "another key of more than sixteen bytes")
        with pytest.raises(DataError, match=r"other settings of data\.privacy, or another key"):
            append(old, piece, progress=False) if piece is not None else appended(old, NEW)
    monkeypatch.delenv("RECDL_KEY")
    with pytest.raises(ConfigError, match="the environment has no key in RECDL_KEY"):
        appended(old, NEW)


def test_a_log_that_still_holds_forgotten_users_is_not_appended_to(tmp_path: Path) -> None:
    old = prepared(tmp_path, OLD)
    kept = old.folder.rename(tmp_path / "kept")
    forget_users(tmp_path / "prepared", ["ann"])
    kept.rename(old.folder)
    with pytest.raises(DataError, match="holds users who were forgotten there; take them out of it first"):
        appended(PreparedLog.open(old.folder), NEW)


def test_who_was_in_a_log_before_is_known_to_have_been_in_it_after_forgetting(tmp_path: Path) -> None:
    old = prepared(tmp_path, OLD)
    new = appended(old, NEW)
    for folder in (old.folder,):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()  # runs that were trained on it are still there
    done = forget_users(tmp_path / "prepared", ["abe"])
    assert done.forgotten.logs == {new.fingerprint}
    done = forget_users(tmp_path / "prepared", ["ann"])
    assert old.fingerprint in done.forgotten.logs
    assert by_user(PreparedLog.open(new.folder)).keys() == {"bob"}


def test_a_log_without_times_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.tsv").write_text("user_id\titem_id\nann\tx\n")
    ordered = OrderedLog(name="log", path=str(tmp_path / "log.tsv"))
    log = prepare(ordered, tmp_path / "prepared", progress=False)
    with pytest.raises(DataError, match="has an order and no times"):
        append(log, csv_log(tmp_path / "piece.csv", NEW), progress=False)
    with pytest.raises(DataError, match="has an order and no times"):
        append(prepared(tmp_path, OLD), ordered, progress=False)
    with pytest.raises(ConfigError, match="came from a PlacedLog, whose settings do not say how files are read"):
        appended(log, NEW)


def test_a_log_that_names_sessions_is_refused(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,visit\nann,x,1,a\n"
    with pytest.raises(DataError, match="a log with sessions cannot be appended to, since their ids are not kept"):
        appended(prepared(tmp_path, text, columns=Columns(session="visit")), text)


def test_other_filters_or_weights_are_refused(tmp_path: Path) -> None:
    old = prepared(tmp_path, FULL + "ann,x,1,view,2\n", columns=Columns(weight="weight"))
    with pytest.raises(DataError, match=r"data\.columns\.weight: of the log and the piece, one has"):
        append(old, csv_log(tmp_path / "piece.csv", NEW), progress=False)
    plain = prepared(tmp_path, OLD)
    with pytest.raises(DataError, match=r"behavior_weights\.interaction: 2\.0, but in the log .* it is 1\.0"):
        append(plain, csv_log(tmp_path / "piece.csv", NEW, behavior_weights={"interaction": 2.0}), progress=False)
    with pytest.raises(DataError, match=r"data\.filters: .* was prepared with others"):
        append(plain, csv_log(tmp_path / "piece.csv", NEW, filters=Filters(min_user_events=2)), progress=False)


def test_every_kind_of_source_is_read_as_it_was(tmp_path: Path) -> None:
    columns = Columns("who", "what", "when")
    table = pa.table({"who": ["ann"], "what": ["x"], "when": [1]})
    shared: dict[str, Any] = {"name": "log", "columns": columns, "time": Time("s")}
    (tmp_path / "old.jsonl").write_text('{"who": "ann", "what": "x", "when": 1}\n')
    (tmp_path / "new.jsonl").write_text('{"who": "ann", "what": "y", "when": 2}\n')
    (tmp_path / "new.csv").write_text("who,what,when\nann,y,2\n")
    sources = {
        "new.jsonl": JsonLog(path=str(tmp_path / "old.jsonl"), **shared),
        "new.csv": TableLog(table=table, **shared),
    }
    for number, (piece, source) in enumerate(sources.items()):
        old = prepare(source, tmp_path / f"prepared{number}", progress=False)
        new = append(old, later_piece(old, Piece(path=str(tmp_path / piece))), progress=False)
        assert [item for item, *_ in by_user(new)["ann"]] == ["x", "y"]


def test_a_manifest_of_settings_that_are_not_known_is_an_error(tmp_path: Path) -> None:
    old = prepared(tmp_path, OLD)
    old.manifest["settings"]["colour"] = 3
    with pytest.raises(RecordError, match=r"settings that this recdl does not know \(colour\); update recdl"):
        appended(old, NEW)
    del old.manifest["settings"]["colour"], old.manifest["settings"]["filters"]
    with pytest.raises(RecordError, match="its settings cannot be read"):
        appended(old, NEW)


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
