from collections.abc import Sequence

import numpy as np
import pytest

from recdl.data.diagnosis.findings import Finding
from recdl.data.diagnosis.timeline import DAY, HOUR, SECOND, Timeline, measure_timeline, timeline_findings
from recdl.data.interactions import Interactions
from tests.logs import log_of_events

NOW = 1_700_000_000 * SECOND
START = 1_511_568_000 * SECOND  # 2017-11-25T00:00:00Z, a Saturday


def log(times: Sequence[int]) -> Interactions:
    return log_of_events([(0, time, 0, 0) for time in times], n_users=1, n_items=1)


def spread(start: int = START, *, days: int = 10, a_day: int = 30, unit: int = 1) -> list[int]:
    """Events over some days, by the second, in a unit that is not always microseconds."""
    return [(start + (day * DAY + n * 1_777 * SECOND)) // unit for day in range(days) for n in range(a_day)]


def found(timeline: Timeline, *, events: int = 300, now: int = NOW) -> dict[str, Finding]:
    return {finding.key: finding for finding in timeline_findings(timeline, events=events, now=now)}


def test_times_as_they_should_be_give_no_finding() -> None:
    assert found(measure_timeline(log(spread()))) == {}


@pytest.mark.parametrize(("unit", "way"), [(1_000, "1,000 times later"), (1_000_000, "1,000,000 times later")])
def test_seconds_or_milliseconds_read_in_a_finer_unit_are_told(unit: int, way: str) -> None:
    told = found(measure_timeline(log(spread(unit=unit))))["time_unit"]
    assert (told.severity, told.title) == ("serious", "the times are before 1990")
    assert f"{way} they would be of about 2017" in told.advice
    assert "data.time.format" in told.advice


def test_milliseconds_read_as_seconds_are_told() -> None:
    times = [time * 1_000 for time in spread()]
    told = found(measure_timeline(log(times), timezone="Asia/Shanghai"))["time_unit"]
    assert told.title == "the times are in the future"
    assert "1,000 times earlier they would be of about 2017" in told.advice


def test_some_times_in_the_future_are_told() -> None:
    timeline = measure_timeline(log([*spread(), START + 11 * DAY]))
    assert found(timeline, now=START + 9 * DAY + HOUR)["future"].severity == "warning"
    assert "future" not in found(timeline, now=START + 12 * DAY)


@pytest.mark.parametrize(
    ("times", "key"),
    [
        ([START] * 5, "one_moment"),
        ([START + n * SECOND for n in range(5)], "time_span"),
        ([START - 20_000 * DAY + n * 4_000 * DAY for n in range(6)], "time_span"),
    ],
)
def test_a_span_that_cannot_be_is_told(times: list[int], key: str) -> None:
    assert found(measure_timeline(log(times)))[key].severity == "serious"


def test_a_few_times_far_off_are_told_with_the_period_of_the_others() -> None:
    timeline = measure_timeline(log([START - 60 * DAY, *spread(a_day=45), START + 40 * DAY]))
    assert timeline.outside == 2
    told = found(timeline, events=452)["outliers"]
    assert told.title == "2 events lie far outside the period of the others"
    assert "data.start=2017-11-25 data.end=2017-12-05" in told.advice
    assert sum(timeline.activity) == 450


def test_the_period_is_of_days_in_the_zone_of_the_log() -> None:
    shanghai = START - 8 * HOUR
    timeline = measure_timeline(log([shanghai - 60 * DAY, *spread(shanghai, a_day=48)]), timezone="Asia/Shanghai")
    assert timeline.by_hour is not None
    assert timeline.by_hour[0] == 31  # 3 of the 48 a day, and the one far off
    assert "data.start=2017-11-25 data.end=2017-12-05" in found(timeline)["outliers"].advice


def test_a_log_that_grows_slowly_has_no_outliers() -> None:
    times = [START + day * DAY + n * SECOND for day in range(60) for n in range(1 + day)]
    assert measure_timeline(log(times)).outside == 0


@pytest.mark.parametrize(
    ("step", "resolution"),
    [
        (DAY, "day"),
        (6 * HOUR, "quarter hour"),
        (900 * SECOND, "quarter hour"),
        (60 * SECOND, "minute"),
        (7 * SECOND, "second"),
        (1_000, "millisecond"),
        (1, "microsecond"),
    ],
)
def test_the_resolution_is_the_coarsest_that_holds_for_all(step: int, resolution: str) -> None:
    timeline = measure_timeline(log([START + n * step for n in range(50)]))
    assert timeline.resolution == resolution
    assert (timeline.by_hour is None) == (resolution == "day")
    assert ("day_resolution" in found(timeline)) == (resolution == "day")


def test_local_midnights_with_summer_time_are_days() -> None:
    berlin = [START - HOUR + day * DAY - (HOUR if day > 120 else 0) for day in range(200)]
    assert measure_timeline(log(berlin), timezone="Europe/Berlin").resolution == "day"


def test_hours_and_weekdays_are_counted() -> None:
    timeline = measure_timeline(log([START + 3 * HOUR, START + 3 * HOUR + SECOND, START + DAY + 5 * HOUR]))
    assert timeline.by_hour == [0, 0, 0, 2, 0, 1, *[0] * 18]
    assert timeline.by_weekday == [0, 0, 0, 0, 0, 2, 1]


def test_activity_of_centuries_fits_in_the_bars() -> None:
    timeline = measure_timeline(log(np.linspace(0, 250_000_000 * DAY // 100, 500).astype(int).tolist()))
    assert len(timeline.activity) <= 120
    assert sum(timeline.activity) == 500
