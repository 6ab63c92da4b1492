"""The tables of one preparation on Spark: kept by its executors, numbered and handed over part by part."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.engine import embedded_engine
from recdl.data.engines.spark_reading import event_columns, row_reader
from recdl.data.events import OpenedLog
from recdl.data.sources import FileLog
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis
    from pyspark.sql import DataFrame, SparkSession

_TYPES = {
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.int32(): "int",
    pa.float32(): "float",
    pa.bool_(): "boolean",
}
_TASKS_PER_CORE = 4
_PLACE_BITS = 33  # of `monotonically_increasing_id`: the partition's number lies above them, the row's below


@contextmanager
def spark_errors() -> Iterator[None]:
    """Turn what Spark says when a job fails into DataError."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        text = str(error)
        if "ModuleNotFoundError" in text or "PYTHON_VERSION_MISMATCH" in text:
            advice = (
                "; its workers need the same Python with the same recdl installed: the environment's "
                "PYSPARK_PYTHON names it"
            )
        else:
            advice = "; Spark's own log says more"
        raise DataError(f"Spark could not prepare the log: {failure(error)}{advice}") from error


def failure(error: Exception) -> str:
    """Return the line that says what happened: the last of a Python traceback, Java's own, or the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    python = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception")) and ": " in line]
    java = [line.removeprefix(": ") for line in lines if line.startswith(": ")]
    told = python[-1:] if "Traceback" in str(error) and python else java or lines or ["it said nothing"]
    return told[0][:500]


@contextmanager
def without_pandas() -> Iterator[None]:
    """Pass over that PySpark 4 does not know pandas 3: nothing here makes it use pandas, yet it warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        yield


@dataclass
class SparkTables:
    """A workspace on Spark: each kept table is a checkpointed frame behind a temporary view.

    Args:
        session: A session of this preparation's own.
        scratch: A folder on this machine, for reading files again.
    """

    session: "SparkSession"
    scratch: Path
    connection: Any = field(init=False)
    _kept: dict[str, "DataFrame"] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        import ibis

        with without_pandas():
            self.connection = ibis.pyspark.connect(self.session)

    def close(self) -> None:
        """Forget everything that was kept."""
        for name in list(self._kept):
            self.drop(name)

    def read_events(self, name: str, log: FileLog, opened: OpenedLog) -> "ibis.Table":
        """Read each file by a task of its own, and spread the rows over all cores."""
        files = [(behavior, file) for behavior, part in opened.parts for file in part.one_by_one()]
        cores = self.session.sparkContext.defaultParallelism
        slices = min(len(files), _TASKS_PER_CORE * cores)
        numbers = self.session.range(0, len(files), 1, slices)
        columns = event_columns(log)
        schema = ", ".join(f"{key} {_TYPES[kind]}" for key, kind in columns.items())
        read = row_reader(log, opened.label, files)
        with without_pandas():
            rows = numbers.mapInArrow(read, f"{schema}, file int, problem string")
        if slices < cores:
            rows = rows.repartition(cores)
        kept = self._computed(name, rows)
        problems = kept.filter("problem is not null").selectExpr("min_by(problem, file) as problem")
        problem = problems.collect()[0]["problem"]
        if problem is not None:
            raise DataError(problem)
        return self._view(name, kept.select(*columns))

    def reader(self) -> AbstractContextManager[Any]:
        """Give an embedded connection."""
        return embedded_engine(self.scratch)

    def keep(self, name: str, table: "ibis.Table") -> "ibis.Table":
        """Compute a table once, and keep it as `name`."""
        return self._view(name, self._computed(name, self._frame(table)))

    def keep_numbered(self, name: str, table: "ibis.Table", *, order: str) -> "ibis.Table":
        """Number the rows: each by its place in its part of the sorted table, and the sizes of the parts before.

        A window without partition would do it in one task; this moves no row but for sorting.
        """
        from pyspark.sql import functions as F  # noqa: N812 - its usual name

        placed = self._frame(table).orderBy(order).withColumn("place", F.monotonically_increasing_id())
        kept = self._computed(name, placed)
        part = F.shiftrightunsigned("place", _PLACE_BITS).cast("int")
        counted = kept.groupBy(part.alias("part")).count().collect()
        sizes = np.zeros(1 + max((row["part"] for row in counted), default=0), np.int64)
        for row in counted:
            sizes[row["part"]] = row["count"]
        starts = F.array(*(F.lit(start) for start in (np.cumsum(sizes) - sizes).tolist()))
        within = F.col("place").bitwiseAND((1 << _PLACE_BITS) - 1)
        index = (F.get(starts, part) + within).cast("int").alias("index")
        return self._view(name, kept.select(*table.columns, index))

    def drop(self, name: str) -> None:
        """Forget what was kept as `name`."""
        self.session.catalog.dropTempView(name)
        plan: Any = self._kept.pop(name)._jdf.queryExecution().logical()
        plan.rdd().unpersist(False)  # PySpark has no word for it, and would wait for Java's garbage collection

    def load(self, path: Path) -> "ibis.Table":
        """Hand the file's rows to the executors: they may not reach this machine's files."""
        with without_pandas():
            return self._view(path.stem.replace("-", "_"), self.session.createDataFrame(pq.read_table(path)))

    def fetch(self, table: "ibis.Table") -> pa.Table:
        """Return a table that fits into memory, in its order."""
        schema = table.schema().to_pyarrow()
        return pa.Table.from_batches(self.batches(table, rows=0), schema)

    def batches(self, table: "ibis.Table", *, rows: int) -> Iterator[pa.RecordBatch]:
        """Stream a table, partition by partition, in batches of as many rows as Spark makes them of."""
        schema = table.schema().to_pyarrow()
        with without_pandas():
            packed = self._frame(table).mapInArrow(_packed, "batch binary")
        for row in packed.toLocalIterator():
            for batch in pa.ipc.open_stream(row["batch"]):
                yield batch.cast(schema)

    def _frame(self, table: "ibis.Table") -> "DataFrame":
        return self.session.sql(self.connection.compile(table))

    def _computed(self, name: str, frame: "DataFrame") -> "DataFrame":
        """Compute a frame now, since what it is computed from may be dropped next, and cut off how it came about.

        `persist` would keep that: each round of a k-core would plan all rounds before, until planning never ends.
        """
        self._kept[name] = frame.localCheckpoint(eager=True)
        return self._kept[name]

    def _view(self, name: str, frame: "DataFrame") -> "ibis.Table":
        frame.createOrReplaceTempView(name)
        return self.connection.table(name)


def _packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Write each batch as bytes, which reach the driver as they are: rows would be Python objects there."""
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield pa.record_batch({"batch": pa.array([sink.getvalue().to_pybytes()], pa.binary())})
