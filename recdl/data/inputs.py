"""Files: how text is written, where they come from, what is known of users and items, a later piece of a log."""

import codecs
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from recdl.data.privacy import KEY_VARIABLE
from recdl.errors import ConfigError


@dataclass(frozen=True)
class Dialect:
    r"""How a CSV file is written. Compression (`.gz`, `.zst`) follows from the file's name.

    Args:
        separator: What stands between two fields: up to four bytes, or `\t` for a tab.
        header: True when the first row names the columns, else the list of their names.
        quote: The character around fields that hold a separator; null where quotes mean nothing.
        escape: The character before a quote that belongs to a field: `"` for RFC 4180, often `\`.
        encoding: What Python calls the encoding: `utf-8`, `latin-1`, `cp1252`, `utf-16`, ...
        decimal: What stands before the fraction of a number.
    """

    separator: str = ","
    header: Literal[True] | tuple[str, ...] = True
    quote: str | None = '"'
    escape: str | None = '"'
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."

    @property
    def delimiter(self) -> str:
        """What stands between two fields."""
        return "\t" if self.separator == "\\t" else self.separator

    def check(self, key: str = "data") -> None:
        """Raise ConfigError for what no file can be written in; `key` is what leads to these settings."""
        if not 1 <= len(self.delimiter.encode()) <= 4 or any(mark in self.delimiter for mark in '"\r\n'):
            raise ConfigError(f"{key}.separator: {self.separator!r} is not text of 1 to 4 bytes, nor \\t")
        for name, mark in {"quote": self.quote, "escape": self.escape}.items():
            if mark is not None and (len(mark.encode()) != 1 or mark in "\r\n" or mark in self.delimiter):
                raise ConfigError(
                    f"{key}.{name}: {mark!r} is not a single ASCII character other than the separator"
                )
        if self.header is not True and (not self.header or len(set(self.header)) < len(self.header)):
            raise ConfigError(f"{key}.header: true, or the name of every column, each once")
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise ConfigError(
                f"{key}.encoding: {self.encoding!r} is no encoding that Python knows, such as utf-8 or cp1252"
            ) from error
        if self.decimal not in (".", ",") or (self.decimal == self.delimiter and self.quote is None):
            raise ConfigError(f"{key}.decimal: {self.decimal!r} must be '.' or ',', and not the separator")


@dataclass(frozen=True)
class Download:
    """A file that is fetched when it is not there.

    Args:
        url: Where it lies: http or https.
        to: The file it becomes, relative to `data_root`.
        checksum: `sha256:...` or `md5:...` as its publisher states it. Null trusts the first download: its SHA-256
            is shown and kept beside the file, and a later download must agree.
    """

    url: str
    to: str
    checksum: str | None = None

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigError(f"data.downloads: {self.url!r} is no http or https address")
        if not self.to or self.to.startswith(("/", "~")) or ".." in self.to.split("/"):
            raise ConfigError(f"data.downloads: {self.to!r} must be a path below data_root")
        if self.checksum is None:
            return
        kind, _, digits = self.checksum.partition(":")
        if {"sha256": 64, "md5": 32}.get(kind) != len(digits) or set(digits) - set("0123456789abcdef"):
            raise ConfigError(
                f"data.downloads: {self.checksum!r} is neither sha256: with 64 nor md5: with 32 hexadecimal digits"
            )


@dataclass(frozen=True)
class AttributeTable:
    """What is known of users or items, one row each: categories, prices, texts.

    Args:
        path: A file, a glob or a list of them, found as the log is; null: there is no such table.
        id: The column that holds the ids of the log.
        columns: The columns kept; null keeps all.
        numbers: Columns of a text file that are numbers; the others are text. Parquet knows its types.
        format: csv, jsonl or parquet; null goes by the file's name. object: one JSON object of ids and what each
            stands for, a value or a list, which makes the one column that `columns` names.
        several: What becomes of an id with rows that differ: `error`, or `most_common`, the row that is there most
            often. With the latter the log itself can be the table, where it says the category beside each item.
        dialect: How a CSV file is written.
        table: The rows themselves instead of a file: a pandas or polars frame, or an Arrow table. For Python only.
    """

    path: str | tuple[str, ...] | None = None
    id: str = "id"
    columns: tuple[str, ...] | None = None
    numbers: tuple[str, ...] = ()
    format: Literal["csv", "jsonl", "parquet", "object"] | None = None
    several: Literal["error", "most_common"] = "error"
    dialect: Dialect = field(default_factory=Dialect)
    table: Any = None

    def check(self, key: str) -> None:
        """Raise ConfigError for settings that cannot be; `key` is what leads to them."""
        if self.table is not None and (self.path is not None or not hasattr(self.table, "__arrow_c_stream__")):
            raise ConfigError(f"{key}.table: a pandas or polars frame or an Arrow table, in place of {key}.path")
        if self.columns is not None and (not self.columns or len(set(self.columns)) < len(self.columns)):
            raise ConfigError(f"{key}.columns: null, or the name of each column to keep, once")
        for name in self.numbers:
            if self.columns is not None and name not in self.columns:
                raise ConfigError(f"{key}.numbers: {name!r} is none of {key}.columns, {', '.join(self.columns)}")
        if self.format == "object" and (self.columns is None or len(self.columns) != 1 or self.numbers):
            raise ConfigError(f"{key}.columns: of a JSON object name one column, for its values, and no numbers")
        if self.columns is not None and self.id in self.columns:
            raise ConfigError(f"{key}.columns: {self.id!r} is the id, which is kept anyway")
        self.dialect.check(f"{key}.dialect")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What is said of a piece; the rest is as it was for the log. Null is as it was, too.

    Args:
        path: As a log's: a file, glob, folder or list; by behaviour, where the log came so.
        data_root: The folder in which files are looked for.
        behaviors: Further raw values by behaviour; a behaviour that the log lacks is put at the end of the funnel.
        start: ISO date or time; rows before it are dropped.
        end: ISO date or time; rows at or after it are dropped.
        bad_timestamps: What becomes of rows whose time cannot be read.
        bad_weights: What becomes of rows whose weight is no finite number.
        key_variable: The environment variable that holds the key of the pseudonyms.
        key_file: In its place, a file that holds it.
        user_table: Files of what is known of users; those that they name get what they say.
        item_table: The same of items.
    """

    path: str | tuple[str, ...] | dict[str, str | tuple[str, ...]]
    data_root: str = "data"
    behaviors: dict[str, tuple[str, ...]] | None = None
    start: str | None = None
    end: str | None = None
    bad_timestamps: Literal["error", "drop"] | None = None
    bad_weights: Literal["error", "drop"] | None = None
    key_variable: str = KEY_VARIABLE
    key_file: str | None = None
    user_table: str | tuple[str, ...] | None = None
    item_table: str | tuple[str, ...] | None = None
