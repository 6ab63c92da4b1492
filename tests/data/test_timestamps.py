"""Times in every notation against Python's own calendar."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recdl.data.sources import Time
from recdl.data.timestamps import format_advice, iso_microseconds, iso_text, microseconds
from recdl.errors import DataError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = (datetime(2017, 11, 25, 12, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def connection() -> Any:
    return ibis.duckdb.connect()


@pytest.fixture
def read(connection: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def read(values: list[Any] | pa.Array, time: Time) -> list[int | None]:
        path = tmp_path_factory.mktemp("times") / "t.parquet"
        pq.write_table(pa.table({"t": values}), path)
        table = connection.read_parquet(str(path))
        found: list[int | None] = table.select(t=microseconds(table.t, time)).to_pyarrow()["t"].to_pylist()
        return found

    return read


@pytest.mark.parametrize(
    ("time", "text", "expected"),
    [
        ("s", "1511611200", NOON),
        ("s", "1511611200.000001", NOON + 1),
        ("s", "1396860669.277", 1_396_860_669_277_000),
        ("s", "-1", -1_000_000),
        ("ms", "1511611200000", NOON),
        ("ms", "1511611200000.001", NOON + 1),
        ("us", "1511611200000001", NOON + 1),
        ("auto", "1511611200", NOON),
        ("auto", "1511611200.5", NOON + 500_000),
        ("auto", "1511611200001", NOON + 1_000),
        ("auto", "1511611200000001", NOON + 1),
        ("auto", "3", 3_000_000),
        ("auto", "2017-11-25 12:00:00", NOON),
        ("iso", "2017-11-25T12:00:00", NOON),
        ("iso", "2017-11-25T12:00:00.000001Z", NOON + 1),
        ("iso", "2017-11-25T20:00:00+08:00", NOON),
        ("iso", "2017-11-25", NOON - 12 * HOUR),
        ("date", "2017-11-25", NOON - 12 * HOUR),
        ("%d.%m.%Y %H:%M", "25.11.2017 12:00", NOON),
        ("%Y%m%d", "20171125", NOON - 12 * HOUR),
        ("%Y-%m-%d %H:%M:%S %z", "2017-11-25 20:00:00 +0800", NOON),
    ],
)
def test_text_is_read_exactly(read: Any, time: str, text: str, expected: int) -> None:
    assert read([text], Time(time)) == [expected]


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("s", "2017-11-25"),
        ("s", "12a"),
        ("s", "nan"),
        ("s", "inf"),
        ("s", "1511611200000000"),  # microseconds, taken for seconds, end in the year 47,901,943
        ("us", "99999999999999999999"),
        ("us", "1.5e"),
        ("auto", "20171125"),
        ("auto", "yesterday"),
        ("auto", "99999999999999999999"),
        ("iso", "1511611200"),
        ("iso", "epoch"),
        ("iso", "infinity"),
        ("iso", "0044-03-15 (BC)"),
        ("iso", "294246-01-01"),
        ("iso", "2017-02-29"),
        ("iso", "2017-11-25 25:00:00"),
        ("date", "2017-11-25 12:00:00"),
        ("%d.%m.%Y", "2017-11-25"),
        ("%d.%m.%Y", "infinity"),
        *((time, "") for time in ("s", "ms", "us", "auto", "iso", "date", "%Y")),
    ],
)
def test_what_is_no_time_is_null(read: Any, time: str, text: str) -> None:
    assert read([text], Time(time)) == [None]


def test_a_month_and_day_are_of_the_stated_year(read: Any) -> None:
    days = read(["4-15", "08-05", "2-29", "13-1", "4-15-2015", ""], Time("month-day", 2015))
    assert [day if day is None else iso_text(day) for day in days] == [
        "2015-04-15T00:00:00Z",
        "2015-08-05T00:00:00Z",
        None,
        None,
        None,
        None,
    ]


def test_a_pattern_without_a_year_takes_the_stated_one(read: Any) -> None:
    assert read(["29 Feb 12h"], Time("%d %b %Hh", 2016)) == [iso_microseconds("2016-02-29T12:00", Time())]


def test_numbers_keep_their_unit(read: Any) -> None:
    assert read(pa.array([1_511_611_200], pa.int32()), Time("s")) == [NOON]
    assert read([1_511_611_200_000], Time("ms")) == [NOON]
    assert read([NOON], Time("us")) == [NOON]
    assert read([1_511_611_200, 1_511_611_200_000, NOON, 20_171_125], Time("auto")) == [NOON, NOON, NOON, None]
    assert read([1_511_611_200.5, float("nan"), float("inf"), None], Time("s")) == [
        NOON + 500_000,
        None,
        None,
        None,
    ]


def test_numbers_that_are_dates_are_read_by_their_pattern(read: Any) -> None:
    assert read([20_171_125], Time("%Y%m%d")) == [NOON - 12 * HOUR]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_any_resolution_are_read(read: Any, unit: str) -> None:
    moment = [datetime(2017, 11, 25, 12), datetime(1969, 12, 31, 23, 59, 59)]
    assert read(pa.array(moment, pa.timestamp(unit)), Time()) == [NOON, -1_000_000]


def test_dates_are_their_first_moment(read: Any) -> None:
    assert read(pa.array([date(2017, 11, 25)]), Time()) == [NOON - 12 * HOUR]


def test_a_timestamp_with_a_zone_needs_no_setting(read: Any) -> None:
    moment = datetime(2017, 11, 25, 20, tzinfo=timezone(timedelta(hours=8)))
    zoned = pa.array([moment], pa.timestamp("us", "Asia/Shanghai"))
    assert read(zoned, Time(timezone="America/New_York")) == [NOON]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Asia/Shanghai", "Australia/Lord_Howe"])
def test_local_times_become_utc_as_python_says(read: Any, zone: str) -> None:
    first = datetime(1985, 1, 1)
    moments = [first + timedelta(hours=7 * step, minutes=13) for step in range(0, 60_000, 11)]
    # Around a change of the clock, by the minute: the hour that is missing and the hour that comes twice.
    moments += [datetime(2021, 3, 28) + timedelta(minutes=10 * step) for step in range(36)]
    moments += [datetime(2021, 10, 31) + timedelta(minutes=10 * step) for step in range(36)]
    expected = [
        (moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) - EPOCH) // timedelta(microseconds=1)
        for moment in moments
    ]
    time = Time("iso", timezone=zone)
    assert read([moment.isoformat() for moment in moments], time) == expected
    assert read(pa.array(moments, pa.timestamp("us")), time) == expected


def test_an_offset_in_the_text_is_stronger_than_the_zone(read: Any) -> None:
    time = Time("iso", timezone="Asia/Shanghai")
    texts = ["2017-11-25T12:00:00Z", "2017-11-25T13:00:00+01", "2017-11-25T07:00:00.0-0500", "2017-11-25 20:00:00"]
    assert read(texts, time) == [NOON] * 4


def test_the_zone_of_a_period_is_the_zone_of_the_log() -> None:
    assert iso_microseconds("2017-11-25T20:00", Time(timezone="Asia/Shanghai")) == NOON
    assert iso_microseconds("2017-11-25T12:00Z", Time(timezone="Asia/Shanghai")) == NOON


def test_times_are_shown_in_utc() -> None:
    assert iso_text(NOON) == "2017-11-25T12:00:00Z"
    assert iso_text(NOON + 1) == "2017-11-25T12:00:00.000001Z"


def test_a_column_that_cannot_be_a_time_is_named(read: Any) -> None:
    with pytest.raises(DataError, match="column 't' is of type boolean"):
        read([True], Time())


def test_the_advice_tells_of_the_formats() -> None:
    assert "state data.time.format" in format_advice(Time())
    assert "data.time.format is 'ms'" in format_advice(Time("ms"))
