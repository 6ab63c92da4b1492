"""How work is shared among threads: plain ones, so that no second pool has to get on with torch's.

What they call releases the interpreter's lock: compiled loops do.
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

_TASKS_A_THREAD = 8

# By the number of threads, and kept: to start threads takes as long as to rank some hundred queries.
_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a child has the pools, and none of their threads


def thread_count() -> int:
    """Return how many threads to use: OMP_NUM_THREADS where it is set, else one for each core of this process."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(loop: Callable[[int, int], object], work: npt.NDArray[np.floating[Any]]) -> None:
    """Call `loop(start, end)` for ranges of rows that together are all of them.

    Args:
        loop: Calls a compiled loop that writes to the rows of its range alone.
        work: (n_rows,) what each row costs, in any unit.
    """
    n_rows, n_threads = len(work), thread_count()
    if not n_rows:
        return
    n_tasks = n_threads * _TASKS_A_THREAD if n_threads > 1 else 1
    # No row is free: each gets some of the mean on top.
    total = np.cumsum(work + work.mean() / 16 + 1e-9)
    inner = np.searchsorted(total, total[-1] * np.arange(1, n_tasks) / n_tasks)
    bounds = np.unique(np.concatenate([[0], inner, [n_rows]]))
    left = deque((int(start), int(end)) for start, end in pairwise(bounds))
    # Let go at the end: what is cancelled waits in the pool's queue until a thread comes by, and keeps its arrays.
    work_on = [loop]

    def take() -> None:
        while left:
            try:
                start, end = left.popleft()
            except IndexError:  # another thread took the last one
                return
            work_on[0](start, end)

    # The caller works too. A thread that has not begun when it is done is not waited for.
    others = [_pool(n_threads - 1).submit(take) for _ in range(min(n_threads, len(left)) - 1)]
    try:
        take()
    finally:
        left.clear()
        wait([other for other in others if not other.cancel()])  # they write to what is the caller's
        work_on.clear()
    for other in others:
        if not other.cancelled():
            other.result()


def _pool(n_threads: int) -> ThreadPoolExecutor:
    if n_threads not in _pools:
        _pools[n_threads] = ThreadPoolExecutor(n_threads, thread_name_prefix="recdl")
    return _pools[n_threads]
