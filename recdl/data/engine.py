"""The embedded DuckDB on which preparation runs, and the few things Ibis has no word for."""

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from recdl.data.opening import first_other_ending, malformed_line
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis


@contextmanager
def embedded_engine(scratch: Path, *, memory_limit: str | None = None) -> Iterator[Any]:
    """Give an Ibis connection to a DuckDB in memory that spills into `scratch` what does not fit.

    Args:
        scratch: A folder.
        memory_limit: How much memory it may take, such as 1GB; None: its own limit, 80% of the machine's.

    Raises:
        DataError: If that is too little.
    """
    import ibis

    limits = {} if memory_limit is None else {"memory_limit": memory_limit}
    connection = ibis.duckdb.connect(temp_directory=str(scratch / "spill"), **limits)
    try:
        yield connection
    except duckdb.OutOfMemoryException as error:
        if _disk_is_full(error):
            raise
        limit = "80% of this machine's" if memory_limit is None else memory_limit
        if "bad allocation" in str(error):  # what the engine may take, the system does not give
            raise DataError(
                f"the system gives this process less memory than the engine may take, {limit}: {_reason(error)}; "
                "lower engine.memory_limit, so that more is spilled to the disk"
            ) from error
        raise DataError(
            f"the engine's memory, {limit}, is too little: {_reason(error)}; raise engine.memory_limit"
        ) from error
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


@contextmanager
def reading_errors(shown: Path | str, copies: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turn what DuckDB says of files into DataError, without its advice on its own options.

    Args:
        shown: What to call the files, all at once.
        copies: What to call each file by its path: the one that DuckDB complains of is named.
    """
    try:
        yield
    except duckdb.IOException as error:
        if _disk_is_full(error):
            raise
        raise _unreadable(error, str(shown), copies or {}) from error
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise
    except duckdb.Error as error:
        raise _unreadable(error, str(shown), copies or {}) from error


def _unreadable(error: Exception, shown: str, copies: Mapping[str, str]) -> DataError:
    text, reason = str(error), _reason(error)
    if "state machine reached an invalid state" in text:  # in which line, DuckDB does not say
        for path, name in copies.items():
            line = first_other_ending(Path(path))
            if line is not None:
                ends = r"ends in another way than the line before it (\r\n and \n); write all lines alike"
                return DataError(f"{name}, line {line}: {ends}")
    for path in sorted(copies, key=len, reverse=True):
        if path in text:
            if "Malformed JSON" in reason:
                reason = malformed_line(Path(path), reason)
            return DataError(f"{copies[path]} cannot be read: {reason.replace(path, copies[path])}")
    return DataError(f"{shown} cannot be read: {reason}")


def _ragged(reason: str) -> str:
    """Say what to do about a row with too many or too few fields; other reasons stay what they are."""
    found = re.search(
        r"CSV Error on Line: (\d+) Original Line: (.*) Expected Number of Columns: (\d+) Found: (\d+)", reason
    )
    if found is None:
        return reason
    line, text, wanted, fields = found[1], found[2], int(found[3]), int(found[4])
    if fields > wanted:
        way_out = "mend the line, or quote the field that holds the separator"
    else:
        way_out = "mend the line (data.bad_timestamps=drop drops, and counts, rows of a log that are cut short)"
    return f"line {line} has {fields} {'field' if fields == 1 else 'fields'}, not {wanted}: {text}; {way_out}"


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
    return _with_way_out(_ragged(" ".join(text.removeprefix("Invalid Input Error: ").split())))


def _with_way_out(reason: str) -> str:
    """Say what to do about bytes of another encoding and quotes that stay open."""
    if "not utf-8 encoded" in reason:
        return f"{reason} State its encoding, such as data.encoding=cp1252"
    if "unterminated quote" in reason:
        return f"{reason} Close the quote, or set data.quote=null if quotes mean nothing there"
    return reason
