"""Files and folders that are whole or absent, and fingerprints of their content."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 24


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` only if the block succeeds.

    An exception (a full disk, an interrupt) removes the temporary file and leaves an earlier `path` as it was.

    Args:
        path: What it becomes.
        durable: Whether to wait until the disk has it, so that it is whole after a power failure too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill, which becomes `path` only if the block succeeds.

    If another process put a folder at `path` meanwhile, that one stays and this one is dropped: both hold the
    same content, since the callers name folders by what they hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with held(temporary):
            yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a folder for as long as the block or the process lasts, so that others see that it is in use.

    The number of a process says that too, but not to another container or machine that has the same disk. Where
    the system or the disk knows no locks, nothing is locked.
    """
    locked = _locked(folder)
    try:
        yield
    finally:
        if locked is not None:
            os.close(locked)


def is_held(folder: Path) -> bool:
    """Whether somebody holds a folder; where that cannot be asked, it may be."""
    locked = _locked(folder)
    if locked is None:
        return True
    os.close(locked)
    return False


def _locked(folder: Path) -> int | None:
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened


@contextmanager
def array_file(
    path: Path, dtype: type[np.generic], length: int | None = None
) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """Give a function that appends to a flat `.npy` file, of a length that is known or is found at the end.

    A memory map would do, but on a full disk writing to one kills the process, where `write` raises.
    """
    written = 0
    with path.open("wb") as opened:
        _write_header(opened, dtype, length or 0)

        def append(part: npt.NDArray[Any]) -> None:
            nonlocal written
            opened.write(np.ascontiguousarray(part, dtype).data)
            written += len(part)

        yield append
        assert length in (None, written), f"{path.name}: {written} values instead of {length}"
        start = opened.tell() - written * np.dtype(dtype).itemsize
        opened.seek(0)
        _write_header(opened, dtype, written)
        assert opened.tell() == start, "a header has room for any length"


def _write_header(opened: BinaryIO, dtype: type[np.generic], length: int) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(opened, {"descr": descr, "fortran_order": False, "shape": (length,)})


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all. NaN and infinity are refused: JSON has neither."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def file_fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:
    """SHA-256, in hexadecimal, of arrays (dtype, shape and bytes) and of anything JSON can say."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"array {part.dtype.str} {part.shape}".encode())
            _digest_array(digest, part)
        else:
            digest.update(b"json " + json.dumps(part, sort_keys=True, allow_nan=False).encode())
        digest.update(b"\x00")
    return digest.hexdigest()


def _digest_array(digest: "hashlib._Hash", array: npt.NDArray[Any]) -> None:
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, len(flat), _BLOCK):  # by the block, so that a memory-mapped array is never held whole
        digest.update(flat[start : start + _BLOCK].data)
