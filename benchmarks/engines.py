"""Run the plan of preparation on two engines that live within a process, DuckDB and Polars, and time both.

Ids stay text, exactly as in the file; blank ids and unreadable times are counted; users and items are numbered in
the order of their ids' bytes; events are sorted by user, time and item, streamed, and written without duplicates.
That is what `recdl.data.preparation` asks of its engine, without what it does around it. Polars is asked twice: by
its engine in memory, and by the one that streams. Output is a JSON line a measurement.

python benchmarks/engines.py --log L
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from logs import add_log_options, find_log
from measuring import available_cores, emit, last_json, run
from preparation import csv_of

_COLUMNS = ("user_id", "item_id", "timestamp")
_BATCH = 1 << 20
_SECOND = 1_000_000


def on_duckdb(path: Path, folder: Path) -> tuple[int, int]:
    """Run the plan in SQL."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set preserve_insertion_order = false")
    connection.execute(
        "create temp table rows as select"
        " case when user_id < '!' and trim(user_id) = '' then null else user_id end as user_id,"
        " case when item_id < '!' and trim(item_id) = '' then null else item_id end as item_id,"
        f" try_cast(timestamp as bigint) * {_SECOND} as time"
        " from read_csv(?, auto_detect = false, header = true, nullstr = '', strict_mode = true, columns = ?)",
        [str(path), dict.fromkeys(_COLUMNS, "VARCHAR")],
    )
    known = "user_id is not null and item_id is not null and time is not null"
    found = connection.execute(f"select count(*), count(*) filter (not ({known})) from rows").fetchone()
    assert found is not None
    for name in ("user", "item"):
        connection.execute(
            f"create temp table {name}s as select id, (row_number() over (order by id) - 1)::int as index"
            f" from (select distinct {name}_id as id from rows where {known})"
        )
        connection.sql(f"select * from {name}s order by index").write_parquet(str(folder / f"{name}s.parquet"))
    events = connection.sql(
        "select users.index as user, items.index as item, time"
        " from rows join users on user_id = users.id join items on item_id = items.id"
        f" where {known} order by user, time, item"
    )
    read = getattr(events, "to_arrow_reader", None) or events.fetch_record_batch
    return _write(read(_BATCH), folder), int(found[1])


def on_polars(path: Path, folder: Path, engine: Any) -> tuple[int, int]:
    """Run the plan in Polars."""
    import polars as pl

    def given(name: str) -> pl.Expr:
        return pl.when(pl.col(name).str.strip_chars() == "").then(None).otherwise(pl.col(name)).alias(name)

    rows = (
        pl.scan_csv(path, schema=dict.fromkeys(_COLUMNS, pl.String))
        .select(
            given("user_id"),
            given("item_id"),
            (pl.col("timestamp").cast(pl.Int64, strict=False) * _SECOND).alias("time"),
        )
        .collect(engine=engine)
    )
    known = pl.all_horizontal(pl.all().is_not_null())
    n_dropped = int(rows.select((~known).sum()).item())
    events = rows.lazy().filter(known)
    del rows
    for name in ("user", "item"):
        ids = events.select(pl.col(f"{name}_id").unique()).collect(engine=engine).sort(f"{name}_id")
        ids = ids.with_columns(pl.int_range(pl.len(), dtype=pl.Int32).alias(name))
        ids.select(f"{name}_id").write_parquet(folder / f"{name}s.parquet")
        events = events.join(ids.lazy(), on=f"{name}_id")
    ordered = events.select("user", "item", "time").sort("user", "time", "item").collect(engine=engine)
    return _write(ordered.to_arrow().to_batches(_BATCH), folder), n_dropped


ENGINES: dict[str, Callable[[Path, Path], tuple[int, int]]] = {
    "duckdb": on_duckdb,
    "polars": lambda path, folder: on_polars(path, folder, "in-memory"),
    "polars-streaming": lambda path, folder: on_polars(path, folder, "streaming"),
}
"""What runs the plan: each returns the events written and the rows dropped."""


def main() -> None:
    """Let every engine run the plan in turn, several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument("--rounds", type=int, default=3, help="times that each runs (default: %(default)s)")
    parser.add_argument("--engine", choices=ENGINES, help="only this one, in this process")
    arguments = parser.parse_args()
    log = csv_of(find_log(arguments.log, arguments.folder), arguments.folder)
    if arguments.engine is not None:
        _measure_here(arguments.engine, log, arguments.folder)
        return
    log.read_bytes()  # so that the first does not wait for the disk on behalf of all
    seconds = defaultdict[str, list[float]](list)
    for _ in range(arguments.rounds):
        for engine in ENGINES:
            options = ["--log", log, "--folder", arguments.folder, "--engine", engine]
            printed, cost = run([sys.executable, __file__, *map(str, options)], threads=available_cores())
            figures = last_json(printed)
            seconds[engine].append(figures["seconds"])
            emit(engine=engine, log=arguments.log, **figures, **cost.row())
    medians = {engine: statistics.median(taken) for engine, taken in seconds.items()}
    for engine in ENGINES:
        emit(log=arguments.log, engine=engine, seconds=medians[engine], ratio=medians[engine] / medians["duckdb"])


def _measure_here(engine: str, log: Path, folder: Path) -> None:
    import duckdb  # noqa: F401  (libraries are loaded before the clock starts)
    import polars  # noqa: F401

    with tempfile.TemporaryDirectory(dir=folder, prefix="engines-") as empty:
        started = time.perf_counter()
        n_events, n_dropped = ENGINES[engine](log, Path(empty))
        emit(seconds=time.perf_counter() - started, events=n_events, dropped=n_dropped)


def _write(batches: Iterable[pa.RecordBatch], folder: Path) -> int:
    """Write sorted events without duplicates, one after another into flat files; return how many there were."""
    n_events, last = 0, None
    files = {name: (folder / f"{name}.raw").open("wb") for name in ("user", "item", "time")}
    for batch in batches:
        columns = np.stack([batch[name].to_numpy().astype(np.int64) for name in files])
        kept = np.ones(columns.shape[1], np.bool_)
        kept[1:] = (columns[:, 1:] != columns[:, :-1]).any(0)
        kept[:1] &= last is None or bool((columns[:, 0] != last).any())
        for file, column in zip(files.values(), columns, strict=True):
            file.write(np.ascontiguousarray(column[kept]).data)
        last = columns[:, -1]
        n_events += int(kept.sum())
    for file in files.values():
        file.close()
    return n_events


if __name__ == "__main__":
    main()
