"""The same log prepared on Spark: the same bytes, the same errors, and no step in one task alone."""

import filecmp
import importlib.util
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recdl.data.appending import append
from recdl.data.engines import spark as spark_module
from recdl.data.engines.embedded import Embedded
from recdl.data.engines.spark import Spark
from recdl.data.inputs import AttributeTable
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import Privacy
from recdl.data.sources import Columns, CsvLog, EventLog, Filters, JsonLog, ParquetLog, TableLog, Time
from recdl.errors import ConfigError, DataError
from tests.data.files import HEADER, csv_log, left_behind
from tests.data.forms import AWKWARD

MASTER = "local[2]"
NO_PARTITION = "No Partition Defined for Window operation"
LOG4J = """
appenders = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {path}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %p %c %m%n
rootLogger.level = warn
rootLogger.appenderRefs = file
rootLogger.appenderRef.file.ref = file
"""

Make = Callable[[Path], EventLog]


@pytest.fixture(scope="module")
def jvm_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One Spark session for all tests; gives the file that it logs its warnings to."""
    pytest.importorskip("pyspark", reason="Spark is not installed")
    if shutil.which("java") is None:
        pytest.skip("there is no Java, which Spark needs")
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    (folder / "log4j2.properties").write_text(LOG4J.format(path=folder / "jvm.log"))
    options = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        "spark.local.dir": str(folder),
        "spark.sql.shuffle.partitions": "3",
        "spark.default.parallelism": "2",
        "spark.sql.codegen.wholeStage": "false",  # on a few rows, compiling takes longer than running
    }
    builder = SparkSession.builder.master(MASTER)
    for name, value in options.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.getOrCreate()
    yield folder / "jvm.log"
    session.stop()


@pytest.fixture
def spark(jvm_log: Path) -> Spark:  # noqa: ARG001 - it starts the session
    return Spark(MASTER, {"spark.sql.shuffle.partitions": 3})


def awkward_csv(folder: Path) -> EventLog:
    """Quotes, separators, line breaks and unicode in ids; ties in time, duplicates, rows that are left out."""
    rng = random.Random(3)
    rows = ["user_id,item_id,timestamp,b,order"]
    for _ in range(800):
        user, item = (rng.choice(AWKWARD).replace('"', '""') for _ in range(2))
        row = f'"{user}","{item}",{rng.randrange(30)},{rng.choice(["pv", "buy", "fav"])},{rng.choice(["C1", "1"])}'
        rows += [row] * rng.choice([1, 1, 2])
    rows += [",x,1,pv,1", "a,,1,pv,1"]
    return csv_log(
        folder / "log.csv",
        "\n".join(rows) + "\n",
        columns=Columns(behavior="b"),
        behaviors={"view": ("pv",), "like": ("fav",), "purchase": ("buy",)},
        behavior_weights={"purchase": 3.0},
        exclude={"order": "^C"},
        start="1970-01-01T00:00:02",
        filters=Filters(behaviors=("view", "purchase"), min_user_events=11, min_item_events=11),
    )


def dated_parquet(folder: Path) -> EventLog:
    """Large integers as ids, nanoseconds in a time zone, the behaviour in the names of the folders."""
    rng = np.random.default_rng(5)
    for number, behavior in enumerate(("view", "purchase", "view")):
        path = folder / "lake" / f"b={behavior}" / f"{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {
            "user_id": 2**53 + rng.integers(0, 20, 200),
            "item_id": rng.integers(-5, 5, 200),
            "timestamp": pa.array(rng.integers(0, 2**60, 200)).cast(pa.timestamp("ns", "Asia/Tokyo")),
        }
        pq.write_table(pa.table(columns), path)
    return ParquetLog(name="log", path=str(folder / "lake"), columns=Columns(behavior="b"))


def json_by_behavior(folder: Path) -> EventLog:
    """A file for each behaviour, local times of a zone with clock changes, numbers and text as ids."""
    rng = random.Random(7)
    for behavior in ("view", "purchase"):
        rows = [
            {
                "user_id": rng.choice([7, "7", "007", "ü", 1.5]),
                "item_id": rng.choice(["x", "y", None, "名"]),
                "timestamp": f"2024-{rng.randrange(1, 13):02d}-01 0{rng.randrange(5)}:30:00.25",
            }
            for _ in range(60)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{behavior}.jsonl").write_text(text, encoding="utf-8")
    return JsonLog(
        name="log",
        path={behavior: str(folder / f"{behavior}.jsonl") for behavior in ("view", "purchase")},
        time=Time("iso", timezone="Europe/Berlin"),
    )


def with_tables(folder: Path) -> EventLog:
    """A frame in memory, with what is known of its users and items."""
    users = pd.DataFrame({"user_id": ["ann", "bob", "eve"], "born": [1980, None, 2001]})
    (folder / "items.csv").write_text('sku,price,text\nx,"1.5",ü\nz,2,\n')
    items = AttributeTable(path=str(folder / "items.csv"), id="sku", numbers=("price",))
    frame = pd.DataFrame(
        {"user_id": list("ab") + ["ann"] * 3, "item_id": list("xyxyz"), "timestamp": [5, 4, 3, 3, 3]}
    )
    return TableLog(
        name="log", table=frame, user_table=AttributeTable(table=users, id="user_id"), item_table=items
    )


def chain(folder: Path) -> EventLog:
    """A chain that loses its ends each round of the 2-core, beside a square that stays; a row without a time."""
    pairs = [(f"u{n}", f"i{n + step}") for n in range(4) for step in (0, 1)]
    pairs += [(user, item) for user in ("a", "b") for item in ("x", "y")]
    rows = "".join(f"{user},{item},{n}\n" for n, (user, item) in enumerate(pairs))
    text = f"user_id,item_id,timestamp\n{rows}a,x,late\n"
    filters = Filters(min_user_events=2, min_item_events=2)
    return csv_log(folder / "log.csv", text, filters=filters, bad_timestamps="drop")


def masked_and_weighed(folder: Path) -> EventLog:
    """Pseudonyms for ids, coarse times, a number and a session for each event, items of few users left out."""
    (folder / "key").write_text("a key of sixteen bytes or more\n")
    rng = random.Random(9)
    rows = [
        f"{rng.choice('abcü')},{rng.choice('xyz')},{rng.randrange(99)},{rng.choice([-1.5, 0, 2])},"
        + rng.choice(["", "s1", "s2", "S1", "ü", "07", "7"])
        for _ in range(60)
    ]
    return csv_log(
        folder / "log.csv",
        "user_id,item_id,timestamp,stars,visit\n" + "\n".join([*rows, "a,rare,5,1,s1"]) + "\n",
        columns=Columns(weight="stars", session="visit"),
        privacy=Privacy(pseudonyms=("user", "item"), key_file=str(folder / "key"), times="minute"),
        filters=Filters(min_item_users=2),
    )


def assert_same(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert filecmp.cmpfiles(one, other, names, shallow=False) == (names, [], [])


def on_both(log: EventLog, folder: Path, spark: Spark) -> tuple[PreparedLog, PreparedLog]:
    embedded = prepare(log, folder / "embedded", engine=Embedded(), progress=False)
    return embedded, prepare(log, folder / "spark", engine=spark, progress=False)


@pytest.mark.parametrize(
    "make", [awkward_csv, dated_parquet, json_by_behavior, with_tables, chain, masked_and_weighed]
)
def test_a_log_prepared_on_spark_is_the_same_byte_for_byte(
    tmp_path: Path, spark: Spark, jvm_log: Path, make: Make
) -> None:
    embedded, on_spark = on_both(make(tmp_path), tmp_path, spark)
    assert embedded.interactions.n_events > 3
    assert on_spark.fingerprint == embedded.fingerprint
    assert_same(embedded.folder, on_spark.folder)
    assert NO_PARTITION not in jvm_log.read_text()


def bad_timestamp(folder: Path) -> EventLog:
    (folder / "a.csv").write_text("user_id,item_id,timestamp\na,x,1\n")
    (folder / "b.csv").write_text('user_id,item_id,timestamp\n"a\nb",x,1\na,x,soon\na,x,later\n')
    return CsvLog(name="log", path=(str(folder / "a.csv"), str(folder / "b.csv")), time=Time("s"))


def ragged(folder: Path) -> EventLog:
    return csv_log(folder / "log.csv", "user_id,item_id,timestamp\na,x,1\na,x,2,3\n")


def inexact_ids(folder: Path) -> EventLog:
    pq.write_table(
        pa.table({"user_id": [2.0**53, None], "item_id": ["x", "y"], "timestamp": [1, 2]}), folder / "log.parquet"
    )
    return ParquetLog(name="log", path=str(folder / "log.parquet"))


def unnamed_behavior(folder: Path) -> EventLog:
    text = "user_id,item_id,timestamp,b\na,x,1,pv\na,x,2,fav\n"
    return csv_log(folder / "log.csv", text, columns=Columns(behavior="b"), behaviors={"view": ("pv",)})


def nothing_left(folder: Path) -> EventLog:
    text = "user_id,item_id,timestamp\na,x,1\n"
    return csv_log(folder / "log.csv", text, filters=Filters(min_user_events=2))


def no_rows(folder: Path) -> EventLog:
    return csv_log(folder / "log.csv", "user_id,item_id,timestamp\n")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (bad_timestamp, r"b\.csv, line 4: column 'timestamp' holds 'soon', which .* \(2 such rows in all\)"),
        (ragged, r"log\.csv cannot be read: line 3 has 4 fields, not 3"),
        (inexact_ids, r"log\.parquet: column 'user_id' holds 9007199254740992 as a floating-point number"),
        (unnamed_behavior, r"holds behaviours that data\.behaviors does not name: 'fav' \(1 rows\)"),
        (nothing_left, "nothing is left of 1 rows; dropped: few_events 1"),
        (no_rows, "holds no rows"),
    ],
)
def test_a_bad_log_is_refused_on_spark_in_the_same_words(
    tmp_path: Path, spark: Spark, make: Make, says: str
) -> None:
    log = make(tmp_path)
    with pytest.raises(DataError, match=says) as embedded:
        prepare(log, tmp_path / "embedded", progress=False)
    with pytest.raises(DataError, match=says) as on_spark:
        prepare(log, tmp_path / "spark", engine=spark, progress=False)
    assert str(on_spark.value) == str(embedded.value)
    assert left_behind(tmp_path / "spark") == []


def test_a_piece_appended_on_spark_gives_the_same_byte_for_byte(tmp_path: Path, spark: Spark) -> None:
    rng = random.Random(2)
    rows = [f"{rng.choice('abcdÜé')},{rng.choice('xyzüÉ')},{rng.randrange(9)}\n" for _ in range(80)]
    folders = []
    for engine in (Embedded(), spark):
        old = csv_log(tmp_path / "log.csv", HEADER + "".join(rows[:20]))
        piece = csv_log(tmp_path / "piece.csv", HEADER + "".join(rows[20:]))
        log = prepare(old, tmp_path / type(engine).__name__, progress=False)
        folders.append(append(log, piece, engine=engine, progress=False).folder)
        assert folders[-1] != log.folder
    names = sorted(path.name for path in folders[0].iterdir())
    assert filecmp.cmpfiles(*folders, names, shallow=False) == (names, [], [])


def test_rows_are_numbered_in_order_across_parts_without_a_window_in_one_task(
    tmp_path: Path, spark: Spark, jvm_log: Path
) -> None:
    ids = [f"{number:05d}" for number in np.random.default_rng(0).permutation(20_000)]
    with spark.workspace(tmp_path) as work:
        work.session.createDataFrame(pa.table({"id": ids})).createTempView("given")
        work.session.conf.set("spark.sql.adaptive.enabled", "false")  # it would put small parts together
        numbered = work.keep_numbered("numbered", work.connection.table("given"), order="id")
        found = work.fetch(numbered.order_by("id"))
        assert work.session.table("numbered").rdd.getNumPartitions() == 3
        assert found["id"].to_pylist() == sorted(ids)
        assert found["index"].to_pylist() == list(range(20_000))
        assert NO_PARTITION not in jvm_log.read_text()
        work.session.sql("select row_number() over (order by id) from given").collect()
        assert NO_PARTITION in jvm_log.read_text()  # it would have been seen


def test_nothing_is_kept_on_spark_when_a_preparation_ends(tmp_path: Path, spark: Spark) -> None:
    with spark.workspace(tmp_path) as work:
        work.session.range(3).createTempView("given")
        work.keep("kept", work.connection.table("given"))
        context = work.session.sparkContext
        assert context._jsc.getPersistentRDDs().size() == 1
    assert context._jsc.getPersistentRDDs().size() == 0


@pytest.mark.usefixtures("jvm_log")
def test_a_session_of_other_settings_is_refused(tmp_path: Path) -> None:
    wanted = r"engine: a Spark session runs already, with spark.master 'local\[2\]' instead of 'local\[3\]'"
    with pytest.raises(ConfigError, match=wanted), Spark("local[3]").workspace(tmp_path):
        pass


def test_a_failing_job_is_an_error_of_data_that_says_why(tmp_path: Path, spark: Spark) -> None:
    with (
        pytest.raises(DataError, match=r"Spark could not prepare the log: .*DIVIDE_BY_ZERO"),
        spark.workspace(tmp_path) as work,
    ):
        work.session.sql("select 1 / (id - 1) from range(3)").collect()


def test_without_the_package_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'recdl\[spark\]'"), Spark().workspace(tmp_path):
        pass


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="Spark is not installed")
@pytest.mark.parametrize(("home", "where"), [("", "on the PATH"), ("/nowhere", "in JAVA_HOME, /nowhere")])
def test_without_java_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str, where: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", home)
    with (
        pytest.raises(ConfigError, match=f"needs Java 17 or later, which is not {where}"),
        Spark().workspace(tmp_path),
    ):
        pass


@pytest.mark.parametrize("master", ["", "sc://host", "host:7077"])
def test_a_master_that_is_none_is_refused(master: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.master: .* is neither local\[4\]"):
        Spark(master)


@pytest.mark.parametrize("name", ["driver.memory", "spark.master"])
def test_an_option_that_is_no_setting_of_spark_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"engine\.options: '{name}' is no setting of Spark"):
        Spark(options={name: "1g"})
