"""Times of any notation as microseconds since 1970-01-01 UTC, as Ibis expressions."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from recdl.data.sources import Time

if TYPE_CHECKING:
    import ibis

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000
# Years 1 to 9999: what a calendar can show. A number outside is in another unit, or no time at all.
_EARLIEST, _LATEST = -62_135_596_800 * _SECOND, 253_402_300_800 * _SECOND
# Up to 1e11 a number counts seconds (until the year 5138), up to 1e14 milliseconds, above it microseconds: all
# three readings then lie between 1973 and 5138.
_AUTO_MILLISECONDS, _AUTO_MICROSECONDS = 100_000_000_000, 100_000_000_000_000
_SCALES = {"s": _SECOND, "ms": 1_000, "us": 1}


def microseconds(column: "ibis.Value", time: Time) -> "ibis.Value":
    """Return a column of times as int64 microseconds since 1970-01-01 UTC, null where there is no readable time.

    Args:
        column: Text, numbers, dates or timestamps.
        time: How the log writes its times; dates and timestamps only need its time zone.
    """
    import ibis

    kind = column.type()
    if kind.is_timestamp() and kind.timezone is not None:
        parsed = _since_1970(column.cast("timestamp"))
    elif kind.is_temporal():
        parsed = _to_utc(_since_1970(column.cast("timestamp")), time)
    elif time.format in _SCALES:
        parsed = _number(column, time.format)
    elif time.format == "auto":
        number = _auto_number(column)
        parsed = ibis.coalesce(number, _iso(column, time)) if kind.is_string() else number
    else:
        parsed = _text(column.cast("string"), time)
    return ibis.ifelse((parsed >= _EARLIEST) & (parsed < _LATEST), parsed, ibis.null("int64"))


def iso_microseconds(text: str, time: Time) -> int:
    """Return an ISO date or time as microseconds since 1970 UTC; without an offset it is in `time`'s zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(time.timezone))
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso_text(time: int) -> str:
    """Return microseconds since 1970-01-01 UTC as ISO 8601."""
    return (_EPOCH + timedelta(microseconds=time)).isoformat().replace("+00:00", "Z")


def _since_1970(moment: Any) -> Any:
    import ibis

    sane = moment.between(ibis.timestamp("0001-01-01 00:00:00"), ibis.timestamp("9999-12-31 23:59:59"))
    return ibis.ifelse(sane, moment, ibis.null("timestamp")).delta(
        ibis.timestamp("1970-01-01"), unit="microsecond"
    )


def _number(column: Any, unit: str) -> Any:
    """Read numbers of one unit; decimal fractions in text are exact down to the microsecond."""
    import ibis

    scale = _SCALES[unit]
    limit = _LATEST // scale
    if column.type().is_integer():
        return ibis.ifelse(column.between(-limit, limit), column.cast("int64") * scale, ibis.null("int64"))
    if column.type().is_numeric():
        return ibis.ifelse(
            column.between(-limit, limit), (column * scale).round().cast("int64"), ibis.null("int64")
        )
    whole = column.try_cast("int64")
    exact = ibis.ifelse(whole.between(-limit, limit), whole * scale, ibis.null("int64"))
    if unit == "us":
        return exact
    digits = {"s": 6, "ms": 3}[unit]
    return ibis.coalesce(exact, (column.try_cast(f"decimal(18, {digits})") * scale).cast("int64"))


def _auto_number(column: Any) -> Any:
    import ibis

    size = column.abs() if column.type().is_numeric() else column.try_cast("float64").abs()
    # 20171125 is far more likely a day than a second of August 1970: better no reading than a wrong one.
    day = (size >= 19_000_101) & (size <= 21_001_231)
    return ibis.cases(
        (day, ibis.null("int64")),
        (size < _AUTO_MILLISECONDS, _number(column, "s")),
        (size < _AUTO_MICROSECONDS, _number(column, "ms")),
        else_=_number(column, "us"),
    )


def _text(text: Any, time: Time) -> Any:
    import ibis

    if time.format == "iso":
        return _iso(text, time)
    if time.format == "date":
        day = ibis.ifelse(text.re_search(r"^\d{4}-\d{1,2}-\d{1,2}$"), text, ibis.null("string"))
        return _to_utc(_since_1970(day.try_cast("timestamp")), time)
    if time.format == "month-day":
        day = ibis.ifelse(text.re_search(r"^\d{1,2}-\d{1,2}$"), text, ibis.null("string"))
        return _to_utc(_since_1970((f"{time.year:04d}-" + day).try_cast("timestamp")), time)
    pattern = time.format
    if time.year is not None:
        text, pattern = f"{time.year:04d} " + text, "%Y " + pattern
    moment = _since_1970(_try_strptime()(text, pattern).cast("timestamp"))
    return moment if "%z" in pattern else _to_utc(moment, time)


def _iso(text: Any, time: Time) -> Any:
    import ibis

    moment = _since_1970(text.try_cast("timestamp"))
    if time.timezone == "UTC":
        return moment
    offset_stated = text.re_search(r"\d{2}:\d{2}.*(Z|[+-]\d{2}(:?\d{2})?)$")
    return ibis.ifelse(offset_stated, moment, _to_utc(moment, time))


@lru_cache(maxsize=1)
def _try_strptime() -> Any:
    """Give the engine's strptime that yields null; Ibis only has the one that fails. Spark needs its own here."""
    import ibis
    import ibis.expr.datatypes as dt

    def try_strptime(text, pattern):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    return ibis.udf.scalar.builtin(try_strptime, signature=((dt.string, dt.string), dt.timestamp))


def _to_utc(local: Any, time: Time) -> Any:
    """Turn local microseconds into UTC. Times the clock shows twice are taken at their first showing."""
    if time.timezone == "UTC":
        return local
    starts, offsets = _offsets(time.timezone)
    return local - _pick(local, starts, offsets)


def _pick(local: Any, starts: tuple[int, ...], offsets: tuple[int, ...]) -> Any:
    """Look up a step function by halving, so that a century of clock changes costs eight comparisons."""
    import ibis

    if len(offsets) == 1:
        return ibis.literal(offsets[0], type="int64")
    half = len(offsets) // 2
    early = _pick(local, starts[: half - 1], offsets[:half])
    late = _pick(local, starts[half:], offsets[half:])
    return ibis.ifelse(local < starts[half - 1], early, late)


@lru_cache(maxsize=8)
def _offsets(timezone: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return n local times of clock changes, 1970 to 2100, and n + 1 UTC offsets, in microseconds.

    `zoneinfo` has no list of its changes; they are found by asking for every day's offset and halving.
    """
    zone = ZoneInfo(timezone)

    def offset(seconds: int) -> int:
        shift = datetime.fromtimestamp(seconds, zone).utcoffset()
        assert shift is not None
        return int(shift.total_seconds())

    day = 86_400
    starts, offsets = [], [offset(0)]
    for noon in range(day, int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()), day):
        if offset(noon) == offsets[-1]:
            continue
        before, after = noon - day, noon
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if offset(middle) == offsets[-1] else (before, middle)
        starts.append((after + max(offsets[-1], offset(noon))) * _SECOND)
        offsets.append(offset(noon))
    return tuple(starts), tuple(shift * _SECOND for shift in offsets)


def format_advice(time: Time) -> str:
    """Say what to do about a time that cannot be read."""
    way_out = "data.bad_timestamps=drop drops such rows and counts them"
    if time.format == "auto":
        return f"state data.time.format (s, ms, us, iso, date, month-day or a pattern such as '%Y%m%d'); {way_out}"
    hint = " has no year" if re.fullmatch("month-day", time.format) else ""
    return f"data.time.format is {time.format!r}{hint}; correct it or the file; {way_out}"
