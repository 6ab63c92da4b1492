import multiprocessing
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from recdl.commands.trials import Running, stop

WAITED_IN_VAIN = 7


def _wait_for_an_answer(connection: Connection) -> None:
    """Hold SIGTERM back, as training does, and wait for what is said of an epoch."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    connection.send("epoch")
    try:
        connection.recv()
    except EOFError:
        raise SystemExit(WAITED_IN_VAIN) from None


def test_a_trial_that_waits_for_an_answer_ends_when_the_search_is_stopped() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_wait_for_an_answer, args=(theirs,))
    process.start()
    theirs.close()
    assert ours.recv() == "epoch"
    stop({0: Running(0, process, ours, Path("log"))})
    assert process.exitcode == WAITED_IN_VAIN
