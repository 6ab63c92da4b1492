"""What preparations that were killed left below a root: copies of raw logs, and unfinished folders."""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from recdl.storage import is_held

_NUMBERED = re.compile(r"\.(?:snapshot|ordered)-(\d+)-.*|\..*\.(\d+)\.partial")
"""Temporary names that hold the number of their process: those of snapshots, and those of `recdl.storage`."""


@dataclass(frozen=True)
class Leftovers:
    """Temporary files and folders below a root.

    Attributes:
        removed: How many were of processes that are no more, and are gone.
        in_use: Those of processes that run (or whose numbers others have by now), here or where else the disk is.
    """

    removed: int
    in_use: tuple[Path, ...]


def temporary_prefix(kind: str) -> str:
    """Return how the name of a temporary folder of this process begins; `kind` is snapshot or ordered."""
    return f".{kind}-{os.getpid()}-"


def remove_leftovers(root: Path) -> Leftovers:
    """Remove what killed preparations left below `root`; it may hold raw ids."""
    removed, in_use = 0, list[Path]()
    for path in sorted(root.iterdir()):
        numbered = _NUMBERED.fullmatch(path.name)
        if numbered is None:
            continue
        is_folder = path.is_dir() and not path.is_symlink()
        if _runs(int(numbered[1] or numbered[2])) or (is_folder and is_held(path)):
            in_use.append(path)
            continue
        if is_folder:
            shutil.rmtree(path)
        else:
            path.unlink()
        removed += 1
    return Leftovers(removed, tuple(in_use))


def _runs(process: int) -> bool:
    """Whether there is a process of that number on this machine; where that cannot be asked, there may be."""
    if sys.platform == "win32":  # where the question below would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
