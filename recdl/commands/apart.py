"""A run in a process of its own: its memory is the model's alone, in the record and on the machine."""

import multiprocessing
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from recdl.commands.application import INTERRUPTED, exit_with_status
from recdl.commands.train import record_run
from recdl.errors import RecdlError, RecordError
from recdl.evaluation.records import RunRecord


def train_apart(point: Mapping[str, Any]) -> RunRecord:
    """Train and evaluate in another process, wait for it, and return the record.

    Args:
        point: Configuration of `train`, with a `run_dir`.

    Raises:
        RecordError: If it could not; it says why.
        KeyboardInterrupt: If it was interrupted.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train_here, args=(point, sender))
    process.start()
    sender.close()  # the other end is the process's own: it closes when the process ends
    try:
        process.join()
    finally:
        process.terminate()  # interrupted, nothing is to go on behind the user's back
        process.join()
    if process.exitcode == INTERRUPTED:
        raise KeyboardInterrupt
    if process.exitcode:
        raise RecordError(f"{point['names']['model']} was not trained: {_reason(receiver, process.exitcode)}")
    return RunRecord.open(Path(point["run_dir"]))


def _reason(receiver: Connection, status: int) -> str:
    """Return what went wrong in a process that has ended, as it said itself if it could."""
    try:
        if receiver.poll():
            return str(receiver.recv())
    except EOFError:  # it ended without a word
        pass
    return "see above" if status == 1 else f"its process ended with status {status}; was there memory enough?"


def _train_here(point: Mapping[str, Any], sender: Connection) -> None:
    def work() -> None:
        try:
            record_run(point)
        except (RecdlError, OSError) as error:
            sender.send(str(error))
            raise SystemExit(1) from error  # told by the process that waits

    exit_with_status(work)
