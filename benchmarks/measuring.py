"""Run a program and note what it took, and what others took of the machine meanwhile. Linux and macOS."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PROC_STAT = Path("/proc/stat")
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux


@dataclass(frozen=True)
class Cost:
    """What one program took.

    Attributes:
        peak_mb: Most resident memory, in MiB.
        cpu_seconds: CPU seconds, importing libraries included.
        cores: CPU seconds a second of wall time.
        others: CPU seconds that everything else on the machine took a second; None where the system does not say.
            Above some 0.15 the figures of this run are noise.
    """

    peak_mb: int
    cpu_seconds: float
    cores: float
    others: float | None

    def row(self) -> dict[str, Any]:
        """Return the figures for a line of output."""
        return asdict(self)


def run(
    command: Sequence[str | Path], *, threads: int, capture: bool = True, enter: Callable[[], None] | None = None
) -> tuple[str, Cost]:
    """Run a program with its thread pools pinned, and return what it printed and what it took.

    Args:
        command: Program and arguments.
        threads: Size of its OpenMP and BLAS pools.
        capture: False lets what it prints go to standard error instead.
        enter: What the process calls before it becomes the program.

    Raises:
        SystemExit: If the program fails; its own message is on standard error.
    """
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
    busy, started = _busy_seconds(), time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE if capture else sys.stderr,
        env=environment,
        preexec_fn=enter,
    )
    printed = process.stdout.read().decode() if process.stdout is not None else ""
    _, status, usage = os.wait4(process.pid, 0)  # Popen.wait keeps the usage to itself
    process.returncode = os.waitstatus_to_exitcode(status)
    wall, after = time.perf_counter() - started, _busy_seconds()
    if process.returncode:
        raise SystemExit(f"error: {command[1]} ended with status {process.returncode}")
    own = usage.ru_utime + usage.ru_stime
    others = None if busy is None or after is None else round(max(0.0, after - busy - own) / wall, 2)
    peak_mb = usage.ru_maxrss * _RSS_UNIT >> 20
    return printed, Cost(peak_mb, round(own, 2), round(own / wall, 2), others)


def last_json(printed: str) -> dict[str, Any]:
    """Return the JSON object on the last line of what a program printed; libraries may print before it."""
    figures: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return figures


def emit(**row: Any) -> None:
    """Print one measurement as a JSON line, floats to four digits."""
    shown = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()}
    print(json.dumps(shown), flush=True)


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _busy_seconds() -> float | None:
    """Return the CPU seconds since boot in which any core was busy, stolen ones included."""
    if not _PROC_STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, _PROC_STAT.read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
