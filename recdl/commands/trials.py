"""Trials of a search, each in a process of its own: its memory is its own, and its death fails no other."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from recdl.errors import RecdlError

Ending = Literal["finished", "pruned", "failed"]

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_CONTEXT: Any = multiprocessing.get_context(_METHOD)
_PRELOADED = ["recdl.commands.train", "recdl.training.factorization", "recdl.training.sequence"]
"""What takes seconds to import; the server that trials are forked from has it already, and no threads."""


class Pruned(Exception):  # noqa: N818  # no error: the trial did what it was told
    """A trial was told to end."""


@dataclass(frozen=True)
class Told:
    """What a trial's process tells.

    Attributes:
        kind: `epoch`, or how it ended.
        epoch: Of an epoch.
        value: The metric on validation, of an epoch or of all.
        reason: Why it failed.
    """

    kind: Literal["epoch", "finished", "pruned", "failed"]
    epoch: int = 0
    value: float = 0.0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Running:
    """A trial under way.

    Attributes:
        number: Of the trial.
        process: That it runs in.
        connection: What it tells, and is told, by.
        log: File of all it prints.
    """

    number: int
    process: Any
    connection: Connection
    log: Path


def start_trial(number: int, config: Mapping[str, Any], *, log: Path, keep_weights: bool) -> Running:
    """Start a trial.

    Args:
        number: Of the trial.
        config: Of `train`.
        log: File for all it prints.
        keep_weights: Whether its record keeps what was learned.
    """
    if _METHOD == "forkserver":
        _CONTEXT.set_forkserver_preload(_PRELOADED)
    log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_run, args=(number, config, theirs, log, keep_weights))
    process.start()
    theirs.close()  # so that the end of the process is the end of what can be read
    return Running(number, process, ours, log)


def listen(
    running: Mapping[int, Running], *, on_epoch: Callable[[int, int, float], bool]
) -> Iterator[tuple[Running, Told]]:
    """Wait until at least one trial ends, and yield those that did; a process that died failed.

    Args:
        running: By number.
        on_epoch: Is told the number of a trial, an epoch and its value; returns whether the trial is to end there.
    """
    by_connection = {one.connection: one for one in running.values()}
    ended = False
    while not ended:
        for connection in wait(list(by_connection)):
            assert isinstance(connection, Connection), "nothing else was waited for"
            one = by_connection[connection]
            try:
                told: Told = connection.recv()
                if told.kind == "epoch":
                    connection.send(on_epoch(one.number, told.epoch, told.value))
                    continue
            except (EOFError, OSError):
                one.process.join()
                told = Told("failed", reason=_death(one.process.exitcode))
            one.process.join()
            connection.close()
            del by_connection[connection]
            ended = True
            yield one, told


def stop(running: Mapping[int, Running]) -> None:
    """End the trials that are under way, and wait for them."""
    for one in running.values():
        one.process.terminate()
        one.connection.close()  # a trial that holds signals back may wait for what is said of its epoch
    for one in running.values():
        one.process.join()


def _death(status: int | None) -> str:
    killed = (
        f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
    )
    return f"its process {killed}; was there memory enough?"


def _run(number: int, config: Mapping[str, Any], connection: Connection, log: Path, keep_weights: bool) -> None:
    """Do one trial, in its process, and tell what came of it."""
    from recdl.commands.application import exit_with_status

    Thread(target=_end_with_parent, daemon=True).start()
    with _printing_to(log):
        exit_with_status(lambda: connection.send(_ending(number, config, connection, keep_weights=keep_weights)))


def _end_with_parent() -> None:
    """End this process where the search has ended: nobody would hear what its trial comes to."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a trial is started by a search"
    wait([parent.sentinel])
    os._exit(1)


def _ending(number: int, config: Mapping[str, Any], connection: Connection, *, keep_weights: bool) -> Told:
    from recdl.commands.recording import deciding_metric
    from recdl.commands.train import Trial, record_run
    from recdl.evaluation.comparison import validation_metric

    monitor = f"validation/{config['trainer']['monitor']}"
    trial = Trial(_Epochs(connection, monitor), keep_weights=keep_weights)
    try:
        record = record_run(config, trial=trial, trials=number + 1)
        return Told("finished", value=validation_metric(record, deciding_metric(record)))
    except Pruned:
        return Told("pruned")
    except RecdlError as error:
        print(f"error: {error}", file=sys.stderr)
        return Told("failed", reason=str(error))
    except Exception as error:  # whatever goes wrong with one setting, others are to be tried
        traceback.print_exc()
        return Told("failed", reason=f"{type(error).__name__}: {error}")


class _Epochs:
    """Tells of each epoch, and ends the trial if told to.

    A model that fits several networks goes through their epochs one network after the other; only those of the
    first are told of, since the others' cannot be compared with them.
    """

    def __init__(self, connection: Connection, monitor: str) -> None:
        self._connection = connection
        self._monitor = monitor
        self._last = -1

    def __call__(self, entry: Mapping[str, float]) -> None:
        epoch = int(entry["epoch"])
        if self._monitor not in entry or epoch != self._last + 1:
            return
        self._last = epoch
        self._connection.send(Told("epoch", epoch=epoch, value=entry[self._monitor]))
        if self._connection.recv():
            raise Pruned


@contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Let this process print into a file, so that lines of trials at one time are not mixed."""
    with log.open("w", encoding="utf-8") as opened:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(opened.fileno(), stream)
        yield
