"""Append to a prepared log, beside preparing all of it anew: `python benchmarks/appending.py --log L`.

The piece has `--events` events of the month after the log, by users and of items drawn from it, one in a hundred
of them new. Each side runs in a process of its own: `append` opens the prepared log and appends to it, `prepare`
prepares the log and the piece, two CSV files, from nothing.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from logs import add_log_options, find_log
from measuring import available_cores, emit, last_json, run

_MONTH = 30 * 86_400


def write_files(log: Path, folder: Path, n_events: int) -> tuple[Path, Path]:
    """Write the log and the piece as CSV files, unless they are there."""
    whole, piece = folder / "logs" / f"{log.stem}.csv", folder / "logs" / f"{log.stem}-piece-{n_events}.csv"
    table = pq.read_table(log, columns=["user_id", "item_id", "timestamp"])
    if not whole.exists():
        pyarrow.csv.write_csv(table, whole)
    if not piece.exists():
        rng = np.random.default_rng(0)
        columns = {
            name: table[name].to_numpy()[rng.integers(0, len(table), n_events)] for name in table.column_names
        }
        for name in ("user_id", "item_id"):
            fresh = rng.random(n_events) < 0.01
            columns[name] = np.where(fresh, columns[name] + 10_000_000, columns[name])
        columns["timestamp"] = table["timestamp"].to_numpy().max() + 1 + rng.integers(0, _MONTH, n_events)
        pyarrow.csv.write_csv(pa.table(columns), piece)
    return whole, piece


def measure(side: str, whole: Path, piece: Path, prepared: Path) -> None:
    """Do one side's work in this process, and print how long it took."""
    from recdl.data.appending import append
    from recdl.data.preparation import prepare
    from recdl.data.prepared import PreparedLog
    from recdl.data.sources import CsvLog

    with tempfile.TemporaryDirectory(dir=prepared.parent, prefix="appending-") as empty:
        started = time.perf_counter()
        if side == "append":
            log = append(PreparedLog.open(prepared), CsvLog(name="log", path=str(piece)), progress=False)
        else:
            source = CsvLog(name="log", path=(str(whole), str(piece)))
            log = prepare(source, Path(empty), progress=False)
        seconds = time.perf_counter() - started
        counts = {"events": log.interactions.n_events, "users": len(log.users), "items": len(log.items)}
    if side == "append":
        shutil.rmtree(log.folder)
    emit(seconds=seconds, **counts)


def main() -> None:
    """Let both sides work in turn, several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument("--events", type=int, default=100_000, help="of the piece (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side works (default: %(default)s)")
    parser.add_argument("--side", choices=("append", "prepare"), help="only this one, in this process")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    whole, piece = write_files(find_log(arguments.log, folder), folder, arguments.events)
    from recdl.data.preparation import prepare
    from recdl.data.sources import CsvLog

    if arguments.side is not None:
        measure(arguments.side, whole, piece, next((folder / "appended-to").glob("log-*")))
        return
    prepare(CsvLog(name="log", path=str(whole)), folder / "appended-to", progress=False)
    seconds, found = defaultdict(list), dict[str, object]()
    options = ["--log", arguments.log, "--folder", str(folder), "--events", str(arguments.events)]
    for _ in range(arguments.rounds):
        for side in ("append", "prepare"):
            printed, cost = run([sys.executable, __file__, *options, "--side", side], threads=available_cores())
            figures = last_json(printed)
            seconds[side].append(figures.pop("seconds"))
            emit(side=side, log=arguments.log, seconds=seconds[side][-1], **figures, **cost.row())
            found = found or figures
            if figures != found:
                raise SystemExit(f"error: {side} found {figures}, not {found}: they did not do the same")
    ours, anew = median(seconds["append"]), median(seconds["prepare"])
    emit(log=arguments.log, ratio=anew / ours, append_seconds=ours, prepare_seconds=anew)


if __name__ == "__main__":
    main()
