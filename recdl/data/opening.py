"""Files opened as they are, packed or not; and the line of a text file that an engine fell over."""

import gzip
import io
import json
import re
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

import pyarrow as pa


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading bytes, unpacked if its name ends in `.gz` or `.zst`."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix.lower() == ".zst":
        return pa.input_stream(str(path), compression="zstd")  # type: ignore[no-any-return]
    return path.open("rb")


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 file, with or without a byte-order mark, packed or not; other bytes become surrogates."""
    return io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", errors="surrogateescape", newline="")


def malformed_line(path: Path, said: str) -> str:
    """Put right what DuckDB says of malformed JSON: it counts the line that it has read already (2.0 does)."""
    found = re.search(r"at byte \d+ in line (\d+)", said)
    if found is None:
        return said
    number = int(found[1])
    with open_text(path) as opened:
        lines = [*islice(opened, max(number - 2, 0), number), "", ""]
    if number > 1 and (not _is_json(lines[0]) or _is_json(lines[1]) or not lines[1].strip()):
        number -= 1
    return said.replace(found[0], f"in line {number}")


def first_other_ending(path: Path) -> int | None:
    """Return the line, from 1, that first ends in another way than the line before it; None if all end alike."""
    with open_binary(path) as opened:
        ends = None
        for number, line in enumerate(opened, 1):
            end = line.endswith(b"\r\n")
            if ends is not None and line.endswith(b"\n") and end != ends:
                return number
            ends = end
    return None


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
