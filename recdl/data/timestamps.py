"""Times of any notation as microseconds since 1970-01-01 UTC, as Ibis expressions."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from recdl.data.sources import Time
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000
# The years 2 to 9998: what a calendar shows in every time zone. A number outside is in another unit, or no time.
_EARLIEST, _LATEST = -62_104_060_800 * _SECOND, 253_370_764_800 * _SECOND
# Up to 1e11 a number counts seconds (until the year 5138), up to 1e14 milliseconds, above it microseconds: all
# three readings then lie between 1973 and 5138.
_AUTO_MILLISECONDS, _AUTO_MICROSECONDS = 100_000_000_000, 100_000_000_000_000
_DAYS = (19_000_101, 21_001_231)  # numbers that are far more likely a day than a second of 1970
_DATE = r"^\d{4}-\d{1,2}-\d{1,2}$"
_MOMENT = r"\d{4}-\d{1,2}-\d{1,2}(?:[T ][\d:.]+)?"
_SCALES = {"s": _SECOND, "ms": 1_000, "us": 1}


def microseconds(column: "ibis.Value", time: Time) -> "ibis.Value":
    """Return a column of times as int64 microseconds since 1970-01-01 UTC, null where there is no readable time.

    Args:
        column: Text, numbers, dates or timestamps.
        time: How the log writes its times; dates and timestamps only need its time zone.

    Raises:
        DataError: If the column is of a type that cannot be a time.
    """
    import ibis

    kind = column.type()
    if holds_nothing(kind):
        return ibis.null("int64")
    if kind.is_floating():
        column = no_number(column).ifelse(ibis.null(str(kind)), column)
    if kind.is_string():
        # This also keeps DuckDB 2.0 from moving the casts below into its CSV reader, where they fail for good.
        column = column.nullif("")
    if kind.is_timestamp() and kind.timezone is not None:
        return _since_1970(column.cast("timestamp"))
    if kind.is_timestamp() or kind.is_date():
        return _to_utc(_since_1970(column.cast("timestamp")), time)
    if not (kind.is_string() or kind.is_numeric()):
        raise DataError(
            f"column {column.get_name()!r} is of type {kind}; times are text, numbers, dates or timestamps"
        )
    if time.format in _SCALES:
        return _number(column, time.format)
    if time.format == "auto":
        number = _auto_number(column)
        # Not `coalesce`: DuckDB 2.0 matches some of the second's patterns against every row, whatever the first.
        return number.notnull().ifelse(number, _iso(column, time)) if kind.is_string() else number
    return _text(column.cast("string"), time)


def holds_nothing(kind: Any) -> bool:
    """Whether a column is of the type of nothing: in Parquet, one of which every row is empty."""
    return bool(kind.is_null() or (kind.is_unknown() and "NULL" in str(kind)))


def no_number(column: Any) -> Any:
    """Return where a floating-point column is NaN.

    By its text: DuckDB 2.0 takes `isnan` for false throughout where a Parquet file's statistics leave NaN out, and
    any comparison that they decide.
    """
    return column.cast("string").lower().isin(["nan", "-nan"])


def scale_of(low: int, high: int, time: Time) -> int | None:
    """Return the microseconds in the unit of whole numbers from `low` to `high`, as `microseconds` reads them.

    Args:
        low: The smallest.
        high: The largest.
        time: How the log writes its times: `auto`, `s`, `ms` or `us`.

    Returns:
        None if one of them might be no time, or they might not be all of one unit.
    """
    unit = _unit(low, high) if time.format == "auto" else time.format
    scale = _SCALES.get(unit or "")
    return scale if scale and _EARLIEST // scale <= low and high < _LATEST // scale else None


def _unit(low: int, high: int) -> str | None:
    """Return the one unit of numbers from `low` to `high` by their size; None if there may be several, or days."""
    if 1 - _AUTO_MILLISECONDS <= low and high < _AUTO_MILLISECONDS:
        return None if low <= _DAYS[1] and high >= _DAYS[0] else "s"
    for unit, start, end in (("ms", _AUTO_MILLISECONDS, _AUTO_MICROSECONDS), ("us", _AUTO_MICROSECONDS, 1 << 63)):
        if start <= low and high < end:
            return unit
    return None


def iso_microseconds(text: str, time: Time) -> int:
    """Return an ISO date or time as microseconds since 1970 UTC; without an offset it is in `time`'s zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(time.timezone))
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso_text(time: int) -> str:
    """Return microseconds since 1970-01-01 UTC as ISO 8601."""
    return f"{np.datetime64(time, 'us')}".removesuffix(".000000") + "Z"


def _since_1970(moment: Any) -> Any:
    """Return timestamps as microseconds; infinite ones, which some databases know, become null."""
    import ibis

    return moment.delta(ibis.timestamp("1970-01-01"), unit="microsecond")


def _number(column: Any, unit: str) -> Any:
    """Read numbers of one unit; decimal fractions in text are exact down to the microsecond."""
    import ibis

    kind, scale = column.type(), _SCALES[unit]
    if kind.is_string():
        whole = _scaled(_whole(column), scale)
        if scale == 1:
            return whole
        return ibis.coalesce(whole, _scaled(column.try_cast(f"decimal(18, {len(str(scale)) - 1})"), scale))
    return _scaled(column.try_cast("int64") if kind.is_integer() else column, scale)


def _whole(text: Any) -> Any:
    """Read text as int64, null where it has a fraction, which the cast would round away."""
    import ibis

    return ibis.ifelse(text.contains("."), ibis.null("string"), text).try_cast("int64")


def _scaled(number: Any, scale: int) -> Any:
    return _times(number, _scale_within(number, scale))


def _times(number: Any, scale: Any) -> Any:
    return number * scale if number.type().is_integer() else (number * scale).round().cast("int64")


def _scale_within(number: Any, scale: int) -> Any:
    """Return the scale, or null for numbers that are no time: they might not fit when multiplied."""
    import ibis

    known = number.between(_EARLIEST // scale, _LATEST // scale - 1)
    return ibis.ifelse(known, ibis.literal(scale, type="int64"), ibis.null("int64"))


def _auto_number(column: Any) -> Any:
    """Read numbers whose unit follows from their size."""
    import ibis

    if not column.type().is_string():
        return _auto_scaled(column.try_cast("int64") if column.type().is_integer() else column)
    whole = _auto_scaled(_whole(column))
    return ibis.coalesce(whole, _auto_scaled(column.try_cast("decimal(24, 6)")))


def _auto_scaled(number: Any) -> Any:
    import ibis

    scale = ibis.cases(
        # 20171125 is far more likely a day than a second of August 1970: better no reading than a wrong one.
        (number.between(*_DAYS), ibis.null("int64")),
        (number.between(1 - _AUTO_MILLISECONDS, _AUTO_MILLISECONDS - 1), _scale_within(number, _SCALES["s"])),
        (number.between(1 - _AUTO_MICROSECONDS, _AUTO_MICROSECONDS - 1), _scale_within(number, _SCALES["ms"])),
        else_=_scale_within(number, _SCALES["us"]),
    )
    return _times(number, scale)  # one product: a product in each case reads the text anew in each


def _text(text: Any, time: Time) -> Any:
    if time.format == "iso":
        return _iso(text, time)
    if time.format == "date":
        return _to_utc(_since_1970(_if_like(text, _DATE).try_cast("timestamp")), time)
    if time.format == "month-day":
        day = f"{time.year:04d}-" + _if_like(text, r"^\d{1,2}-\d{1,2}$")
        return _to_utc(_since_1970(day.try_cast("timestamp")), time)
    text, pattern = _if_like(text, r"\d"), time.format  # DuckDB reads "infinity" as 1900 whatever the pattern
    if time.year is not None:
        text, pattern = f"{time.year:04d} " + text, "%Y " + pattern
    moment = _since_1970(_try_strptime()(text, pattern).cast("timestamp"))
    return moment if "%z" in pattern else _to_utc(moment, time)


def _iso(text: Any, time: Time) -> Any:
    import ibis

    local = _since_1970(_if_like(text, rf"^{_MOMENT}$").try_cast("timestamp"))
    return ibis.coalesce(_to_utc(local, time), _iso_with_offset(text))


def _iso_with_offset(text: Any) -> Any:
    """Read times that state their offset from UTC, which DuckDB 2.0 ignores when it casts.

    Each part is extracted once: what occurs twice is computed for all rows, whether they need it or not.
    """
    import ibis

    pattern = rf"^({_MOMENT}) ?(?:Z|UTC|([+-])(\d{{2}}):?(\d{{2}})?)$"
    local = _since_1970(text.re_extract(pattern, 1).nullif("").try_cast("timestamp"))
    sign = ibis.ifelse(text.re_extract(pattern, 2) == "-", -1, 1)
    hours, minutes = (ibis.coalesce(text.re_extract(pattern, group).try_cast("int64"), 0) for group in (3, 4))
    return local - sign * (hours * 60 + minutes) * (60 * _SECOND)


def _if_like(text: Any, pattern: str) -> Any:
    """Return text that matches, else null: casts read more notations than they should ("epoch", "44-03-15 BC")."""
    import ibis

    return ibis.ifelse(text.re_search(pattern), text, ibis.null("string"))


@lru_cache(maxsize=1)
def _try_strptime() -> Any:
    """Give the engine's strptime that yields null; Ibis only has the one that fails. Spark needs its own here."""
    import ibis
    import ibis.expr.datatypes as dt

    def try_strptime(text, pattern):  # type: ignore[no-untyped-def]
        ...  # only its name and signature count: the engine has the function

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
    return f"data.time.format is {time.format!r}: correct it or the file; {way_out}"
