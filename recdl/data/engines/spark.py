"""Preparation on Apache Spark: within this machine, or on a cluster."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recdl.data.engine import embedded_engine
from recdl.data.engines.protocol import Workspace
from recdl.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_MASTERS = ("local", "spark://", "yarn", "k8s://")
_QUIET = {
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_PARTS_PER_CORE = 4  # of a shuffle on this machine: Spark's 200 are meant for a cluster


@dataclass(frozen=True)
class Spark:
    """Apache Spark, which prepares the same log as the embedded engine, byte for byte.

    The files are read, by the embedded reader, on Spark's workers: they need recdl, and the files at the same
    paths. The arrays are streamed to this machine, which writes them.

    Args:
        master: `local[4]` for four cores of this machine, `local[*]` for all of them, or a cluster's address:
            `spark://host:7077`, `yarn`, `k8s://...`.
        options: Spark's own settings, such as `spark.driver.memory`; null: none.
    """

    master: str = "local[*]"
    options: Mapping[str, str | int | float | bool] | None = None

    def __post_init__(self) -> None:
        if not self.master.startswith(_MASTERS):
            raise ConfigError(
                f"engine.master: {self.master!r} is neither local[4] or the like nor a cluster's address, such as "
                "spark://host:7077 (Spark Connect's sc:// will not do)"
            )
        for name in self.options or ():
            if not name.startswith("spark.") or name == "spark.master":
                raise ConfigError(f"engine.options: {name!r} is no setting of Spark such as spark.driver.memory")

    def memory(self) -> int:
        """Return 0: what is read on this machine is none of Spark's."""
        return 0

    @contextmanager
    def workspace(self, scratch: Path) -> Iterator[Workspace]:
        """Give room for one preparation, in the session that runs already or in one that ends with it.

        Raises:
            ConfigError: If pyspark or Java is missing, Spark cannot be started, or runs with other settings.
        """
        _check_installed()
        from recdl.data.engines.spark_tables import SparkTables, spark_errors

        with _same_interrupts(), self._session(scratch) as session:
            tables = SparkTables(session.newSession(), scratch)  # its own settings and names, the same executors
            if self.master.startswith("local") and "spark.sql.shuffle.partitions" not in (self.options or {}):
                cores = session.sparkContext.defaultParallelism
                tables.session.conf.set("spark.sql.shuffle.partitions", _PARTS_PER_CORE * cores)
            try:
                with spark_errors():
                    yield tables
            finally:
                tables.close()

    def reader(self, scratch: Path) -> AbstractContextManager[Any]:
        """Give an embedded connection, on this machine."""
        return embedded_engine(scratch)

    @contextmanager
    def _session(self, scratch: Path) -> Iterator["SparkSession"]:
        from pyspark.sql import SparkSession

        running = SparkSession.getActiveSession()
        if running is not None:
            self._check_same(running)
            yield running
            return
        session = self._started(scratch)
        try:
            yield session
        finally:
            session.stop()

    def _settings(self, scratch: Path) -> dict[str, str]:
        settings = dict(_QUIET)
        if self.master.startswith("local"):
            settings |= {
                "spark.driver.host": "127.0.0.1",
                "spark.driver.bindAddress": "127.0.0.1",
                "spark.local.dir": str(scratch.absolute() / "spark"),
            }
        return settings | {name: _text(value) for name, value in (self.options or {}).items()}

    def _started(self, scratch: Path) -> "SparkSession":
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession

        from recdl.data.engines.spark_tables import failure, without_pandas

        builder = SparkSession.builder.master(self.master).appName("recdl")
        for name, value in self._settings(scratch).items():
            builder = builder.config(name, value)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else `python3`, whichever that is
        try:
            with without_pandas():
                return builder.getOrCreate()
        except (PySparkException, Py4JError, OSError) as error:
            raise ConfigError(
                f"engine.master: Spark cannot be started with {self.master!r}: {failure(error)}"
            ) from error

    def _check_same(self, running: "SparkSession") -> None:
        """Refuse a session that was started with other settings: its own would hold without a word."""
        wanted = {"spark.master": self.master} | {
            name: _text(value) for name, value in (self.options or {}).items()
        }
        for name, value in wanted.items():
            found = running.conf.get(name, None)
            if found != value:
                raise ConfigError(
                    f"engine: a Spark session runs already, with {name} {found!r} instead of {value!r}; stop it, "
                    "or state its settings"
                )


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_installed() -> None:
    if find_spec("pyspark") is None:
        raise ConfigError("engine=spark needs a package that is not installed: pip install 'recdl[spark]'")
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java", path=str(Path(home) / "bin") if home else None) is None:
        where = f"in JAVA_HOME, {home}" if home else "on the PATH"
        raise ConfigError(
            f"engine=spark needs Java 17 or later, which is not {where}; install it, or point JAVA_HOME to it"
        )


@contextmanager
def _same_interrupts() -> Iterator[None]:
    """Put back what Ctrl-C does: a Spark context sets a handler of its own, and leaves it there when it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
