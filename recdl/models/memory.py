"""How much memory is left to this process."""

import os
from pathlib import Path

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
