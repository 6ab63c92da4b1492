"""Whose a folder is: one process at a time is at work in it."""

from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from recdl.errors import ConfigError

LOCK = ".lock"


def lock_folder(folder: Path) -> BaseFileLock:
    """Take a folder for this process, until the lock is released or the process ends, however it does.

    Raises:
        ConfigError: If another process has it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"another process is at work on the run in {folder}; wait for it, end it, or choose another run_dir"
        ) from None
    return lock
