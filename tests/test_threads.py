import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import numpy.typing as npt
import pytest

from recdl.threads import in_threads

FORKED = """
import os, sys
import numpy as np
from recdl.threads import in_threads

def work(start, end):
    done[start:end] += 1

done = np.zeros(100)
in_threads(work, np.ones(100))
child = os.fork()
in_threads(work, np.ones(100))
if not child:
    os._exit(0 if (done == 2).all() else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("n_threads", ["1", "3"])
def test_every_row_is_worked_on_once(n_threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    done = np.zeros(101, np.int64)

    def work(start: int, end: int) -> None:
        done[start:end] += 1

    in_threads(work, np.random.default_rng(0).random(101))
    assert (done == 1).all()


def test_threads_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    seen: set[int] = set()
    for _ in range(20):
        in_threads(lambda *_: seen.add(threading.get_ident()), np.ones(50))
    assert len(seen) <= 3


def test_an_error_in_a_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")

    ended: list[int] = []

    def fail(start: int, end: int) -> None:
        if start == 0:
            raise ValueError(f"rows up to {end}")
        ended.append(end - start)

    with pytest.raises(ValueError, match="rows up to"):
        in_threads(fail, np.ones(50))
    n_ended = sum(ended)
    assert 0 < n_ended < 50
    time.sleep(0.05)
    assert sum(ended) == n_ended  # none goes on behind the caller's back


def test_what_was_worked_on_is_let_go_though_no_thread_came_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    held, free = threading.Barrier(3), threading.Event()

    def hold(*_: int) -> None:
        if not free.is_set():
            held.wait(30)
            free.wait(30)

    def count() -> "weakref.ref[npt.NDArray[np.float64]]":
        done = np.zeros(50)

        def work(start: int, end: int) -> None:
            done[start:end] += 1

        in_threads(work, np.ones(50))
        assert (done == 1).all()
        return weakref.ref(done)

    holder = threading.Thread(target=in_threads, args=(hold, np.ones(50)))
    holder.start()
    held.wait(30)  # it, and the only thread of the pool
    seen = count()
    assert seen() is None
    free.set()
    holder.join(30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process forks here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    variables = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", FORKED], env=variables, timeout=60, check=False)
    assert done.returncode == 0
