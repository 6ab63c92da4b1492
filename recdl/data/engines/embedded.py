"""Preparation within this process, on DuckDB: the default."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from recdl.data.engine import arrow_batches, drop_table, embedded_engine
from recdl.data.engines.protocol import Workspace
from recdl.data.events import OpenedLog, read_events
from recdl.data.sources import FileLog
from recdl.errors import ConfigError

if TYPE_CHECKING:
    import ibis


_LIMIT = re.compile(r"\d+(\.\d+)? ?(%|[KMGT](B|iB))")


@dataclass(frozen=True)
class Embedded:
    """DuckDB within this process: nothing to install or to start, and what does not fit into memory is spilled.

    Args:
        memory_limit: How much memory the engine may take, such as `1GB` or `50%` of the machine's; what is above
            that goes to the disk, below the folder of prepared logs, until the log is prepared. Null: 80%. The
            ids, one of each user and item, and some 300 MB for libraries come on top.
    """

    memory_limit: str | None = None

    def __post_init__(self) -> None:
        if self.memory_limit is not None and not _LIMIT.fullmatch(self.memory_limit):
            raise ConfigError(f"engine.memory_limit: {self.memory_limit!r} is no amount such as 1GB, 512MB or 50%")

    def memory(self) -> int:
        """Return the limit in bytes: what DuckDB makes of it on this machine."""
        with duckdb.connect() as connection:
            if self.memory_limit is not None:
                connection.execute(f"SET memory_limit = '{self.memory_limit}'")
            limit = connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
        number, unit = limit.split()
        return int(float(number) * 1024 ** ("bytes", "KiB", "MiB", "GiB", "TiB").index(unit))

    @contextmanager
    def workspace(self, scratch: Path) -> Iterator[Workspace]:
        """Give room for one preparation; what does not fit into memory goes into `scratch`."""
        with self.reader(scratch) as connection:
            connection.raw_sql("SET preserve_insertion_order = false")  # it costs memory, and tables have no order
            yield _Tables(connection)

    def reader(self, scratch: Path) -> AbstractContextManager[Any]:
        """Give a connection; what does not fit into memory goes into `scratch`."""
        return embedded_engine(scratch, memory_limit=self.memory_limit)


@dataclass(frozen=True)
class _Tables:
    """The workspace: temporary tables of a connection."""

    connection: Any

    def read_events(self, name: str, log: FileLog, opened: OpenedLog) -> "ibis.Table":
        with opened.errors():
            return self.keep(name, read_events(self.connection, log, opened))

    def reader(self) -> AbstractContextManager[Any]:
        self.connection.raw_sql("SET preserve_insertion_order = true")  # rows of a file are counted
        return nullcontext(self.connection)

    def keep(self, name: str, table: "ibis.Table") -> "ibis.Table":
        return self.connection.create_table(name, table, temp=True)

    def keep_numbered(self, name: str, table: "ibis.Table", *, order: str) -> "ibis.Table":
        import ibis

        index = ibis.row_number().over(order_by=table[order]).cast("int32")
        return self.keep(name, table.mutate(index=index))

    def drop(self, name: str) -> None:
        drop_table(self.connection, name)

    def load(self, path: Path) -> "ibis.Table":
        return self.connection.read_parquet(str(path))

    def fetch(self, table: "ibis.Table") -> pa.Table:
        return table.to_pyarrow()

    def batches(self, table: "ibis.Table", *, rows: int) -> Iterator[pa.RecordBatch]:
        return arrow_batches(self.connection, table, rows=rows)
