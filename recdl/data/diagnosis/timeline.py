"""When things happened: whether the times can be right, how fine they are, and how activity goes over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from recdl.data.diagnosis.blocks import user_blocks
from recdl.data.diagnosis.findings import Finding, duration, percent
from recdl.data.interactions import Interactions
from recdl.data.timestamps import iso_text

SECOND = 1_000_000
HOUR, DAY = 3_600 * SECOND, 86_400 * SECOND
_UNITS = (
    ("quarter hour", 900 * SECOND),
    ("minute", 60 * SECOND),
    ("second", SECOND),
    ("millisecond", 1_000),
    ("microsecond", 1),
)
_QUARTERS = 96  # of a day: zones differ from UTC by multiples of a quarter hour
_MAX_DAYS = 200_000  # days counted one by one; a longer log has an impossible time, and is counted coarser
_CALENDAR = (0, 4_102_444_800 * SECOND)  # 1970 to 2100
_EARLIEST = 631_152_000 * SECOND  # 1990: before it hardly anybody kept such logs
_SHORTEST, _LONGEST = HOUR, 50 * 365 * DAY
_SCALES = {1_000_000: "1,000,000 times later", 1_000: "1,000 times later"} | {
    1 / 1_000: "1,000 times earlier",
    1 / 1_000_000: "1,000,000 times earlier",
}
_SPARSE = 0.05  # of the typical day's events: a day with fewer may lie outside the period proper
_OUTSIDE = 0.005  # more of the events than this are no outliers
_STRETCH = 1.25  # that outliers must make the log longer by
_BARS = 120


@dataclass(frozen=True)
class Timeline:
    """The times of a log. Days and hours are those of the log's time zone.

    Attributes:
        timezone: IANA name.
        shift: Microseconds that its clock was ahead of UTC in the middle of the log; taken for all of the log.
        first: Microseconds since 1970 UTC, as all times here.
        last: Of the last event.
        resolution: `day`, `quarter hour`, `minute`, `second`, `millisecond` or `microsecond`: the coarsest unit
            that all times are whole numbers of (`day`: all at one time of day, or at two, where clocks are put
            forward in summer).
        period_first: Start of the first day of the period that holds nearly all events.
        period_last: End of its last day.
        outside: Events outside that period.
        activity_start: Where the first bar of `activity` starts.
        activity_step: Microseconds of a bar.
        activity: Events over the period, in at most 120 bars.
        by_hour: (24,) events by hour of the day; null where times have no hour.
        by_weekday: (7,) events by weekday from Monday.
    """

    timezone: str
    shift: int
    first: int
    last: int
    resolution: str
    period_first: int
    period_last: int
    outside: int
    activity_start: int
    activity_step: int
    activity: list[int]
    by_hour: list[int] | None
    by_weekday: list[int]

    def day(self, time: int) -> str:
        """Return the date of a time in the log's time zone: 2017-11-25."""
        return iso_text(time + self.shift)[:10]


def measure_timeline(log: Interactions, *, timezone: str = "UTC") -> Timeline:
    """Count events over time, in two passes over the log.

    Args:
        log: The log; it has an event.
        timezone: IANA name of the zone whose days and hours are counted.
    """
    first = min(int(block.timestamps.min()) for block in user_blocks(log))
    last = max(int(block.timestamps.max()) for block in user_blocks(log))
    shift = _ahead_of_utc((first + last) // 2, timezone)
    start = (first + shift) // DAY * DAY - shift
    step = DAY * -(-(last - start + 1) // (DAY * _MAX_DAYS))
    steps = np.zeros((last - start) // step + 1, np.int64)
    quarters, weekdays = np.zeros(_QUARTERS, np.int64), np.zeros(7, np.int64)
    units = list(_UNITS)
    for block in user_blocks(log):
        times = block.timestamps
        steps += np.bincount((times - start) // step, minlength=len(steps))
        local = times + shift
        quarters += np.bincount(local % DAY // (900 * SECOND), minlength=_QUARTERS)
        weekdays += np.bincount((local // DAY + 3) % 7, minlength=7)  # 1970-01-01 was a Thursday
        while (times % units[0][1]).any():
            units.pop(0)
    resolution = units[0][0]
    if resolution == "quarter hour" and np.count_nonzero(quarters) <= 2:
        resolution = "day"
    low, high = _period(steps)
    bars_step = step * -(-(high - low) // _BARS)
    bars = np.add.reduceat(steps[low:high], np.arange(0, high - low, bars_step // step))
    return Timeline(
        timezone=timezone,
        shift=shift,
        first=first,
        last=last,
        resolution=resolution,
        period_first=start + low * step,
        period_last=start + high * step,
        outside=int(steps.sum() - steps[low:high].sum()),
        activity_start=start + low * step,
        activity_step=bars_step,
        activity=bars.tolist(),
        by_hour=None if resolution == "day" else quarters.reshape(24, 4).sum(1).tolist(),
        by_weekday=weekdays.tolist(),
    )


def _ahead_of_utc(time: int, timezone: str) -> int:
    if not _CALENDAR[0] <= time <= _CALENDAR[1]:
        return 0  # no time that a calendar knows
    moment = datetime.fromtimestamp(time // SECOND, UTC).astimezone(ZoneInfo(timezone))
    ahead = moment.utcoffset()
    assert ahead is not None, "a time in a zone has an offset"
    return int(ahead.total_seconds()) // 900 * 900 * SECOND


def _period(days: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return the days, from and to (excluded), between which the log lies, without a few events far off.

    The period runs from the first to the last day that is not sparse beside the day of the median event. All days
    are kept where what lies outside is not few, or not far: a log may grow slowly.
    """
    falling = np.sort(days)[::-1]
    typical = falling[np.searchsorted(np.cumsum(falling), days.sum() / 2)]
    busy = np.flatnonzero(days >= _SPARSE * typical)
    low, high = int(busy[0]), int(busy[-1]) + 1
    used = np.flatnonzero(days)
    outside = days.sum() - days[low:high].sum()
    far = int(used[-1]) + 1 - int(used[0]) >= _STRETCH * (high - low)
    return (low, high) if far and outside <= _OUTSIDE * days.sum() else (int(used[0]), int(used[-1]) + 1)


def timeline_findings(timeline: Timeline, *, events: int, now: int) -> Iterator[Finding]:
    """Say which times cannot be right.

    Args:
        timeline: The times.
        events: Events of the log.
        now: Microseconds since 1970.
    """
    yield from _moment_findings(timeline, events=events, now=now)
    yield from _span_findings(timeline)
    yield from _precision_findings(timeline, events=events)


def _moment_findings(timeline: Timeline, *, events: int, now: int) -> Iterator[Finding]:
    middle = (max(timeline.period_first, timeline.first) + min(timeline.period_last, timeline.last)) // 2
    if middle < _EARLIEST or timeline.period_first > now + DAY:
        yield Finding(
            "time_unit",
            "serious",
            "the times are " + ("before 1990" if middle < _EARLIEST else "in the future"),
            _extent(timeline),
            _unit_advice(middle, now),
            1.0,
        )
    elif timeline.last > now + DAY:
        yield Finding(
            "future",
            "warning",
            "some times are in the future",
            f"the last event is of {iso_text(timeline.last)}",
            "A temporal split puts these events into the test part. Set data.end, or correct data.time.timezone "
            "and data.time.format.",
            timeline.outside / events,
        )


def _span_findings(timeline: Timeline) -> Iterator[Finding]:
    span = timeline.last - timeline.first
    if span == 0:
        yield Finding(
            "one_moment",
            "serious",
            "all events are of one moment",
            f"all at {iso_text(timeline.first)}",
            "There is no order to learn from and no moment to cut at. Set data.columns.timestamp to the column "
            "of times.",
            1.0,
        )
    elif span < _SHORTEST:
        yield Finding(
            "time_span",
            "serious",
            f"the whole log spans {duration(span / SECOND)}",
            _extent(timeline),
            "Unless it is so, the unit of the times is wrong: set data.time.format (s, ms, us).",
            1.0,
        )
    elif timeline.period_last - timeline.period_first > _LONGEST:
        yield Finding(
            "time_span",
            "serious",
            f"the log spans {duration(span / SECOND)}",
            _extent(timeline),
            "Unless it is so, times are in different units or notations: set data.time.format, data.start and "
            "data.end.",
            1.0,
        )


def _precision_findings(timeline: Timeline, *, events: int) -> Iterator[Finding]:
    if timeline.outside:
        yield Finding(
            "outliers",
            "warning",
            f"{timeline.outside:,} events lie far outside the period of the others",
            f"{percent(timeline.outside / events)} of the events; the others are of "
            f"{timeline.day(timeline.period_first)} to "
            f"{timeline.day(timeline.period_last - 1)}, the log of {timeline.day(timeline.first)} to "
            f"{timeline.day(timeline.last)}",
            f"Leave them out: data.start={timeline.day(timeline.period_first)} "
            f"data.end={timeline.day(timeline.period_last)} (days of "
            f"{timeline.timezone}, as data.time.timezone says).",
            timeline.outside / events,
        )
    if timeline.resolution == "day":
        yield Finding(
            "day_resolution",
            "warning",
            "times say the day only",
            f"all {events:,} events are at the same time of day",
            "The order within a day is unknown, and a repeat within it is dropped as a duplicate. Give finer "
            "times if the source has them. Sessions cannot be told; a temporal split cuts between days and is "
            "sound.",
            0.5,
        )


def _extent(timeline: Timeline) -> str:
    return f"times from {iso_text(timeline.first)} to {iso_text(timeline.last)}"


def _unit_advice(middle: int, now: int) -> str:
    for scale, meaning in _SCALES.items():
        if _EARLIEST <= middle * scale <= now:
            year = iso_text(int(middle * scale))[:4]
            return (
                f"If they were {meaning} they would be of about {year}: the unit is wrong. Set data.time.format "
                "(s, ms or us: the unit of the numbers in the file)."
            )
    return "Set data.columns.timestamp to the column of times and data.time.format to their notation."
