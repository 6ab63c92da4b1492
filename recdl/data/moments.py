"""Moments and durations as settings give them, and the moment at which a share of events is cut off."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from recdl.errors import ConfigError, DataError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Times = npt.NDArray[np.int64]


def duration(text: str, *, name: str) -> int:
    """Return a duration such as `30m`, `12h`, `7d` or `2w` in microseconds.

    Raises:
        ConfigError: If it is no such duration, or is zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    length = round(float(match[1]) * _UNITS[match[2]] * 1_000_000) if match else 0
    if length <= 0:
        raise ConfigError(f"{name}: {text!r} is no duration; write 45s, 30m, 12h, 7d or 2w")
    return length


def check_moment(text: str | None, *, name: str) -> None:
    """Check that `text` is null, a duration, or an ISO date or time.

    Raises:
        ConfigError: If it is neither.
    """
    if text is not None and not re.fullmatch(r"[\d.]+[smhdw]", text):
        _date(text, name=name)
    elif text is not None:
        duration(text, name=name)


def check_fraction(fraction: float, *, name: str) -> None:
    """Raise ConfigError unless `fraction` lies between 0 and 1."""
    if not 0 < fraction < 1:
        raise ConfigError(f"{name} must lie between 0 and 1, but is {fraction}")


def cut_at(times: Times, *, part: str, fraction: float, since: str | None) -> int:
    """Return the moment that cuts off the end of `times`.

    Args:
        times: Of the events (or beginnings) to cut, in microseconds since 1970, in any order.
        part: What is cut off, "test" or "validation", for messages.
        fraction: About the share of `times` at the moment or later; the closer of the two moments around it.
        since: In its place, an ISO date or time (UTC unless it says otherwise), or a duration back from the
            last of `times`.

    Raises:
        DataError: If nothing would be left before the moment, or nothing at it or later.
    """
    if since is None:
        return closest_moment(times, fraction, name=f"{part}_fraction")
    name = f"split.{part}_from"
    if not len(times):
        raise DataError(f"{name}={since}: there is no event to cut")
    first, last = int(times.min()), int(times.max())
    is_duration = re.fullmatch(r"[\d.]+[smhdw]", since)
    cut = last - duration(since, name=name) if is_duration else _date(since, name=name)
    if not first < cut <= last:
        raise DataError(
            f"{name}={since} is {iso(cut)}, and what is to be cut runs from {iso(first)} to {iso(last)}: one of"
            " the two parts would be empty; choose a moment within"
        )
    return cut


def closest_moment(times: Times, fraction: float, *, name: str) -> int:
    """Return the time whose share of `times` at or after it is closest to `fraction`, with something before it.

    Raises:
        DataError: If there are not two moments to choose between.
    """
    first, last = (times.min(), times.max()) if len(times) else (0, 0)
    if first == last:
        raise DataError(
            f"split.{name} cannot be met: there are {len(times)} events to cut, all of one moment, and a split by"
            " time needs two moments; use a longer log or split=leave_last_out"
        )
    rank = min(int(len(times) * (1 - fraction)), len(times) - 1)
    at = np.partition(times, rank)[rank]
    around = [at] if at == last else [at, times[times > at].min()]
    shares = {int(time): (times >= time).mean() for time in around if time > first}
    return min(shares, key=lambda time: abs(shares[time] - fraction))


def iso(microseconds: int) -> str:
    """Return microseconds since 1970-01-01 UTC as ISO 8601."""
    time = np.datetime64(microseconds, "us")
    return str(np.datetime_as_string(time, unit="us" if microseconds % 1_000_000 else "s", timezone="UTC"))


def _date(text: str, *, name: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{name}: {text!r} is neither an ISO date or time (2025-06-01) nor a duration (7d)"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
