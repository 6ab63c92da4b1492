"""Preparation within this process, on DuckDB: the default."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recdl.data.engine import arrow_batches, drop_table, embedded_engine
from recdl.data.engines.protocol import Workspace
from recdl.data.events import OpenedLog, read_events
from recdl.data.sources import FileLog

if TYPE_CHECKING:
    import ibis


@dataclass(frozen=True)
class Embedded:
    """DuckDB within this process: nothing to install or to start, and what does not fit into memory is spilled."""

    @contextmanager
    def workspace(self, scratch: Path) -> Iterator[Workspace]:
        """Give room for one preparation; what does not fit into memory goes into `scratch`."""
        with embedded_engine(scratch) as connection:
            yield _Tables(connection)


@dataclass(frozen=True)
class _Tables:
    """The workspace: temporary tables of a connection."""

    connection: Any

    def read_events(self, name: str, log: FileLog, opened: OpenedLog) -> "ibis.Table":
        with opened.errors():
            return self.keep(name, read_events(self.connection, log, opened))

    def reader(self) -> AbstractContextManager[Any]:
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
