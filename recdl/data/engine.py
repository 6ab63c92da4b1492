"""The embedded DuckDB on which preparation runs, and the few things Ibis has no word for."""

import csv
import errno
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import duckdb
import pyarrow as pa

from recdl.data.sources import CsvLog, FileLog
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis


@contextmanager
def embedded_engine(scratch: Path) -> Iterator[Any]:
    """Give an Ibis connection to a DuckDB in memory that spills into `scratch` what does not fit."""
    import ibis

    connection = ibis.duckdb.connect(temp_directory=str(scratch / "spill"))
    try:
        yield connection
    except (RuntimeError, duckdb.Error) as error:
        if "interrupted" in str(error).lower():  # DuckDB's answer to Ctrl-C in the middle of a query
            raise KeyboardInterrupt from error
        raise
    finally:
        connection.disconnect()


def drop_table(connection: Any, name: str) -> None:
    """Drop a table. Ibis 12's own `drop_table` forgets the name with sqlglot 30.30 (`DROP TABLE` and no more)."""
    connection.raw_sql(f'DROP TABLE "{name}"')


def arrow_batches(connection: Any, table: "ibis.Table", *, rows: int) -> Iterator[pa.RecordBatch]:
    """Stream a result in Arrow batches of about `rows` rows, without holding more than one.

    Ibis 12's own `to_pyarrow_batches` calls a method that DuckDB 2.0 no longer has.
    """
    relation = connection.con.sql(connection.compile(table))
    read = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch  # the name before DuckDB 1.4
    yield from read(rows)


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


@contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Turn what DuckDB says of a file into DataError, without its advice on its own options."""
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        if _disk_is_full(error):
            raise
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise DataError(f"{path} cannot be read: {_reason(error)}") from error


@contextmanager
def writing_errors(folder: Path) -> Iterator[None]:
    """Turn a full or write-protected disk into DataError."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        way_out = "free some space" if _disk_is_full(error) else "mend that"
        raise DataError(
            f"the prepared log cannot be written to {folder}: {_reason(error)}; {way_out}, or choose another "
            "prepared_root. Nothing half written was left there"
        ) from error


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(sign in str(error) for sign in ("No space left", "max_temp_directory_size", "quota exceeded"))


def _reason(error: Exception) -> str:
    text = str(error)
    for advice in ("Possible fixes", "Possible Solution", "Possible solutions"):
        text = text.split(advice)[0]
    return " ".join(text.split())
