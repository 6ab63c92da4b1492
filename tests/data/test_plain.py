"""Plain logs read without an engine: the same bytes as the plan's, and everything else left to the plan."""

import filecmp
import gzip
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data import plain, preparation
from recdl.data.engines.embedded import Embedded
from recdl.data.engines.spark import Spark
from recdl.data.events import open_log
from recdl.data.plain import PlainLog, read_plain
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sources import Columns, CsvLog, Filters, Time
from recdl.errors import DataError
from tests.data.files import FUNNEL, HEADER, csv_log, dropped, events, left_behind

AMPLE = 1 << 30


@pytest.fixture
def any_size() -> Iterator[None]:
    """Small logs are read without an engine too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plain, "_ENOUGH", 0)
        yield


def read(tmp_path: Path, text: str | bytes, *, memory: int = AMPLE, **settings: Any) -> PlainLog | None:
    log = csv_log(tmp_path / "log.csv", text, **settings)
    return read_plain(log, open_log(log, tmp_path), memory=lambda: memory)


def both(log: CsvLog, folder: Path) -> tuple[PreparedLog, PreparedLog]:
    """The log prepared without an engine, which is made sure of, and by the plan."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plain, "_ENOUGH", 0)
        patched.setattr(preparation, "_planned", None)
        here = prepare(log, folder / "here", progress=False)
    return here, prepare(log, folder / "planned", progress=False)


def assert_same_bytes(one: PreparedLog, other: PreparedLog) -> None:
    names = sorted(path.name for path in one.folder.iterdir())
    assert names == sorted(path.name for path in other.folder.iterdir())
    assert filecmp.cmpfiles(one.folder, other.folder, names, shallow=False) == (names, [], [])


ids = st.text(st.sampled_from("ab7é. -"), min_size=1, max_size=3).filter(str.strip)
rows = st.lists(
    st.tuples(ids, ids, st.sampled_from(["pv", "click", "buy"]), st.integers(-3, 9)), min_size=1, max_size=30
)
filters = st.builds(
    Filters,
    min_user_events=st.integers(1, 2),
    min_item_events=st.integers(1, 2),
    behaviors=st.sampled_from([None, ("view",)]),
)
starts, ends = st.sampled_from([None, "1970-01-01"]), st.sampled_from([None, "1970-01-01 00:00:05"])


@settings(max_examples=40)
@given(rows, filters, starts, ends)
def test_a_plain_log_becomes_the_same_bytes_as_by_the_plan(
    rows: list[tuple[str, str, str, int]], filters: Filters, start: str | None, end: str | None
) -> None:
    text = "".join(f"{time};{user};{behavior};{item}\n" for user, item, behavior, time in rows)
    with TemporaryDirectory() as folder:
        log = csv_log(
            Path(folder) / "log.csv",
            text,
            separator=";",
            header=("timestamp", "user_id", "behavior", "item_id"),
            columns=Columns(behavior="behavior"),
            behaviors=FUNNEL,
            filters=filters,
            start=start,
            end=end,
        )
        try:
            logs = both(log, Path(folder))
        except DataError:  # nothing is left of it, or no view
            return
        assert_same_bytes(*logs)


@pytest.mark.parametrize(
    ("unit", "times"),
    [
        ("s", (0, -62_104_060_800, 253_370_764_799)),
        ("ms", (0, 1_500_000_000_123)),
        ("us", (0, 1_500_000_000_123_456)),
        ("auto", (94_000_000, 1_500_000_000)),
        ("auto", (1_500_000_000_123, 1_500_000_000_124)),
        ("auto", (1_500_000_000_123_456, 1_500_000_000_123_457)),
    ],
)
def test_every_unit_of_whole_numbers_is_read_as_by_the_plan(
    tmp_path: Path, unit: Any, times: tuple[int, ...]
) -> None:
    text = HEADER + "".join(f"a,{place},{time}\n" for place, time in enumerate(times))
    assert_same_bytes(*both(csv_log(tmp_path / "log.csv", text, time=Time(unit)), tmp_path))


def test_columns_that_are_not_wanted_and_a_file_of_each_behaviour(tmp_path: Path) -> None:
    (tmp_path / "views.csv").write_text("user,price,item,at\nb,1.5,x,3\na,,y,1\nb,2,x,3\n")
    (tmp_path / "sales.csv").write_text("at,item,user\n2,x,b\n")
    log = CsvLog(
        name="log",
        path={"view": str(tmp_path / "views.csv"), "purchase": str(tmp_path / "sales.csv")},
        columns=Columns(user="user", item="item", timestamp="at"),
        time=Time("s"),
    )
    here, planned = both(log, tmp_path)
    assert events(here) == [
        ("a", "y", "view", 1_000_000),
        ("b", "x", "purchase", 2_000_000),
        ("b", "x", "view", 3_000_000),
    ]
    assert dropped(here) == {"duplicate": 1}
    assert_same_bytes(here, planned)


def test_events_of_many_blocks_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_BLOCK", 64)
    text = HEADER + "".join(f"u{n % 7},i{n % 11},{(n * 37) % 50}\n" for n in range(300))
    assert_same_bytes(*both(csv_log(tmp_path / "log.csv", text), tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        HEADER + 'a,"x",1\n',
        HEADER + 'a,x"y,1\n',
        HEADER + "a,x,1\r\nb,x,2\r\n",
        HEADER + "a,x\0,1\n",
        HEADER + "a,x\n",
        HEADER + "a,x,1,1\n",
        HEADER + "a,x,1\n\nb,x,1\n",
        HEADER + "a,,1\n",
        HEADER + ",x,1\n",
        HEADER + "a, ,1\n",
        HEADER + "a,x,\n",
        HEADER + "a,x,noon\n",
        HEADER + "a,x,1.5\n",
        HEADER + "a,x,0x1f\n",
        HEADER + "a,x,0X1F\n",
        HEADER + "a,x,253370764800\n",
        HEADER.encode() + b"a,\xff,1\n",
        HEADER,
    ],
)
@pytest.mark.usefixtures("any_size")
def test_what_is_not_plain_is_left_to_the_plan(tmp_path: Path, text: str | bytes) -> None:
    assert read(tmp_path, text) is None


@pytest.mark.parametrize(
    "others",
    [
        {"time": Time("iso")},
        {"bad_timestamps": "drop"},
        {"separator": "::", "header": ("user_id", "item_id", "timestamp")},
        {"columns": Columns(weight="at")},
        {"columns": Columns(session="at")},
        {"exclude": {"item_id": "y"}},
    ],
)
@pytest.mark.usefixtures("any_size")
def test_settings_that_ask_for_more_than_numbers_are_left_to_the_plan(
    tmp_path: Path, others: dict[str, Any]
) -> None:
    text = "user_id::item_id::timestamp\n" if "separator" in others else "user_id,item_id,timestamp,at\n"
    assert read(tmp_path, text + "1,2,3,4\n", **others) is None


@pytest.mark.parametrize("times", [(19_700_101, 20_261_128), (5, 200_000_000_000), (-(10**12), -(10**12))])
@pytest.mark.usefixtures("any_size")
def test_numbers_whose_unit_is_not_plain_are_left_to_the_plan(tmp_path: Path, times: tuple[int, int]) -> None:
    text = HEADER + "".join(f"a,x,{time}\n" for time in times)
    assert read(tmp_path, text, time=Time("auto")) is None


@pytest.mark.usefixtures("any_size")
def test_a_mark_before_the_first_field_is_left_to_the_plan(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbfa,x,1\n"
    assert read(tmp_path, text, header=("user_id", "item_id", "timestamp")) is None
    assert read(tmp_path, b"\xef\xbb\xbf" + HEADER.encode() + b"a,x,1\n") is not None


@pytest.mark.usefixtures("any_size")
def test_a_packed_file_is_left_to_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "a,x,1\n").encode()))
    log = CsvLog(name="log", path=str(path), time=Time("s"))
    assert read_plain(log, open_log(log, tmp_path), memory=lambda: AMPLE) is None


def test_a_small_log_and_one_that_does_not_fit_are_left_to_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = HEADER + "a,x,1\n"
    assert read(tmp_path, text) is None
    monkeypatch.setattr(plain, "_ENOUGH", len(text))
    assert read(tmp_path, text, memory=2 * 64 + 3 * len(text)) is not None
    assert read(tmp_path, text, memory=2 * 64 + 3 * len(text) - 1) is None


def test_an_engine_says_what_memory_there_is_on_this_machine() -> None:
    assert Embedded("512MiB").memory() == 512 << 20
    assert Embedded("10%").memory() < Embedded().memory()
    assert Spark().memory() == 0


@pytest.mark.usefixtures("any_size")
def test_a_behaviour_that_nobody_named_is_refused_as_by_the_plan(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,behavior\na,x,1,pv\na,x,2,gaze\n"
    with pytest.raises(DataError, match=r"holds behaviours that data.behaviors does not name: 'gaze' \(1 rows\)"):
        read(tmp_path, text, columns=Columns(behavior="behavior"), behaviors=FUNNEL)


@pytest.mark.usefixtures("any_size")
def test_a_log_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    log = csv_log(tmp_path / "log.csv", HEADER + "a,x,1\n", start="1999-01-01")
    with pytest.raises(DataError, match="nothing is left of 1 rows; dropped: outside_period 1"):
        prepare(log, tmp_path / "prepared", progress=False)
    assert left_behind(tmp_path / "prepared") == []


@pytest.mark.usefixtures("any_size")
def test_an_interrupt_while_it_is_sorted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    log = csv_log(tmp_path / "log.csv", HEADER + "a,x,1\n")
    with monkeypatch.context() as patched:
        patched.setattr(preparation, "_sorted_here", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(log, tmp_path / "prepared", progress=False)
    assert left_behind(tmp_path / "prepared") == []
    assert len(events(prepare(log, tmp_path / "prepared", progress=False))) == 1


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("step", ["plain._read", "sorting.sort_events"])
def test_what_the_memory_does_not_hold_is_left_to_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def exhausted(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(f"recdl.data.{step}", exhausted)
    log = csv_log(tmp_path / "log.csv", HEADER + "a,x,1\nb,x,2\n")
    assert len(events(prepare(log, tmp_path / "prepared", progress=False))) == 2
