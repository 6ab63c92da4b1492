"""Later pieces of every kind of log: behaviours, tables, pseudonyms, sources; and logs that cannot be added to."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recdl.data.appending import append
from recdl.data.forgetting import forget_users
from recdl.data.inputs import AttributeTable, Piece
from recdl.data.ordered import OrderedLog
from recdl.data.pieces import later_piece
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import Key, Privacy
from recdl.data.sources import Columns, CsvLog, Filters, JsonLog, TableLog, Time
from recdl.errors import ConfigError, DataError, RecordError
from tests.data.files import HEADER, csv_log, dropped, prepared
from tests.data.growing import FULL, NEW, OLD, SECRET, appended, by_user, everything, ids


@pytest.fixture(autouse=True, scope="module")
def key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECDL_KEY", SECRET)
        yield


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
