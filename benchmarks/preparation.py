"""Measure how long a CSV log takes to be prepared and split: by recdl, and by hand in plain pandas and DuckDB.

Every side reads the file, drops exact duplicates, indexes users and items, sorts by user and time, writes flat
arrays and vocabularies, and leaves each user's last two events out. Output is a JSON line a measurement.
"""

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.csv
import pyarrow.parquet as pq
from logs import add_log_options, find_log
from measuring import available_cores, emit, last_json, run

Counts = dict[str, int]


def prepare_with_recdl(path: Path, folder: Path) -> Counts:
    """Prepare and split with recdl's own functions."""
    from recdl.data.preparation import prepare
    from recdl.data.sources import CsvLog
    from recdl.data.splits import LeaveLastOut

    prepared = prepare(CsvLog(name="log", path=str(path)), folder, progress=False)
    split = LeaveLastOut().split(prepared.interactions, data_fingerprint=prepared.fingerprint)
    return {
        "events": prepared.interactions.n_events,
        "users": len(prepared.users),
        "items": len(prepared.items),
        "train_events": split.train.n_events,
    }


def prepare_with_pandas(path: Path, folder: Path) -> Counts:
    """Prepare and split as one would by hand, in pandas."""
    log = pd.read_csv(path).drop_duplicates()
    for name in ("user", "item"):
        log[name], ids = pd.factorize(log[f"{name}_id"], sort=True)
        pd.DataFrame({"id": ids}).to_parquet(folder / f"{name}s.parquet")
    log = log.sort_values(["user", "timestamp", "item"])
    return _write(log["user"].to_numpy(), log["item"].to_numpy(), log["timestamp"].to_numpy(), folder)


def prepare_with_duckdb(path: Path, folder: Path) -> Counts:
    """Prepare and split as one would by hand, in SQL on DuckDB."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("create table log as select distinct * from read_csv(?)", [str(path)])
    for name in ("user", "item"):
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


SIDES: dict[str, Callable[[Path, Path], Counts]] = {
    "recdl": prepare_with_recdl,
    "pandas": prepare_with_pandas,
    "duckdb": prepare_with_duckdb,
}
"""Who prepares: each is given the CSV file and an empty folder."""

_IMPORTED = {
    "recdl": ("ibis.backends.duckdb", "recdl.data.preparation", "recdl.data.splits"),
    "pandas": (),
    "duckdb": ("duckdb",),
}


def _write(
    users: npt.NDArray[np.int64], items: npt.NDArray[np.int64], times: npt.NDArray[np.int64], folder: Path
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


def main() -> None:
    """Let every side prepare the log in turn, several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument(
        "--rounds", type=int, default=3, help="times that each side prepares (default: %(default)s)"
    )
    parser.add_argument("--side", choices=SIDES, help="only this one, in this process")
    arguments = parser.parse_args()
    log = _csv(find_log(arguments.log, arguments.folder), arguments.folder)
    if arguments.side is not None:
        _measure_here(arguments.side, log, arguments.folder)
        return
    log.read_bytes()  # so that the first side does not wait for the disk on behalf of all
    seconds = defaultdict(list)
    found: Counts = {}
    for _ in range(arguments.rounds):
        for side in SIDES:
            options = ["--log", arguments.log, "--folder", arguments.folder, "--side", side]
            printed, cost = run([sys.executable, __file__, *options], threads=available_cores())
            figures = last_json(printed)
            seconds[side].append(figures.pop("seconds"))
            emit(side=side, log=arguments.log, seconds=seconds[side][-1], **figures, **cost.row())
            found = found or figures
            if figures != found:
                raise SystemExit(f"error: {side} found {figures}, recdl {found}: they did not do the same")
    ours = statistics.median(seconds["recdl"])
    for side in ("pandas", "duckdb"):
        peer = statistics.median(seconds[side])
        emit(log=arguments.log, ratio=peer / ours, against=side, ours_seconds=ours, peer_seconds=peer)


def _measure_here(side: str, log: Path, folder: Path) -> None:
    for module in _IMPORTED[side]:
        importlib.import_module(module)  # the same second or less for a log of any size: not what is measured
    with tempfile.TemporaryDirectory(dir=folder, prefix="preparation-") as empty:
        started = time.perf_counter()
        counts = SIDES[side](log, Path(empty))
        emit(seconds=time.perf_counter() - started, **counts)


def _csv(log: Path, folder: Path) -> Path:
    """Return the log as a CSV file, written when it is missing or older than the log."""
    path = folder.resolve() / "logs" / f"{log.stem}.csv"
    if not path.exists() or path.stat().st_mtime < log.stat().st_mtime:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pyarrow.csv.write_csv(pq.read_table(log, columns=["user_id", "item_id", "timestamp"]), partial)
        partial.replace(path)
    return path


if __name__ == "__main__":
    main()
