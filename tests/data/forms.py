"""A log in every form that it can come in."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sources import CsvLog, EventLog, IbisLog, JsonLog, ParquetLog, TableLog, Time
from tests.data.files import events

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


def csv_text(folder: Path, text: str, **settings_: Any) -> CsvLog:
    (folder / "log.csv").write_text(text, encoding="utf-8")
    return CsvLog(**({"name": "log", "path": str(folder / "log.csv"), "time": Time("s")} | settings_))


def jsonl_text(folder: Path, text: str) -> JsonLog:
    (folder / "log.jsonl").write_text(text, encoding="utf-8")
    return JsonLog(name="log", path=str(folder / "log.jsonl"), time=Time("s"))


def parquet_table(folder: Path, table: pa.Table, name: str = "log.parquet") -> ParquetLog:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name)
    return ParquetLog(name="log", path=str(folder / name), time=Time("s"))
