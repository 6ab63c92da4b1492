"""What runs on Spark's workers: each file of a log is read whole by the embedded reader, on the worker's machine.

Spark's own readers pass over what is wrong in a file (a quote that is never closed, a fraction in an integer), and
know other notations of times, numbers and regular expressions. Read by the embedded reader, a file gives the same
rows, or the same error, on every engine.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from recdl.data.engine import arrow_batches, embedded_engine
from recdl.data.events import OpenedLog, read_events
from recdl.data.readers import Opened
from recdl.data.sources import FileLog
from recdl.errors import DataError

_ROWS = 1 << 16
Part = tuple[str | None, Opened]
"""Files, and the behaviour of all their rows, as in `OpenedLog`."""


def event_columns(log: FileLog) -> dict[str, pa.DataType]:
    """Return the columns of a log's events, as `read_events` has them, and their types."""
    columns = {"user": pa.string(), "item": pa.string(), "time": pa.int64()}
    if log.columns.behavior is not None or None not in log.parts:
        columns["behavior"] = pa.string()
    if log.columns.weight is not None:
        columns["weight"] = pa.float32()
    if log.columns.session is not None:
        columns["session"] = pa.string()
    return columns | ({"excluded": pa.bool_()} if log.exclude else {})


def row_reader(
    log: FileLog, label: str, files: Sequence[Part]
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a task that reads the files whose numbers (column `id`) it is given.

    Args:
        log: The log.
        label: What to call it in messages.
        files: Each file on its own.

    Returns:
        A function from batches to batches of `event_columns`, with `file`, the file's number, and `problem`, what
        is wrong with it. A problem is a row, not an exception: Spark would try such a task again and again.
    """
    schema = pa.schema(event_columns(log) | {"file": pa.int32(), "problem": pa.string()})

    def read(numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (number for batch in numbers for number in batch["id"].to_pylist()):
            try:
                for batch in _rows(log, OpenedLog(label, (files[number],))):
                    yield _batch(schema, batch, number)
            except DataError as error:
                problem = {"file": pa.array([number], pa.int32()), "problem": [str(error)]}
                empty = {field.name: pa.nulls(1, field.type) for field in schema}
                yield pa.record_batch(empty | problem, schema=schema)

    return read


def _rows(log: FileLog, opened: OpenedLog) -> Iterator[pa.RecordBatch]:
    with (
        TemporaryDirectory(prefix="recdl-") as scratch,
        embedded_engine(Path(scratch)) as connection,
        opened.errors(),
    ):
        connection.raw_sql("SET threads = 1")  # Spark counts a task as one core
        yield from arrow_batches(connection, read_events(connection, log, opened), rows=_ROWS)


def _batch(schema: pa.Schema, rows: pa.RecordBatch, number: int) -> pa.RecordBatch:
    added = {
        "file": pa.repeat(pa.scalar(number, pa.int32()), len(rows)),
        "problem": pa.nulls(len(rows), pa.string()),
    }
    arrays = [added[field.name] if field.name in added else rows[field.name].cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
