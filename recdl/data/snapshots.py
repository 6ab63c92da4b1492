"""Logs that lie in no file, in memory or in a database, written to one for the time of preparing."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.engine import arrow_batches
from recdl.data.inputs import AttributeTable
from recdl.data.leftovers import temporary_prefix
from recdl.data.ordered import OrderedLog, write_places
from recdl.data.reading import Source
from recdl.data.sources import EventLog, IbisLog, ParquetLog, TableLog
from recdl.errors import ConfigError, DataError
from recdl.storage import held

_ROWS = 1 << 18
_FILE_URL = re.compile(r"(duckdb|sqlite)://(?!md:)([^?]*)")


@dataclass(frozen=True, kw_only=True)
class SnapshotLog(ParquetLog):
    """The rows of a log that lies in no file.

    Args:
        described: What to call them in messages.
    """

    described: str

    @property
    def label(self) -> str:
        """What to call the log in messages."""
        return self.described


@contextmanager
def in_files(source: Source, root: Path) -> Iterator[Source]:
    """Give the source as one whose input lies in files: a table in memory or a database becomes a file.

    The file holds the columns that are read and no others, and is removed at the end.

    Args:
        source: The source.
        root: The folder below which the file lies meanwhile.

    Raises:
        ConfigError: If the package for a database is missing.
        DataError: If the table cannot be read, or lacks a column that the log names.
    """
    if isinstance(source, OrderedLog):
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=temporary_prefix("ordered"), dir=root) as name, held(Path(name)):
            yield write_places(source, Path(name))
        return
    in_memory = _tables_in_memory(source)
    if not in_memory and not isinstance(source, TableLog | IbisLog):
        yield source
        return
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=temporary_prefix("snapshot"), dir=root) as name, held(Path(name)):
        folder = Path(name)
        if isinstance(source, TableLog | IbisLog):
            source = _events(source, folder / "events.parquet")
        assert isinstance(source, EventLog), "only these have tables"
        tables: dict[str, Any] = {
            key: _table(table, folder / f"{key}.parquet", key) for key, table in in_memory.items()
        }
        yield replace(source, **tables)


def _tables_in_memory(source: Source) -> dict[str, AttributeTable]:
    both = {key: getattr(source, key, None) for key in ("user_table", "item_table")}
    return {key: table for key, table in both.items() if table is not None and table.table is not None}


def _events(source: TableLog | IbisLog, path: Path) -> SnapshotLog:
    """Write the events to a file and return the log that reads them there."""
    if isinstance(source, TableLog):
        described = f"the table given as log {source.name!r}"
        rows = _whole(source.table)
        _check_columns(_names(rows), source, described)
        pq.write_table(_arrow(rows, list(source.wanted.values()), described), path)
    else:
        described = f"table {source.table!r} of {source.url}"
        _write_rows(source, path, described)
    shared: dict[str, Any] = {one.name: getattr(source, one.name) for one in fields(EventLog)}
    return SnapshotLog(**shared, path=str(path), described=described)


def _table(table: AttributeTable, path: Path, key: str) -> AttributeTable:
    """Write a table of users or items to a file and return the settings that read it there."""
    rows = _whole(table.table)
    names = _names(rows)
    wanted = names if table.columns is None else [name for name in (table.id, *table.columns) if name in names]
    twice = next((name for name in wanted if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"the table given as data.{key} has two columns called {twice!r}; rename one")
    pq.write_table(_arrow(rows, wanted, f"the table given as data.{key}"), path)
    return replace(table, path=str(path), table=None, format="parquet")


def _whole(table: Any) -> Any:
    """Return a pandas frame as it is, anything else as an Arrow table: a stream can be read only once."""
    return table if isinstance(table, pd.DataFrame) else pa.table(table)


def _names(rows: Any) -> list[str]:
    return [str(name) for name in (rows.columns if isinstance(rows, pd.DataFrame) else rows.column_names)]


def _arrow(rows: Any, wanted: Sequence[str], described: str) -> pa.Table:
    """Return columns as an Arrow table of types that Parquet keeps."""
    names = list(dict.fromkeys(wanted))
    if not isinstance(rows, pd.DataFrame):
        return pa.table({name: _plain(rows[name]) for name in names})
    positions = {name: position for position, name in enumerate(_names(rows))}
    arrays = {}
    for name in names:
        try:
            arrays[name] = pa.array(rows.iloc[:, positions[name]], from_pandas=True)
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise DataError(
                f"{described}: column {name!r} holds values of several kinds, or numbers that fit no type "
                f"({error}); make it text: frame[{name!r}].map(str, na_action='ignore')"
            ) from error
    return pa.table(arrays)


def _plain(column: Any) -> Any:
    """Return a column with text views, which Parquet does not know, as text."""
    kind = column.type
    if pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type):
        chunks = [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.large_string()))
            for chunk in column.chunks
        ]
        return pa.chunked_array(chunks, pa.dictionary(kind.index_type, pa.large_string()))
    return column.cast(pa.large_string()) if pa.types.is_string_view(kind) else column


def _check_columns(names: Sequence[str], source: EventLog, described: str) -> None:
    for key, name in source.wanted.items():
        setting = f"data.exclude.{name}" if key.startswith("exclude_") else f"data.columns.{key}"
        if name not in names:
            raise DataError(
                f"{described} has no column {name!r}; its columns are {', '.join(map(repr, names))}. Say which "
                f"one it is with {setting}=..."
            )
        if list(names).count(name) > 1:
            raise DataError(f"{described} has two columns called {name!r}; rename one")


def _write_rows(source: IbisLog, path: Path, described: str) -> None:
    """Stream the table into a Parquet file, sorted, so that the same rows are the same log."""
    import ibis

    url, secrets = _expanded(source.url)
    connection = None
    try:
        connection = _connect(ibis, url, source)
        database = None if source.database is None else tuple(source.database.split("."))
        table = connection.table(
            source.table, database=database if database is None or database[1:] else database[0]
        )
        _check_columns(table.columns, source, described)
        rows = _selected(table, source)
        rows = rows.order_by(rows.columns)
        batches = (
            arrow_batches(connection, rows, rows=_ROWS)
            if connection.name == "duckdb"
            else rows.to_pyarrow_batches(chunk_size=_ROWS)
        )
        schema = rows.schema().to_pyarrow()
        with pq.ParquetWriter(path, schema) as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))
    except DataError:
        raise
    except ImportError as error:
        raise ConfigError(
            f"{described} needs a package that is not installed: {error}; see Ibis's page on this database"
        ) from None
    except Exception as error:  # each database has errors of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        for secret in (url, *secrets):
            reason = reason.replace(secret, "***")
        raise DataError(f"{described} cannot be read: {reason}") from None  # what it came from may show a password
    finally:
        if connection is not None:
            connection.disconnect()


def _selected(table: Any, source: IbisLog) -> Any:
    """Return the columns that are read, whole numbers of ids as text: some databases' drivers round them else."""
    ids = {getattr(source.columns, key) for key in ("user", "item", "behavior", "session")}
    columns = {}
    for name in dict.fromkeys(source.wanted.values()):
        kind = table[name].type()
        text = name in ids and (kind.is_integer() or kind.is_decimal() or kind.is_uuid())
        columns[name] = table[name].cast("string") if text else table[name]
    return table.select(**columns)


def _connect(ibis: Any, url: str, source: IbisLog) -> Any:
    """Connect; a file must be there, since embedded databases would make an empty one."""
    in_file = _FILE_URL.match(url)
    if in_file is None:
        return ibis.connect(url)
    kind, name = in_file.groups()
    places = [Path(name).expanduser(), Path(source.data_root).expanduser() / name]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        raise DataError(
            f"there is no file {' nor '.join(str(place.absolute()) for place in places)}; set data.url to it"
        )
    return ibis.duckdb.connect(str(place), read_only=True) if kind == "duckdb" else ibis.sqlite.connect(str(place))


def _expanded(url: str) -> tuple[str, list[str]]:
    """Put the values of environment variables into an address; return it with those values."""
    secrets = []

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise ConfigError(f"data.url: the environment has no variable {name}, which it names")
        secrets.extend([os.environ[name], quote(os.environ[name], safe="")])
        return secrets[-1]

    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, url), [secret for secret in secrets if secret]
