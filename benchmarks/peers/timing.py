"""What the peers' programs share. It runs in their environments: Python 3.11, numpy, pandas, pyarrow, torch."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd


class Meter:
    """Counts what a training loop gets through, after a warm-up, until its time is up.

    Args:
        warm_up: Seconds that are not counted.
        seconds: Seconds that are.
    """

    def __init__(self, *, warm_up: float, seconds: float) -> None:
        self._warm_up = warm_up
        self._limit = seconds
        self._created = time.perf_counter()
        self._started: float | None = None
        self._last = 0.0
        self._count = 0

    def add(self, n: int) -> bool:
        """Count the `n` samples of a step that has just ended; false once the time is up."""
        self._last = time.perf_counter()
        if self._started is None:
            if self._last - self._created >= self._warm_up:
                self._started = self._last
            return True
        self._count += n
        return self._last - self._started < self._limit

    def figures(self) -> dict[str, float]:
        """Return the rate a second, and the seconds it was measured over.

        Raises:
            SystemExit: If the loop ended within the warm-up.
        """
        if self._started is None or not self._count:
            raise SystemExit("error: training ended before it could be measured; use a larger log")
        seconds = self._last - self._started
        return {"rate": self._count / seconds, "measured_seconds": seconds}


def read_indexed(path: str | Path) -> pd.DataFrame:
    """Read a log of `user_id`, `item_id`, `timestamp`, ids indexed from 0, sorted by user and time."""
    log = pd.read_parquet(path, columns=["user_id", "item_id", "timestamp"]).drop_duplicates()
    for name in ("user_id", "item_id"):
        log[name] = pd.factorize(log[name], sort=True)[0].astype(np.int64)
    return log.sort_values(["user_id", "timestamp"], kind="stable", ignore_index=True)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every peer takes."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("log", help="Parquet file with columns user_id, item_id, timestamp")
    options.add_argument("--seconds", type=float, default=15.0, help="time to measure (default: %(default)s)")
    options.add_argument("--warm-up", type=float, default=3.0, help="before that (default: %(default)s)")
    options.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    return options


def report(**figures: float | str) -> None:
    """Print one JSON line."""
    print(json.dumps(figures), flush=True)
