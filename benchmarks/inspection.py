"""Measure how long looking at a CSV log takes beside preparing it: by recdl, in one process, one after the other.

Looking is what `inspect` does after preparation: all figures and findings, the split, the page. Output is a JSON
line a measurement, and the ratio of the medians at the end.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from logs import add_log_options, find_log
from measuring import available_cores, emit, last_json, run
from preparation import csv_of, load_numba


def main() -> None:
    """Prepare the log and look at it, several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument("--rounds", type=int, default=3, help="times that it is done (default: %(default)s)")
    parser.add_argument("--here", action="store_true", help="once, in this process")
    arguments = parser.parse_args()
    log = csv_of(find_log(arguments.log, arguments.folder), arguments.folder)
    if arguments.here:
        _measure_here(log, arguments.folder)
        return
    log.read_bytes()  # so that the first round does not wait for the disk
    rounds = []
    for _ in range(arguments.rounds):
        options = ["--log", arguments.log, "--folder", arguments.folder, "--here"]
        printed, cost = run([sys.executable, __file__, *options], threads=available_cores())
        rounds.append(last_json(printed))
        emit(log=arguments.log, **rounds[-1], **cost.row())
    looking, preparing = (
        statistics.median(figures[name] for figures in rounds) for name in ("looking", "preparing")
    )
    emit(log=arguments.log, ratio=looking / preparing, looking_seconds=looking, preparing_seconds=preparing)


def _measure_here(log: Path, folder: Path) -> None:
    from recdl.data.diagnosis.diagnose import diagnose
    from recdl.data.preparation import prepare
    from recdl.data.sources import CsvLog
    from recdl.data.splits import TemporalSplit
    from recdl.evaluation.inspection import write_inspection

    load_numba()  # libraries are loaded before the clock starts
    with tempfile.TemporaryDirectory(dir=folder, prefix="inspection-") as empty:
        started = time.perf_counter()
        prepared = prepare(CsvLog(name="log", path=str(log)), Path(empty), progress=False)
        ready = time.perf_counter()
        now = time.time_ns() // 1000
        diagnosis = diagnose(prepared, TemporalSplit(), order_events=300_000, seed=0, now=now)
        write_inspection(diagnosis, Path(empty) / "looked")
        done = time.perf_counter()
        emit(preparing=ready - started, looking=done - ready, events=diagnosis.shape.events)


if __name__ == "__main__":
    main()
