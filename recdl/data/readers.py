"""From a file to a lazy table of its raw rows, read strictly: what is not as it should be is an error."""

import csv
import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from recdl.data.engine import reading_errors
from recdl.data.sources import CsvLog, FileLog
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis


def open_table(connection: Any, log: FileLog, path: Path) -> "ibis.Table":
    """Return the rows of a file as a lazy table.

    Every CSV field is text; an empty one is null. Quotes and the number of fields are checked strictly, except
    that a row cut short gets nulls where bad timestamps are dropped: it lacks its last fields, as a log does that
    was cut while being written.

    Raises:
        DataError: If the file is empty, or lacks a column that `log` names.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")
    if not isinstance(log, CsvLog):
        with reading_errors(path):
            table = connection.read_parquet(str(path))
        _check_columns(log, path, table.columns)
        return table
    names = csv_columns(log, path)
    _check_columns(log, path, names)
    with reading_errors(path):
        return connection.read_csv(
            str(path),
            auto_detect=False,
            columns=dict.fromkeys(names, "VARCHAR"),
            header=log.header is True,
            delim=log.delimiter,
            quote='"',
            escape='"',
            nullstr="",
            strict_mode=True,
            ignore_errors=False,
            null_padding=log.bad_timestamps == "drop",
        )


def csv_columns(log: CsvLog, path: Path) -> list[str]:
    """Return the names of a CSV file's columns.

    Raises:
        DataError: If two columns share a name, or the file does not start with text.
    """
    if log.header is not True:
        return list(log.header)
    with open_text(path) as opened:
        try:
            names = next(csv.reader(opened, delimiter=log.delimiter), [])
            "".join(names).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"the header row of {path} is not UTF-8; convert the file") from error
        except (OSError, EOFError, csv.Error) as error:
            raise DataError(f"{path} has no readable header row: {error}") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns called {twice[0]!r}; rename one")
    return names


def open_text(path: Path) -> TextIO:
    """Open a UTF-8 file, with or without a byte-order mark, gzipped or not; other bytes become surrogates."""
    binary = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115 - the wrapper closes it
    return io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _check_columns(log: FileLog, path: Path, names: list[str] | tuple[str, ...]) -> None:
    wanted = {key: getattr(log.columns, key) for key in ("user", "item", "timestamp", "behavior")}
    for key, name in wanted.items():
        if name is not None and name not in names:
            raise DataError(
                f"{path} has no column {name!r}; its columns are {', '.join(map(repr, names))}. "
                f"Say which one it is with data.columns.{key}=..."
            )
