"""A CSV log prepared and split by hand, as one would in pandas, in SQL on DuckDB, and in Polars.

Each reads the file, drops exact duplicates, keeps users and items with enough events (again and again, until that
holds for what is left), indexes users and items, sorts by user and time, writes flat arrays and vocabularies, and
leaves each user's last two events out.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Counts = dict[str, int]
KEYS = ("user", "item")


def prepare_with_pandas(path: Path, folder: Path, core: int) -> Counts:
    """Prepare in pandas."""
    log = pd.read_csv(path).drop_duplicates()
    n_before = -1
    while core > 1 and len(log) != n_before:
        n_before = len(log)
        for name in KEYS:
            log = log[log.groupby(f"{name}_id")[f"{name}_id"].transform("size") >= core]
    for name in KEYS:
        log[name], ids = pd.factorize(log[f"{name}_id"], sort=True)
        pd.DataFrame({"id": ids}).to_parquet(folder / f"{name}s.parquet")
    log = log.sort_values(["user", "timestamp", "item"])
    return _write(log["user"].to_numpy(), log["item"].to_numpy(), log["timestamp"].to_numpy(), folder)


def prepare_with_duckdb(path: Path, folder: Path, core: int) -> Counts:
    """Prepare in SQL."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("create table log as select distinct * from read_csv(?)", [str(path)])
    n_before, n_events = -1, _count(connection)
    while core > 1 and n_events != n_before:
        n_before = n_events
        for name in KEYS:
            connection.execute(
                f"create or replace table log as select log.* from log semi join"
                f" (select {name}_id from log group by 1 having count(*) >= {core}) enough using ({name}_id)"
            )
        n_events = _count(connection)
    for name in KEYS:
        connection.execute(
            f"create table {name}s as select id, row_number() over (order by id) - 1 as index"
            f" from (select distinct {name}_id as id from log)"
        )
        connection.sql(f"select * from {name}s order by index").write_parquet(str(folder / f"{name}s.parquet"))
    columns = connection.sql(
        "select users.index as user, items.index as item, timestamp"
        " from log join users on user_id = users.id join items on item_id = items.id"
        " order by users.index, timestamp, items.index"
    ).fetchnumpy()
    return _write(columns["user"], columns["item"], columns["timestamp"], folder)


def prepare_with_polars(path: Path, folder: Path, core: int) -> Counts:
    """Prepare in Polars."""
    import polars as pl

    log = pl.read_csv(path).unique()
    n_before = -1
    while core > 1 and len(log) != n_before:
        n_before = len(log)
        for name in KEYS:
            log = log.filter(pl.len().over(f"{name}_id") >= core)
    for name in KEYS:
        ids = log.select(pl.col(f"{name}_id").unique().sort()).with_row_index(name)
        ids.select(pl.col(f"{name}_id").alias("id")).write_parquet(folder / f"{name}s.parquet")
        log = log.join(ids, on=f"{name}_id", how="left")
    log = log.sort(["user", "timestamp", "item"])
    return _write(log["user"].to_numpy(), log["item"].to_numpy(), log["timestamp"].to_numpy(), folder)


def _count(connection: "object") -> int:
    return int(connection.execute("select count(*) from log").fetchone()[0])  # type: ignore[attr-defined]


def _write(
    users: npt.NDArray[np.integer], items: npt.NDArray[np.integer], times: npt.NDArray[np.int64], folder: Path
) -> Counts:
    """Write sorted events as flat arrays, and cut the last two of each user with three or more."""
    counts = np.bincount(users)
    offsets = np.append(0, np.cumsum(counts))
    arrays = {"items": items.astype(np.int32), "timestamps": times.astype(np.int64), "offsets": offsets}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    ends = np.where(counts >= 3, offsets[1:] - 2, offsets[1:])
    train = np.arange(len(users)) < np.repeat(ends, counts)
    train_items, train_times = arrays["items"][train], arrays["timestamps"][train]
    assert len(train_items) == len(train_times)
    return {
        "events": len(users),
        "users": len(counts),
        "items": int(items.max()) + 1,
        "train_events": len(train_items),
    }
