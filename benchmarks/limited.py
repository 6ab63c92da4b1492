"""Prepare a large CSV log, and train an LSTM on it, in processes that may take no more than so much memory.

python benchmarks/limited.py --log L20 --limit 2

Linux alone. Where it can, it makes a control group, whose limit holds for all that the process takes, the pages of
its files in the system's cache among them; else it limits what the process may have of its own (RLIMIT_DATA), maps
of files not counted. Output is a JSON line a step: its seconds, its largest resident memory (`peak_mb`), and how
much of that was its own at the end and no page of a file (`own_mb`).
"""

import argparse
import os
import re
import resource
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from logs import add_log_options, find_log
from measuring import available_cores, emit, last_json, run
from preparation import csv_of

_GROUPS = Path("/sys/fs/cgroup/memory")
_GIB = 1 << 30


def main() -> None:
    """Prepare, then train, each under the limit."""
    arguments = _arguments()
    if arguments.step == "prepare":
        _prepare(arguments)
    elif arguments.step == "train":
        _train(arguments)
    else:
        _run_both(arguments)


def _arguments() -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument(
        "--limit", type=float, default=2.0, help="GiB that a process may take (default: %(default)s)"
    )
    parser.add_argument("--engine-limit", default="900MB", help="engine.memory_limit (default: %(default)s)")
    parser.add_argument("--step", choices=("prepare", "train"), help="only this, in this process, without a limit")
    parser.add_argument("--root", type=Path, help="where the prepared log lies; None: a folder that is removed")
    return parser.parse_args()


def _run_both(arguments: Namespace) -> None:
    log = csv_of(find_log(arguments.log, arguments.folder), arguments.folder)
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder, prefix="limited-") as root,
        _limit(arguments.limit) as (
            kind,
            enter,
        ),
    ):
        for step in ("prepare", "train"):
            options = ["--log", log, "--folder", arguments.folder, "--engine-limit", arguments.engine_limit]
            command = [sys.executable, __file__, *options, "--root", root, "--step", step]
            printed, cost = run([str(part) for part in command], threads=available_cores(), enter=enter)
            emit(
                step=step,
                log=arguments.log,
                limit_gib=arguments.limit,
                by=kind,
                **last_json(printed),
                **cost.row(),
            )


@contextmanager
def _limit(gib: float) -> Iterator[tuple[str, Callable[[], None]]]:
    """Give the kind of limit, and what a process is to call in order to be under it."""
    size = int(gib * _GIB)
    group = _GROUPS / f"recdl-limited-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(size))
    except OSError:
        yield "RLIMIT_DATA", lambda: resource.setrlimit(resource.RLIMIT_DATA, (size, size))
        return
    try:
        yield "control group", lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None
    finally:
        group.rmdir()


def _prepare(arguments: Namespace) -> None:
    from recdl.data.engines.embedded import Embedded
    from recdl.data.preparation import prepare
    from recdl.data.sources import CsvLog

    started = time.perf_counter()
    engine = Embedded(memory_limit=arguments.engine_limit)
    log = prepare(CsvLog(name="log", path=arguments.log), arguments.root, engine=engine, progress=False)
    seconds = time.perf_counter() - started
    emit(seconds=seconds, events=log.interactions.n_events, own_mb=_own_mb())


def _train(arguments: Namespace) -> None:
    from functools import partial

    import numpy as np

    from recdl.data.prepared import PreparedLog
    from recdl.data.splits import LeaveLastOut
    from recdl.models.networks.lstm import LSTM
    from recdl.training.sequence import SequenceRecommender
    from recdl.training.settings import TrainerSettings

    (folder,) = (path for path in arguments.root.iterdir() if not path.name.startswith("."))
    started = time.perf_counter()
    log = PreparedLog.open(folder)
    train = LeaveLastOut().split(log.interactions, data_fingerprint=log.fingerprint).train
    cut = time.perf_counter()
    network = partial(LSTM, embedding_size=16, hidden_size=16)
    trainer = TrainerSettings(accelerator="cpu", max_epochs=1, progress_bar=False)
    SequenceRecommender(network, batch_size=512, trainer=trainer).fit(train)
    done = time.perf_counter()
    emit(
        seconds=done - cut,
        cutting_seconds=cut - started,
        train_events=train.n_events,
        mapped=isinstance(train.items, np.memmap),
        own_mb=_own_mb(),
    )


def _own_mb() -> int:
    """Return the resident memory that is no page of a file."""
    status = Path("/proc/self/status").read_text()
    return sum(int(value) for value in re.findall(r"RssAnon:\s+(\d+) kB", status)) >> 10


if __name__ == "__main__":
    main()
