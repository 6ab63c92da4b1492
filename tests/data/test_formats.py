"""The same log in every form that it can come in: the same ids, exactly as they went in, and the same events."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data.sources import Columns, EventLog, ParquetLog, TableLog, Time
from recdl.errors import DataError
from tests.data.files import HEADER, events
from tests.data.forms import AWKWARD, BIG, FORMS, SEVERAL, as_csv, csv_text, jsonl_text, pairs, parquet_table, read


@pytest.mark.parametrize("form", FORMS)
def test_awkward_ids_come_out_exactly_as_they_went_in(form: str, tmp_path: Path) -> None:
    rows = list(zip(AWKWARD, reversed(AWKWARD), strict=True))
    log = read(FORMS[form](rows, tmp_path), tmp_path)
    assert pairs(log) == set(rows)
    assert log.interactions.n_events == len(rows)


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(max_examples=6, deadline=None, derandomize=True)
def test_any_id_comes_out_exactly_as_it_went_in(form: str, data: st.DataObject) -> None:
    # NUL ends text in some of these formats, and is no character of an id; an empty id is a missing one.
    ids = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=8)
    ids = ids.filter(str.strip)  # a blank is a missing id
    rows = data.draw(st.lists(st.tuples(ids, ids), min_size=1, max_size=8))
    with tempfile.TemporaryDirectory() as folder:
        log = read(FORMS[form](rows, Path(folder)), Path(folder))
        assert pairs(log) == set(rows)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_log(form: str, tmp_path: Path) -> None:
    rows = [row for part in SEVERAL for row in part]
    (tmp_path / "csv").mkdir()
    same = read(as_csv(rows, tmp_path / "csv"), tmp_path / "csv")
    log = read(FORMS[form](rows, tmp_path), tmp_path)
    assert log.fingerprint == same.fingerprint


@pytest.mark.parametrize("form", FORMS)
def test_a_log_is_found_again_and_its_snapshot_is_gone(form: str, tmp_path: Path) -> None:
    first = read(FORMS[form](SEVERAL[0], tmp_path), tmp_path)
    (tmp_path / "shop.duckdb").unlink(missing_ok=True)
    again = read(FORMS[form](SEVERAL[0], tmp_path), tmp_path)
    assert first.folder == again.folder
    assert list((tmp_path / "prepared").iterdir()) == [first.folder]


@pytest.mark.parametrize("form", FORMS)
def test_other_rows_are_another_log(form: str, tmp_path: Path) -> None:
    first = read(FORMS[form](SEVERAL[0], tmp_path), tmp_path)
    (tmp_path / "shop.duckdb").unlink(missing_ok=True)
    assert read(FORMS[form](SEVERAL[1], tmp_path), tmp_path).folder != first.folder


@pytest.mark.parametrize("form", FORMS)
def test_a_column_that_is_not_there_is_named(form: str, tmp_path: Path) -> None:
    log = FORMS[form](SEVERAL[0], tmp_path)
    with pytest.raises(DataError, match=r"has no column 'sku'; its columns are .*'item_id'.*data\.columns\.item="):
        read(replace(log, columns=Columns(item="sku")), tmp_path)


# Integers that no float holds, beside blanks: what pandas spoils.
USERS = [BIG, None, BIG - 1]
EXACT: dict[str, Callable[[Path], EventLog]] = {
    "csv": lambda folder: csv_text(folder, f"{HEADER}{BIG},x,1\n,y,2\n{BIG - 1},z,3\n"),
    "jsonl": lambda folder: jsonl_text(
        folder,
        f'{{"user_id":{BIG},"item_id":"x","timestamp":1}}\n{{"item_id":"y","timestamp":2}}\n'
        f'{{"user_id":{BIG - 1},"item_id":"z","timestamp":3}}\n',
    ),
    "parquet": lambda folder: parquet_table(folder, pa.table(beside_blanks(USERS))),
    "arrow": lambda _: in_memory(pa.table(beside_blanks(USERS))),
    "polars": lambda _: in_memory(pl.DataFrame(beside_blanks(USERS))),
    "pandas nullable": lambda _: in_memory(pd.DataFrame(beside_blanks(pd.array(USERS, dtype="Int64")))),
    "pandas objects": lambda _: in_memory(pd.DataFrame(beside_blanks(pd.Series(USERS, dtype=object)))),
}


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_integers_beyond_2_to_53_beside_blanks_stay_exact(
    make: Callable[[Path], EventLog], tmp_path: Path
) -> None:
    log = read(make(tmp_path), tmp_path)
    assert pairs(log) == {("9007199254740993", "x"), ("9007199254740992", "z")}
    assert log.manifest["counts"]["dropped"]["missing_user"] == 1


def in_memory(table: Any) -> TableLog:
    return TableLog(name="log", table=table, time=Time("s"))


def beside_blanks(users: Any) -> dict[str, Any]:
    return {"user_id": users, "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3]}


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ({"separator": ";"}, 'user_id;item_id;timestamp\nann;"x;y";1\n'),
        ({"separator": r"\t"}, "user_id\titem_id\ttimestamp\nann\tx;y\t1\n"),
        ({"separator": "::", "quote": None}, "user_id::item_id::timestamp\nann::x;y::1\n"),
        ({"separator": "|", "quote": "'", "escape": "'"}, "user_id|item_id|timestamp\nann|'x;y'|1\n"),
        ({"header": ("item_id", "other", "user_id", "timestamp")}, "x;y,7,ann,1\n"),
        ({"separator": " "}, 'user_id item_id timestamp\r\nann "x;y" 1\r\n'),
    ],
)
def test_a_csv_of_any_dialect_is_read(dialect: dict[str, Any], text: str, tmp_path: Path) -> None:
    assert events(read(csv_text(tmp_path, text, **dialect), tmp_path)) == [
        ("ann", "x;y", "interaction", 1_000_000)
    ]


def test_an_escape_other_than_a_second_quote_is_taken_off(tmp_path: Path) -> None:
    text = HEADER + '"a\\"n",x,1\n'
    assert pairs(read(csv_text(tmp_path, text, escape="\\"), tmp_path)) == {('a"n', "x")}


def test_without_quoting_quotes_are_part_of_ids(tmp_path: Path) -> None:
    assert pairs(read(csv_text(tmp_path, HEADER + 'a"n,"x,1\n', quote=None), tmp_path)) == {('a"n', '"x')}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "shift-jis"])
def test_a_csv_of_any_encoding_is_read(encoding: str, tmp_path: Path) -> None:
    name = "名" if encoding in ("shift-jis", "utf-16") else "ü"
    assert pairs(read(as_csv([(name, "x")], tmp_path, encoding=encoding), tmp_path)) == {(name, "x")}


def test_a_decimal_comma_is_read_in_times(tmp_path: Path) -> None:
    text = 'user_id;item_id;timestamp\na;x;1,5\na;y;"2020-01-01 00:00:00,25"\n'
    log = read(csv_text(tmp_path, text, separator=";", decimal=",", time=Time("auto")), tmp_path)
    assert [time for *_, time in events(log)] == [1_500_000, 1_577_836_800_250_000]


def test_columns_that_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    names = Columns("ID", "id", "Id")
    text = "iD,ID,id,Id\nno,a,x,1\n"
    one = read(csv_text(tmp_path, text, columns=names), tmp_path)
    table = pa.table({"iD": ["no"], "ID": ["a"], "id": ["x"], "Id": [1]})
    pq.write_table(table, tmp_path / "log.parquet")
    two = read(ParquetLog(name="log", path=str(tmp_path / "log.parquet"), columns=names, time=Time("s")), tmp_path)
    assert pairs(one) == pairs(two) == {("a", "x")}


def test_rows_that_a_pattern_excludes_are_dropped_and_counted_whatever_else_they_hold(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,order,test\na,x,1,536365,\nb,x,noon,C536379,\nc,x,3,536380,yes\n,x,4,C1,\n"
    log = read(csv_text(tmp_path, text, exclude={"order": "^C", "test": "."}), tmp_path)
    assert pairs(log) == {("a", "x")}
    dropped = log.manifest["counts"]["dropped"]
    assert (dropped["excluded"], dropped["missing_user"], dropped["bad_timestamp"]) == (2, 1, 0)


def test_what_an_event_counts_travels_with_the_log(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,b\na,x,1,pv\na,x,2,buy\n"
    mapped = {"columns": Columns(behavior="b"), "behaviors": {"view": ("pv",), "purchase": ("buy",)}}
    log = read(csv_text(tmp_path, text, **mapped, behavior_weights={"view": 0.5, "purchase": 3.0}), tmp_path)
    assert log.manifest["behavior_weights"] == {"view": 0.5, "purchase": 3.0}
    weights = log.interactions.behavior_weights
    assert weights == (0.5, 3.0)
    assert log.interactions.where(log.interactions.behaviors == 1).behavior_weights == weights
    plain = read(csv_text(tmp_path, text, **mapped), tmp_path)
    assert plain.interactions.behavior_weights is None
    assert plain.fingerprint != log.fingerprint


def test_a_weight_for_a_behavior_that_no_row_has_is_an_error(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,b\na,x,1,pv\n"
    log = csv_text(tmp_path, text, columns=Columns(behavior="b"), behavior_weights={"buy": 2.0})
    with pytest.raises(DataError, match=r"data\.behavior_weights: the log has no behaviour 'buy'; it has pv"):
        read(log, tmp_path)


@pytest.mark.parametrize(("unit", "zone"), [("s", None), ("us", "Asia/Tokyo"), ("ns", None), ("ns", "UTC")])
def test_timestamps_of_every_unit_and_zone_are_read(unit: str, zone: str | None, tmp_path: Path) -> None:
    times = pa.array([1_577_836_800 * 10 ** {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]], pa.timestamp(unit, zone))
    log = parquet_table(tmp_path, pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": times}))
    assert [time for *_, time in events(read(ParquetLog(name="log", path=log.path), tmp_path))] == [
        1_577_836_800_000_000
    ]
