"""The same log in every form that it can come in: the same ids, exactly as they went in, and the same events."""

import csv
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sources import Columns, CsvLog, EventLog, FileLog, IbisLog, JsonLog, ParquetLog, TableLog, Time
from recdl.errors import DataError
from tests.data.files import HEADER, events

Rows = list[tuple[str, str]]
NAMES = ("user_id", "item_id", "timestamp")
AWKWARD = [
    "007",
    "7",
    "7.0",
    "NA",
    "NaN",
    "null",
    "None",
    " 7",
    "7 ",
    "a,b",
    "a\tb",
    'say "x"',
    "'",
    "ü",
    "名",
    "😀",
    "a\nb",
]
BIG = 2**53 + 1


def columns(rows: Rows) -> dict[str, list[Any]]:
    return {
        "user_id": [user for user, _ in rows],
        "item_id": [item for _, item in rows],
        "timestamp": list(range(1, len(rows) + 1)),
    }


def records(rows: Rows) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, (user, item, n), strict=True)) for n, (user, item) in enumerate(rows, 1)]


def as_csv(rows: Rows, folder: Path, *, name: str = "log.csv", **dialect: Any) -> CsvLog:
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if any("\r" in field for row in rows for field in row) else csv.QUOTE_MINIMAL
    writer = csv.writer(text, lineterminator="\n", delimiter=dialect.get("separator", ","), quoting=quoting)
    writer.writerow(NAMES)
    writer.writerows((user, item, n) for n, (user, item) in enumerate(rows, 1))
    (folder / name).write_bytes(text.getvalue().encode(dialect.get("encoding", "utf-8")))
    return CsvLog(name="log", path=str(folder / name), time=Time("s"), **dialect)


def as_jsonl(rows: Rows, folder: Path) -> JsonLog:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in records(rows)), encoding="utf-8")
    return JsonLog(name="log", path=str(path), time=Time("s"))


def as_parquet(rows: Rows, folder: Path) -> ParquetLog:
    pq.write_table(pa.table(columns(rows)), folder / "log.parquet")
    return ParquetLog(name="log", path=str(folder / "log.parquet"), time=Time("s"))


def as_pandas(rows: Rows, _: Path) -> TableLog:
    return TableLog(name="log", table=pd.DataFrame(columns(rows)), time=Time("s"))


def as_polars(rows: Rows, _: Path) -> TableLog:
    return TableLog(name="log", table=pl.DataFrame(columns(rows)), time=Time("s"))


def as_arrow(rows: Rows, _: Path) -> TableLog:
    return TableLog(name="log", table=pa.table(columns(rows)), time=Time("s"))


def as_duckdb(rows: Rows, folder: Path) -> IbisLog:
    connection = ibis.duckdb.connect(folder / "shop.duckdb")
    connection.con.register("given", pa.table(columns(rows)))
    connection.con.execute("create table events as select * from given")
    connection.disconnect()
    return IbisLog(name="log", url=f"duckdb://{folder / 'shop.duckdb'}", table="events", time=Time("s"))


FORMS: dict[str, Callable[[Rows, Path], EventLog]] = {
    "csv": as_csv,
    "jsonl": as_jsonl,
    "parquet": as_parquet,
    "pandas": as_pandas,
    "polars": as_polars,
    "arrow": as_arrow,
    "duckdb": as_duckdb,
}
SEVERAL: list[Rows] = [[("ann", "x"), ("bob", "y")], [("cat", "x"), ("007", "z")], [("7", "NA")]]


def read(log: EventLog, folder: Path) -> PreparedLog:
    return prepare(log, folder / "prepared", progress=False)


def pairs(log: PreparedLog) -> set[tuple[str, str]]:
    return {(user, item) for user, item, _, _ in events(log)}


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
    settings_of = {name: getattr(log, name) for name in log.__dataclass_fields__} | {
        "columns": Columns(item="sku")
    }
    with pytest.raises(DataError, match=r"has no column 'sku'; its columns are .*'item_id'.*data\.columns\.item="):
        read(type(log)(**settings_of), tmp_path)


# Integers that no float holds, beside blanks: what pandas spoils.
USERS = [BIG, None, BIG - 1]
EXACT: dict[str, Callable[[Path], EventLog]] = {
    "csv": lambda folder: _csv_text(folder, f"{HEADER}{BIG},x,1\n,y,2\n{BIG - 1},z,3\n"),
    "jsonl": lambda folder: _jsonl_text(
        folder,
        f'{{"user_id":{BIG},"item_id":"x","timestamp":1}}\n{{"item_id":"y","timestamp":2}}\n'
        f'{{"user_id":{BIG - 1},"item_id":"z","timestamp":3}}\n',
    ),
    "parquet": lambda folder: _parquet_table(folder, pa.table(_big(USERS))),
    "arrow": lambda _: _table(pa.table(_big(USERS))),
    "polars": lambda _: _table(pl.DataFrame(_big(USERS))),
    "pandas nullable": lambda _: _table(pd.DataFrame(_big(pd.array(USERS, dtype="Int64")))),
    "pandas objects": lambda _: _table(pd.DataFrame(_big(pd.Series(USERS, dtype=object)))),
}


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_integers_beyond_2_to_53_beside_blanks_stay_exact(
    make: Callable[[Path], EventLog], tmp_path: Path
) -> None:
    log = read(make(tmp_path), tmp_path)
    assert pairs(log) == {("9007199254740993", "x"), ("9007199254740992", "z")}
    assert log.manifest["counts"]["dropped"]["missing_user"] == 1


def _table(table: Any) -> TableLog:
    return TableLog(name="log", table=table, time=Time("s"))


def _big(users: Any) -> dict[str, Any]:
    return {"user_id": users, "item_id": ["x", "y", "z"], "timestamp": [1, 2, 3]}


def _csv_text(folder: Path, text: str, **settings_: Any) -> CsvLog:
    (folder / "log.csv").write_text(text, encoding="utf-8")
    return CsvLog(**({"name": "log", "path": str(folder / "log.csv"), "time": Time("s")} | settings_))


def _jsonl_text(folder: Path, text: str) -> JsonLog:
    (folder / "log.jsonl").write_text(text, encoding="utf-8")
    return JsonLog(name="log", path=str(folder / "log.jsonl"), time=Time("s"))


def _parquet_table(folder: Path, table: pa.Table, name: str = "log.parquet") -> ParquetLog:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name)
    return ParquetLog(name="log", path=str(folder / name), time=Time("s"))


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
    assert events(read(_csv_text(tmp_path, text, **dialect), tmp_path)) == [
        ("ann", "x;y", "interaction", 1_000_000)
    ]


def test_an_escape_other_than_a_second_quote_is_taken_off(tmp_path: Path) -> None:
    text = HEADER + '"a\\"n",x,1\n'
    assert pairs(read(_csv_text(tmp_path, text, escape="\\"), tmp_path)) == {('a"n', "x")}


def test_without_quoting_quotes_are_part_of_ids(tmp_path: Path) -> None:
    assert pairs(read(_csv_text(tmp_path, HEADER + 'a"n,"x,1\n', quote=None), tmp_path)) == {('a"n', '"x')}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "shift-jis"])
def test_a_csv_of_any_encoding_is_read(encoding: str, tmp_path: Path) -> None:
    name = "名" if encoding in ("shift-jis", "utf-16") else "ü"
    assert pairs(read(as_csv([(name, "x")], tmp_path, encoding=encoding), tmp_path)) == {(name, "x")}


def test_a_decimal_comma_is_read_in_times(tmp_path: Path) -> None:
    text = 'user_id;item_id;timestamp\na;x;1,5\na;y;"2020-01-01 00:00:00,25"\n'
    log = read(_csv_text(tmp_path, text, separator=";", decimal=",", time=Time("auto")), tmp_path)
    assert [time for *_, time in events(log)] == [1_500_000, 1_577_836_800_250_000]


def test_columns_that_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    names = Columns("ID", "id", "Id")
    text = "iD,ID,id,Id\nno,a,x,1\n"
    one = read(_csv_text(tmp_path, text, columns=names), tmp_path)
    table = pa.table({"iD": ["no"], "ID": ["a"], "id": ["x"], "Id": [1]})
    pq.write_table(table, tmp_path / "log.parquet")
    two = read(ParquetLog(name="log", path=str(tmp_path / "log.parquet"), columns=names, time=Time("s")), tmp_path)
    assert pairs(one) == pairs(two) == {("a", "x")}


def packed(path: Path) -> Path:
    """Pack a file as gzip, as Zstandard and into a zip archive, beside it."""
    content = path.read_bytes()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    with pa.output_stream(str(path.with_name(f"{path.name}.zst")), compression="zstd") as opened:
        opened.write(content)
    with zipfile.ZipFile(path.with_name("all.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, f"folder/{path.name}")
    return path


@pytest.mark.parametrize("packing", ["log{}.gz", "log{}.zst", "all.zip/folder/log{}", "all.zip/*/log{}"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_packed_files_are_read(packing: str, form: str, tmp_path: Path) -> None:
    log = FORMS[form](SEVERAL[1], tmp_path)
    assert isinstance(log, FileLog)
    packed(tmp_path / f"log.{form}").unlink()
    moved = type(log)(name="log", path=str(tmp_path / packing.format(f".{form}")), time=log.time)
    assert pairs(read(moved, tmp_path)) == set(SEVERAL[1])


def parts(form: str, folder: Path) -> list[str]:
    """A file a part of `SEVERAL`, in folders of their own."""
    paths = []
    for number, rows in enumerate(SEVERAL):
        (folder / f"part{number}").mkdir()
        log = FORMS[form](rows, folder / f"part{number}")
        assert isinstance(log, FileLog)
        assert isinstance(log.path, str)
        paths.append(log.path)
    return paths


@pytest.mark.parametrize(
    ("form", "written"),
    [("csv", "reversed"), ("csv", "glob"), ("csv", "folder"), ("jsonl", "folder"), ("parquet", "glob")],
)
def test_several_files_are_one_log_whatever_their_order(
    form: str, written: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = parts(form, tmp_path)
    kind = {"csv": CsvLog, "jsonl": JsonLog, "parquet": ParquetLog}[form]
    path: Any = {
        "reversed": tuple(reversed(paths)),
        "glob": str(tmp_path / "part*" / "log.*"),
        "folder": str(tmp_path),
    }[written]
    root = tmp_path_factory.mktemp("prepared")
    log = read(kind(name="log", path=path, time=Time("s")), root)
    assert pairs(log) == {row for part in SEVERAL for row in part}
    assert read(kind(name="log", path=tuple(paths), time=Time("s")), root).folder == log.folder


def test_files_with_their_columns_in_another_order_are_one_log(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,timestamp\nann,x,1\n")
    (tmp_path / "b.csv").write_text("timestamp,extra,item_id,user_id\n2,?,y,bob\n")
    log = read(CsvLog(name="log", path=str(tmp_path / "*.csv"), time=Time("s")), tmp_path)
    assert pairs(log) == {("ann", "x"), ("bob", "y")}


def test_parquet_files_whose_ids_differ_in_type_keep_them_apart(tmp_path: Path) -> None:
    _parquet_table(tmp_path, pa.table({"user_id": ["007"], "item_id": ["x"], "timestamp": [1]}), "a.parquet")
    _parquet_table(tmp_path, pa.table({"user_id": [7], "item_id": ["x"], "timestamp": [2]}), "b.parquet")
    log = read(ParquetLog(name="log", path=str(tmp_path / "*.parquet"), time=Time("s")), tmp_path)
    assert pairs(log) == {("007", "x"), ("7", "x")}


def test_the_keys_of_a_partitioned_folder_are_columns_of_text(tmp_path: Path) -> None:
    for day, user in (("2020-01-01", "007"), ("2020-01-02", "7"), ("2020-01-02", "a%20b")):
        name = f"log/day={day}/user={user}/part.parquet"
        _parquet_table(tmp_path, pa.table({"item": ["x"]}), name)
    (tmp_path / "log" / "_SUCCESS").touch()
    log = ParquetLog(name="log", path=str(tmp_path / "log"), columns=Columns("user", "item", "day"))
    assert [(user, time) for user, _, _, time in events(read(log, tmp_path))] == [
        ("007", 1_577_836_800_000_000),
        ("7", 1_577_923_200_000_000),
        ("a b", 1_577_923_200_000_000),
    ]


def test_a_partitioned_folder_is_known_by_its_keys_too(tmp_path: Path) -> None:
    columns_ = Columns("user_id", "item_id", "day")
    folders = []
    for day in ("2020-01-01", "2020-01-02"):
        log = _parquet_table(
            tmp_path, pa.table({"user_id": ["a"], "item_id": ["x"]}), f"{day}/day={day}/p.parquet"
        )
        folders.append(read(ParquetLog(name="log", path=log.path, columns=columns_), tmp_path).folder)
    assert folders[0] != folders[1]


def test_each_behavior_may_have_files_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "clicks.dat").write_text("1,2014-04-07T10:51:09.277Z,214,0\n1,2014-04-07T10:54:09.868Z,215,0\n")
    (tmp_path / "buys.dat").write_text("1,2014-04-07T10:59:00.000Z,215,1046,2\n")
    log = CsvLog(
        name="log",
        path={"view": str(tmp_path / "clicks.dat"), "purchase": str(tmp_path / "buys.dat")},
        header={"view": ("s", "t", "i", "category"), "purchase": ("s", "t", "i", "price", "quantity")},
        columns=Columns("s", "i", "t"),
        behavior_weights={"purchase": 4.0},
    )
    prepared = read(log, tmp_path)
    assert [(item, behavior) for _, item, behavior, _ in events(prepared)] == [
        ("214", "view"),
        ("215", "view"),
        ("215", "purchase"),
    ]
    assert prepared.interactions.behavior_names == ("view", "purchase")
    assert prepared.interactions.behavior_weights == (1.0, 4.0)


def test_swapping_the_files_of_two_behaviors_is_another_log(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(HEADER + f"{name},x,1\n")
    one, two = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    first = read(CsvLog(name="log", path={"view": one, "purchase": two}, time=Time("s")), tmp_path)
    second = read(CsvLog(name="log", path={"view": two, "purchase": one}, time=Time("s")), tmp_path)
    assert first.folder != second.folder
    assert first.fingerprint != second.fingerprint


def test_rows_that_a_pattern_excludes_are_dropped_and_counted_whatever_else_they_hold(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,order,test\na,x,1,536365,\nb,x,noon,C536379,\nc,x,3,536380,yes\n,x,4,C1,\n"
    log = read(_csv_text(tmp_path, text, exclude={"order": "^C", "test": "."}), tmp_path)
    assert pairs(log) == {("a", "x")}
    dropped = log.manifest["counts"]["dropped"]
    assert (dropped["excluded"], dropped["missing_user"], dropped["bad_timestamp"]) == (2, 1, 0)


def test_what_an_event_counts_travels_with_the_log(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,b\na,x,1,pv\na,x,2,buy\n"
    mapped = {"columns": Columns(behavior="b"), "behaviors": {"view": ("pv",), "purchase": ("buy",)}}
    log = read(_csv_text(tmp_path, text, **mapped, behavior_weights={"view": 0.5, "purchase": 3.0}), tmp_path)
    assert log.manifest["behavior_weights"] == {"view": 0.5, "purchase": 3.0}
    weights = log.interactions.behavior_weights
    assert weights == (0.5, 3.0)
    assert log.interactions.where(log.interactions.behaviors == 1).behavior_weights == weights
    plain = read(_csv_text(tmp_path, text, **mapped), tmp_path)
    assert plain.interactions.behavior_weights is None
    assert plain.fingerprint != log.fingerprint


def test_a_weight_for_a_behavior_that_no_row_has_is_an_error(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,b\na,x,1,pv\n"
    log = _csv_text(tmp_path, text, columns=Columns(behavior="b"), behavior_weights={"buy": 2.0})
    with pytest.raises(DataError, match=r"data\.behavior_weights: the log has no behaviour 'buy'; it has pv"):
        read(log, tmp_path)


@pytest.mark.parametrize(("unit", "zone"), [("s", None), ("us", "Asia/Tokyo"), ("ns", None), ("ns", "UTC")])
def test_timestamps_of_every_unit_and_zone_are_read(unit: str, zone: str | None, tmp_path: Path) -> None:
    times = pa.array([1_577_836_800 * 10 ** {"s": 0, "ms": 3, "us": 6, "ns": 9}[unit]], pa.timestamp(unit, zone))
    log = _parquet_table(tmp_path, pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": times}))
    assert [time for *_, time in events(read(ParquetLog(name="log", path=log.path), tmp_path))] == [
        1_577_836_800_000_000
    ]
