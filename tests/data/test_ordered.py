"""Logs that give an order and no times."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recdl.data.ordered import OrderedColumns, OrderedLog
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.splits import LeaveLastOut, TemporalSplit, split_log
from recdl.errors import ConfigError, DataError
from tests.data.files import events, left_behind

PLACES = [("a", "x", 0), ("a", "y", 1), ("a", "x", 2), ("b", "y", 3)]
"""User, item and place: user a repeats an item, which is no duplicate."""


def prepared(tmp_path: Path, name: str, text: str | pa.Table, **settings: Any) -> PreparedLog:
    path = tmp_path / name
    if isinstance(text, str):
        path.write_text(text, encoding="utf-8")
    else:
        pq.write_table(text, path)
    log = OrderedLog(**{"name": "log", "path": str(path)} | settings)
    return prepare(log, tmp_path / "prepared", progress=False)


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("a.tsv", "user_id\titem_id\na\tx\na\ty\na\tx\nb\ty\n", {}),
        (
            "a.csv",
            "a,x,5\na,y,4\na,x,3\nb,y,1\n",
            {"separator": ",", "header": ("u", "i", "r"), "columns": OrderedColumns("u", "i")},
        ),
        ("a.txt", "a x y x\n\nb y\n", {"form": "lines"}),
        ("a.parquet", pa.table({"user_id": ["a", "b"], "item_id": [["x", "y", "x"], ["y"]]}), {"form": "lists"}),
        ("b.parquet", pa.table({"user_id": ["a", "a", "a", "b"], "item_id": ["x", "y", "x", "y"]}), {}),
    ],
)
def test_each_form_gives_the_same_events_in_their_order(
    tmp_path: Path, name: str, content: str | pa.Table, settings: dict[str, Any]
) -> None:
    log = prepared(tmp_path, name, content, **settings)
    assert events(log) == [(user, item, "interaction", place * 10**6) for user, item, place in PLACES]


def test_ids_stay_as_they_are_written(tmp_path: Path) -> None:
    log = prepared(tmp_path, "a.tsv", "user_id\titem_id\n007\tNA\n007\tnull\n7\tNA\n9007199254740993\tx\n")
    assert [row[:2] for row in events(log)] == [
        ("007", "NA"),
        ("007", "null"),
        ("7", "NA"),
        ("9007199254740993", "x"),
    ]


def test_a_log_is_prepared_once_and_nothing_else_is_left(tmp_path: Path) -> None:
    first, again = (prepared(tmp_path, "a.txt", "a x y\n", form="lines") for _ in range(2))
    assert first.folder == again.folder
    assert left_behind(tmp_path / "prepared") == [first.folder]


def test_a_log_without_times_has_no_moment_to_be_cut_at(tmp_path: Path) -> None:
    log = prepared(tmp_path, "a.txt", "a x y z x\nb y x z\n", form="lines")
    with pytest.raises(DataError, match="TemporalSplit cuts by time, but this log only has an order"):
        split_log(TemporalSplit(), log)
    with pytest.raises(DataError, match="sessions end by idle time, but this log has no times"):
        split_log(LeaveLastOut(sessions="30m"), log)


def test_its_last_events_can_be_left_out_and_no_leak_is_claimed(tmp_path: Path) -> None:
    split = split_log(LeaveLastOut(), prepared(tmp_path, "a.txt", "a x y z x\nb y x z\n", form="lines"))
    assert split.test.target_items.tolist() == [0, 2]
    assert split.report["leak"]["train_events_after_first_test_target"] is None
    assert split.report["train"]["first"] is None


@pytest.mark.parametrize(
    ("name", "content", "settings", "message"),
    [
        ("a.tsv", "", {}, r"a\.tsv is empty \(0 bytes\)"),
        ("a.tsv", "user_id\titem_id\n", {}, r"a\.tsv holds no rows"),
        (
            "a.tsv",
            "user\titem_id\na\tx\n",
            {},
            r"no column 'user_id'; its columns are 'user', 'item_id'.*data\.col",
        ),
        ("a.tsv", "user_id\titem_id\na\tx\ty\n", {}, r"a\.tsv cannot be read: .*Expected 2 columns, got 3"),
        ("a.tsv", "a\tx\n", {"header": ("u", "i", "r")}, r"has 2 columns, but data\.header names 3"),
        ("a.txt", "a x\nb\n", {"form": "lines"}, r"a\.txt, line 2: user 'b' has no items"),
        ("a.txt", "\n", {"form": "lines"}, r"a\.txt holds no rows"),
        ("a.parquet", pa.table({"user_id": ["a"], "item_id": ["x"]}), {"form": "lists"}, "needs lists of items"),
    ],
)
def test_a_bad_file_is_told_with_the_way_out(
    tmp_path: Path, name: str, content: str | pa.Table, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, name, content, **settings)
    assert left_behind(tmp_path / "prepared") == []


def test_a_file_that_is_not_there_is_told_with_the_places_looked_at(tmp_path: Path) -> None:
    log = OrderedLog(name="log", path="gone.txt", data_root=str(tmp_path))
    with pytest.raises(DataError, match=r"data\.path: there is no file .*gone\.txt nor .*gone\.txt; .*RECDL_DATA"):
        prepare(log, tmp_path / "prepared", progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "rows"}, r"data\.form: 'rows' is none of pairs, lists, lines"),
        ({"separator": "::"}, r"data\.separator: '::' is not a single character"),
        ({"header": ("a", "a")}, r"data\.header: true, or the name of every column, each once"),
        ({"path": ""}, r"data\.path: state the file"),
        ({"default_behavior": ""}, r"data\.default_behavior: a log without"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OrderedLog(**{"name": "log", "path": "a.txt"} | settings)
