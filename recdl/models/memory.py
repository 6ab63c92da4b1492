"""How much memory is left to this process."""

import os
from pathlib import Path

from recdl.errors import DataError

_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Return the bytes that may still be allocated, or None where the system does not say.

    On Linux what is available, or what the process's container leaves of it; elsewhere all the memory there is.
    """
    try:
        lines = _MEMINFO.read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return None
    try:
        limit = int((_CONTROL_GROUP / "memory.max").read_text())  # "max" where there is no limit
        return min(available, max(limit - int((_CONTROL_GROUP / "memory.current").read_text()), 0))
    except (OSError, ValueError):
        return available


def check_memory(needed: int, *, what: str, advice: str) -> None:
    """Refuse work that would not fit, before it is begun.

    Args:
        needed: Bytes, as estimated.
        what: What needs them, as the subject of a sentence.
        advice: What to do instead, as an imperative.

    Raises:
        DataError: If fewer are free; with the estimate, what is free and the advice.
    """
    free = free_memory()
    if free is not None and needed > free:
        raise DataError(
            f"{what} needs {needed / 2**30:,.1f} GiB of memory, but {free / 2**30:,.1f} GiB are free; {advice}"
        )
