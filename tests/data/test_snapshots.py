"""Logs in memory and in databases: what is refused, and that no password is written anywhere."""

import sqlite3
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from recdl.config import build, compose
from recdl.data.inputs import AttributeTable
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sources import Columns, IbisLog, TableLog, Time
from recdl.errors import ConfigError, DataError
from tests.data.files import csv_log, dropped, events, left_behind

ROWS = {"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]}


def from_table(table: Any, tmp_path: Path, **settings: Any) -> PreparedLog:
    log = TableLog(**({"name": "log", "table": table, "time": Time("s")} | settings))
    return prepare(log, tmp_path / "prepared", progress=False)


def shop(folder: Path, rows: str = "values ('a', 'x', 1), ('b', 'y', 2)", *, schema: str = "main") -> Path:
    path = folder / "shop.duckdb"
    connection = ibis.duckdb.connect(path)
    connection.con.execute(f"create schema if not exists {schema}")
    connection.con.execute(
        f"create table {schema}.events as select * from ({rows}) as t(user_id, item_id, timestamp)"
    )
    connection.disconnect()
    return path


def from_database(url: str, tmp_path: Path, **settings: Any) -> PreparedLog:
    log = IbisLog(**({"name": "log", "url": url, "table": "events", "time": Time("s")} | settings))
    return prepare(log, tmp_path / "prepared", progress=False)


def test_the_index_of_a_frame_and_its_other_columns_are_not_read(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS | {"odd": [object(), {1}]}, index=[7, 7])
    assert len(events(from_table(frame, tmp_path))) == 2


def test_a_stream_is_read_once(tmp_path: Path) -> None:
    assert len(events(from_table(pa.table(ROWS).to_reader(), tmp_path))) == 2


def test_the_columns_of_a_frame_may_have_numbers_for_names(tmp_path: Path) -> None:
    frame = pd.DataFrame([["a", "x", 1]])
    log = from_table(frame, tmp_path, columns=Columns("0", "1", "2"))
    assert events(log) == [("a", "x", "interaction", 1_000_000)]


def test_categories_are_text(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS).astype({"user_id": "category"})
    one = from_table(frame, tmp_path)
    two = from_table(pl.DataFrame(ROWS).with_columns(pl.col("user_id").cast(pl.Categorical)), tmp_path)
    assert (
        events(one) == events(two) == [("a", "x", "interaction", 1_000_000), ("b", "y", "interaction", 2_000_000)]
    )


def test_missing_values_of_every_kind_are_missing(tmp_path: Path) -> None:
    users = pd.Series(["a", None, float("nan"), pd.NA, ""], dtype=object)
    frame = pd.DataFrame({"user_id": users, "item_id": "x", "timestamp": range(5)})
    assert dropped(from_table(frame, tmp_path)) == {"missing_user": 4}


def test_times_of_a_frame_with_a_zone_are_read(tmp_path: Path) -> None:
    times = pd.to_datetime(["2020-01-01 09:00", "2020-01-01 09:30"]).tz_localize("Asia/Tokyo").as_unit("ns")
    frame = pd.DataFrame(ROWS | {"timestamp": times})
    assert [time for *_, time in events(from_table(frame, tmp_path, time=Time()))] == [
        1_577_836_800_000_000,
        1_577_838_600_000_000,
    ]


@pytest.mark.parametrize(
    ("users", "complaint"),
    [
        (["a", 7], "column 'user_id' holds values of several kinds.*make it text: frame"),
        ([2**70, 7], "column 'user_id' holds values of several kinds, or numbers that fit no type"),
        ([float(2**53 + 2), float("nan")], "column 'user_id' holds 9007199254740994 as a floating-point number"),
        ([True, False], "column 'user_id' is of type boolean"),
        ([("a", "b"), ("c",)], "column 'user_id' is of type array<string>"),
    ],
)
def test_ids_of_a_frame_that_are_none_are_an_error(users: list[Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"the table given as log 'log': {complaint}"):
        from_table(pd.DataFrame(ROWS | {"user_id": users}), tmp_path)
    assert left_behind(tmp_path / "prepared") == []


def test_a_bad_time_of_a_frame_has_its_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the table given as log 'log', row 2: column 'timestamp' holds 'noon'"):
        from_table(pd.DataFrame(ROWS | {"timestamp": ["1", "noon"]}), tmp_path)


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    frame = pd.DataFrame([["a", "b", "x", 1]], columns=["user_id", "user_id", "item_id", "timestamp"])
    with pytest.raises(DataError, match="has two columns called 'user_id'; rename one"):
        from_table(frame, tmp_path)


def test_a_table_without_rows_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the table given as log 'log' holds no rows"):
        from_table(pa.table({name: pa.array([], pa.string()) for name in ROWS}), tmp_path)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, pa.table])
def test_tables_of_users_and_items_may_be_in_memory_too(kind: Any, tmp_path: Path) -> None:
    users = AttributeTable(table=kind({"id": ["b"], "age": [2**53 + 1]}))
    items = AttributeTable(table=kind({"id": ["x", "y"], "name": ["X", None], "n": [1, 2]}), columns=("name",))
    log = from_table(kind(ROWS), tmp_path, user_table=users, item_table=items)
    assert log.user_table is not None
    assert log.item_table is not None
    assert log.user_table.to_pydict() == {"age": [None, 2**53 + 1]}
    assert log.item_table.to_pydict() == {"name": ["X", None]}
    file = csv_log(
        tmp_path / "log.csv", "user_id,item_id,timestamp\na,x,1\nb,y,2\n", user_table=users, item_table=items
    )
    assert prepare(file, tmp_path / "prepared", progress=False).fingerprint == log.fingerprint
    assert len(left_behind(tmp_path / "prepared")) == 2


def test_a_table_of_items_is_in_a_file_or_in_memory() -> None:
    for settings in ({"table": pd.DataFrame(ROWS), "path": "a.csv"}, {"table": ROWS}):
        with pytest.raises(
            ConfigError, match=r"data\.item_table\.table: a pandas or polars frame or an Arrow table, in"
        ):
            TableLog(name="log", table=pd.DataFrame(ROWS), item_table=AttributeTable(**settings))


def test_two_columns_of_one_name_in_a_table_of_items_are_an_error(tmp_path: Path) -> None:
    frame = pd.DataFrame([["x", 1, 2]], columns=["id", "a", "a"])
    with pytest.raises(
        DataError, match=r"the table given as data\.item_table has two columns called 'a'; rename one"
    ):
        from_table(pd.DataFrame(ROWS), tmp_path, item_table=AttributeTable(table=frame))


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.table: a dict is neither a pandas or polars frame nor an Arrow"):
        TableLog(name="log", table=ROWS)


def test_a_table_of_a_database_comes_by_its_configuration(tmp_path: Path) -> None:
    shop(tmp_path, schema="web")
    overrides = ["data=ibis", "data.url=duckdb://shop.duckdb", "data.table=events", "data.database=web"]
    config = compose("prepare", [*overrides, f"data_root={tmp_path}", "data.time.format=s"])
    log = prepare(build(config["data"], group="data"), tmp_path / "prepared", progress=False)
    assert [user for user, *_ in events(log)] == ["a", "b"]


def test_the_order_of_a_databases_rows_is_nothing(tmp_path: Path) -> None:
    first = from_database(f"duckdb://{shop(tmp_path)}", tmp_path)
    (tmp_path / "other").mkdir()
    path = shop(tmp_path / "other", "values ('b', 'y', 2), ('a', 'x', 1)")
    assert from_database(f"duckdb://{path}", tmp_path).folder == first.folder


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option:")  # Ibis 12 still sets what pandas drops
def test_sqlite_is_reached_too_and_its_whole_numbers_stay_exact(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("create table events (user_id integer, item_id text, timestamp integer)")
        connection.executemany("insert into events values (?, 'x', ?)", [(2**53 + 1, 1), (None, 2), (7, None)])
    connection.close()
    log = from_database(f"sqlite://{tmp_path / 'shop.sqlite'}", tmp_path, bad_timestamps="drop")
    assert events(log) == [("9007199254740993", "x", "interaction", 1_000_000)]
    assert dropped(log) == {"missing_user": 1, "bad_timestamp": 1}


def test_a_database_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*none\.duckdb.*; set data\.url to it"):
        from_database(f"duckdb://{tmp_path / 'none.duckdb'}", tmp_path)
    assert not (tmp_path / "none.duckdb").exists()
    assert left_behind(tmp_path / "prepared") == []


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"table": "none"}, "table 'none' of duckdb://.* cannot be read: "),
        ({"columns": Columns(item="sku")}, "has no column 'sku'; its columns are 'user_id', .*data.columns.item="),
    ],
)
def test_what_a_database_lacks_is_named(settings: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=complaint):
        from_database(f"duckdb://{shop(tmp_path)}", tmp_path, **settings)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host/shop",
        "postgresql://me:x$PASS@host/shop",
        "postgresql://host/shop?password=hunter2",
        "snowflake://me@host/shop?token=hunter2",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.url: holds a password.*environment variable") as raised:
        IbisLog(name="log", url=url, table="events")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["events.csv", "", "//host"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.url: is no address"):
        IbisLog(name="log", url=url, table="events")


def test_a_password_comes_from_the_environment_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def refuse(url: str) -> None:
        seen.append(url)
        raise RuntimeError(f"cannot connect to {url} with hunter/2")

    monkeypatch.setattr(ibis, "connect", refuse)
    monkeypatch.setenv("SHOP_PASSWORD", "hunter/2")
    with pytest.raises(DataError, match=r"table 'events' of postgresql://me:\$SHOP_PASSWORD@host/shop") as raised:
        from_database("postgresql://me:$SHOP_PASSWORD@host/shop", tmp_path)
    assert seen == ["postgresql://me:hunter%2F2@host/shop"]
    assert "hunter" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_PASSWORD", raising=False)
    with pytest.raises(ConfigError, match=r"data\.url: the environment has no variable SHOP_PASSWORD"):
        from_database("postgresql://me:${SHOP_PASSWORD}@host/shop", tmp_path)
