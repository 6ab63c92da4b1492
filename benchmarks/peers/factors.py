"""The task of all sides of `evaluation.py`: random factors, and the last event of each user to be found.

It is made once and written to a folder, so that the memory of a side is not that of reading the log. It runs in
recdl's environment and in the peers': Python 3.11, numpy, pandas, pyarrow.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from timing import read_indexed

CUTOFFS = (5, 10, 20)
SIZE = 64


@dataclass(frozen=True)
class Task:
    """Users in rows.

    Attributes:
        users: (n_users, SIZE) float32.
        items: (n_items, SIZE) float32.
        offsets: (n_users + 1,) int64, between which the history of each lies ...
        history: ... flat int64 items, none of which is to be recommended again.
        targets: (n_users,) int64, the item of each user's last event.
    """

    users: np.ndarray[Any, Any]
    items: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]
    history: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]


def read_task(folder: str | Path) -> Task:
    """Read what `write_task` has written."""
    return Task(**{part.name: np.load(Path(folder) / f"{part.name}.npy") for part in fields(Task)})


def write_task(path: str | Path, folder: str | Path) -> None:
    """Make the task from a log, the same for every side, and write it to a folder."""
    for name, array in asdict(_task(path)).items():
        np.save(Path(folder) / f"{name}.npy", array)


def _task(path: str | Path) -> Task:
    log: pd.DataFrame = read_indexed(path)
    users, items = log["user_id"].to_numpy(), log["item_id"].to_numpy()
    n_users, n_items = int(users.max()) + 1, int(items.max()) + 1
    last = np.append(np.diff(users) != 0, True)
    counts = np.bincount(users[~last], minlength=n_users)
    rng = np.random.default_rng(0)
    return Task(
        rng.standard_normal((n_users, SIZE), dtype=np.float32) / 8,
        rng.standard_normal((n_items, SIZE), dtype=np.float32),
        np.append(0, np.cumsum(counts)).astype(np.int64),
        items[~last],
        items[last],
    )


def best_of(repeats: int, work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the parts of the fastest of some calls, with the seconds of it, and what was printed of figures."""
    found: dict[str, float] = {}
    for _ in range(repeats):
        started, before = time.perf_counter(), time.process_time()
        parts = work()
        seconds = time.perf_counter() - started
        if not found or seconds < found["seconds"]:
            found = {"seconds": seconds, "own_cpu_seconds": time.process_time() - before, **parts}
    return found


if __name__ == "__main__":
    write_task(sys.argv[1], sys.argv[2])
