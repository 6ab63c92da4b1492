"""Measure how long a CSV log takes to be prepared and split, by recdl, by hand (`by_hand.py`) and by frameworks.

Output is a JSON line a measurement, and ratios at the end. `--curve` measures recdl alone, on logs of 1 to 20
million events.
"""

import argparse
import importlib
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
from by_hand import Counts, prepare_with_duckdb, prepare_with_pandas, prepare_with_polars
from logs import add_log_options, find_log
from measuring import Cost, available_cores, emit, last_json, run

_PEERS = ("recbole", "rectools")
_CURVE = ("L1", "L2", "L5", "L", "L20")


def prepare_with_recdl(path: Path, folder: Path, core: int) -> Counts:
    """Prepare and split with recdl's own functions."""
    from recdl.data.preparation import prepare
    from recdl.data.sources import CsvLog, Filters
    from recdl.data.splits import LeaveLastOut

    filters = Filters(min_user_events=core, min_item_events=core)
    prepared = prepare(CsvLog(name="log", path=str(path), filters=filters), folder, progress=False)
    split = LeaveLastOut().split(prepared.interactions, data_fingerprint=prepared.fingerprint)
    return {
        "events": prepared.interactions.n_events,
        "users": len(prepared.users),
        "items": len(prepared.items),
        "train_events": split.train.n_events,
    }


SIDES: dict[str, Callable[[Path, Path, int], Counts]] = {
    "recdl": prepare_with_recdl,
    "duckdb": prepare_with_duckdb,
    "pandas": prepare_with_pandas,
    "polars": prepare_with_polars,
}
"""Who prepares: each is given the CSV file, an empty folder, and how many events a user or item must have."""

_IMPORTED = {
    "recdl": (
        "ibis.backends.duckdb",
        "recdl.data.preparation",
        "recdl.data.sorting",
        "recdl.data.splits",
    ),
    "duckdb": ("duckdb",),
    "pandas": (),
    "polars": ("polars",),
}


def main() -> None:
    """Let every side prepare the log in turn, several times."""
    arguments = _arguments()
    if arguments.curve:
        _curve(arguments)
        return
    log = csv_of(find_log(arguments.log, arguments.folder), arguments.folder)
    if arguments.side is not None:
        _measure_here(arguments.side, log, arguments.folder, arguments.core)
        return
    log.read_bytes()  # so that the first side does not wait for the disk on behalf of all
    seconds = defaultdict[str, list[float]](list)
    found: Counts = {}
    sides = arguments.sides + ([arguments.peer] if arguments.peer else [])
    for number in range(arguments.rounds):
        for side in sides[: len(arguments.sides)] if number else sides:  # a framework takes minutes: once
            figures, cost = _measured(side, log, arguments)
            seconds[side].append(float(figures.pop("seconds")))
            emit(side=side, log=arguments.log, seconds=seconds[side][-1], **figures, **cost.row())
            found = found or figures
            if figures != found:
                raise SystemExit(f"error: {side} found {figures}, {sides[0]} {found}: they did not do the same")
    ours = statistics.median(seconds["recdl"])
    for side in sides:
        if side != "recdl":
            peer = statistics.median(seconds[side])
            emit(log=arguments.log, ratio=peer / ours, against=side, ours_seconds=ours, peer_seconds=peer)


def _arguments() -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument(
        "--rounds", type=int, default=3, help="times that each side prepares (default: %(default)s)"
    )
    parser.add_argument(
        "--core", type=int, default=5, help="events that users and items must have (default: %(default)s)"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="who prepares")
    parser.add_argument("--peer", choices=_PEERS, help="a framework that prepares the log too, in the first round")
    parser.add_argument("--peer-python", metavar="PATH", help="the Python of the framework's environment")
    parser.add_argument("--curve", action="store_true", help="recdl alone, on logs of 1 to 20 million events")
    parser.add_argument("--side", choices=SIDES, help="only this one, in this process")
    arguments = parser.parse_args()
    if arguments.peer and not arguments.peer_python:
        parser.error("--peer needs --peer-python")
    if "recdl" not in arguments.sides:
        parser.error("--sides: recdl is what the others are compared with")
    return arguments


def _measured(side: str, log: Path, arguments: Namespace) -> tuple[Counts, Cost]:
    """Let a side prepare in a process of its own."""
    if side in _PEERS:
        program = Path(__file__).with_name("peers") / f"{side}_preparation.py"
        command = [arguments.peer_python, program, log, "--core", arguments.core]
    else:
        options = ["--folder", arguments.folder, "--core", arguments.core, "--side", side]
        command = [sys.executable, __file__, "--log", log, *options]
    printed, cost = run([str(part) for part in command], threads=available_cores())
    return last_json(printed), cost


def _curve(arguments: Namespace) -> None:
    for name in _CURVE:
        log = csv_of(find_log(name, arguments.folder), arguments.folder)
        log.read_bytes()
        for _ in range(arguments.rounds):
            figures, cost = _measured("recdl", log, arguments)
            emit(
                log=name,
                microseconds_an_event=1e6 * figures["seconds"] / figures["events"],
                **figures,
                **cost.row(),
            )


def _measure_here(side: str, log: Path, folder: Path, core: int) -> None:
    for module in _IMPORTED[side]:
        importlib.import_module(module)  # the same second or less for a log of any size: not what is measured
    if side == "recdl":
        load_numba()
    with tempfile.TemporaryDirectory(dir=folder, prefix="preparation-") as empty:
        started = time.perf_counter()
        counts = SIDES[side](log, Path(empty), core)
        emit(seconds=time.perf_counter() - started, **counts)


def load_numba() -> None:
    """Import what numba, and scipy with it, imports when the first loop is called."""
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def csv_of(log: Path, folder: Path) -> Path:
    """Return the log as a CSV file, written when it is missing or older than the log; a CSV file as it is."""
    if log.suffix == ".csv":
        return log
    path = folder.resolve() / "logs" / f"{log.stem}.csv"
    if not path.exists() or path.stat().st_mtime < log.stat().st_mtime:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pyarrow.csv.write_csv(pq.read_table(log, columns=["user_id", "item_id", "timestamp"]), partial)
        partial.replace(path)
    return path


if __name__ == "__main__":
    main()
