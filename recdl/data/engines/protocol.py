"""What preparation asks of an engine: what Ibis has no word for, or what each engine does in its own way."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from recdl.data.events import OpenedLog
from recdl.data.sources import FileLog

if TYPE_CHECKING:
    import ibis


class Workspace(Protocol):
    """The tables of one preparation, on one engine. Whatever is kept by a name is gone when the block ends."""

    def read_events(self, name: str, log: FileLog, opened: OpenedLog) -> "ibis.Table":
        """Read the rows of a log, typed as `recdl.data.events.read_events` has them, and keep them as `name`.

        Raises:
            DataError: If a file is not what it should be.
        """

    def reader(self) -> AbstractContextManager[Any]:
        """Give an embedded connection that reads the files on this machine: to say in which line something is."""

    def keep(self, name: str, table: "ibis.Table") -> "ibis.Table":
        """Compute a table once, and keep it as `name`."""

    def keep_numbered(self, name: str, table: "ibis.Table", *, order: str) -> "ibis.Table":
        """Number the rows from 0 in a column `index` (int32), and keep the table as `name`.

        Args:
            name: What the table is kept as.
            table: The rows.
            order: The column, of distinct values, that they are numbered by; text goes byte by byte.
        """

    def drop(self, name: str) -> None:
        """Forget what was kept as `name`; tables that were kept after it stay whole."""

    def load(self, path: Path) -> "ibis.Table":
        """Read a Parquet file of this machine, which fits into memory, as a table."""

    def fetch(self, table: "ibis.Table") -> pa.Table:
        """Return a table that fits into memory, in its order."""

    def batches(self, table: "ibis.Table", *, rows: int) -> Iterator[pa.RecordBatch]:
        """Stream a table in its order, in batches of about `rows` rows at most, without holding it whole."""


class Engine(Protocol):
    """Where the preparation plan runs."""

    def memory(self) -> int:
        """Return how many bytes of this machine may be taken for what is not spilled; 0: nothing is done here."""

    def workspace(self, scratch: Path) -> AbstractContextManager[Workspace]:
        """Give room for one preparation.

        Args:
            scratch: A folder for what does not fit into memory.

        Raises:
            ConfigError: If the engine is not there, or cannot be reached.
        """

    def reader(self, scratch: Path) -> AbstractContextManager[Any]:
        """Give an embedded connection that reads files of this machine, for the tables of users and items.

        Args:
            scratch: A folder for what does not fit into memory.
        """
