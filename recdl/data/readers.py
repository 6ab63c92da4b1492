"""From files to a lazy table of their raw rows, read strictly: what is not as it should be is an error."""

import codecs
import csv
import json
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.engine import reading_errors
from recdl.data.inputs import Dialect
from recdl.data.opening import open_binary, open_text
from recdl.data.reading import InputFile
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis

_BLOCK = 1 << 22
_KEYS_FROM = 1_000  # lines of a JSON file, in which every column is looked for


@dataclass(frozen=True)
class Layout:
    """How files are to be read.

    Attributes:
        format: csv, jsonl or parquet.
        wanted: The columns to read: what the file calls them, by what they are called here. None: all.
        dialect: How CSV files are written.
        cut_rows: Whether a CSV row may lack its last fields, as in a log that was cut while being written.
        setting: What to say which column is which with, by what it is called here.
    """

    format: str
    wanted: Mapping[str, str] | None
    dialect: Dialect
    cut_rows: bool = False
    setting: str = "data.columns.{}"


@dataclass(frozen=True)
class Opened:
    """Files that are read alike.

    Attributes:
        files: Where they lie; copies where they must be unpacked or rewritten first.
        shown: What to call each of them.
        names: Their columns, in order; of JSON the wanted ones.
        layout: How they are read.
    """

    files: tuple[Path, ...]
    shown: tuple[str, ...]
    names: tuple[str, ...]
    layout: Layout

    def one_by_one(self) -> "list[Opened]":
        """Return each file on its own."""
        return [
            Opened((file,), (shown,), self.names, self.layout)
            for file, shown in zip(self.files, self.shown, strict=True)
        ]

    @property
    def copies(self) -> dict[str, str]:
        """What to call each file, by where it lies."""
        return {str(file): shown for file, shown in zip(self.files, self.shown, strict=True)}

    def errors(self) -> AbstractContextManager[None]:
        """Turn what the engine says of these files into DataError."""
        return reading_errors(title(self.shown), self.copies)


def title(shown: tuple[str, ...]) -> str:
    """Return what to call several files at once."""
    return shown[0] if len(shown) == 1 else f"{shown[0]} and {len(shown) - 1} more"


def open_files(
    files: tuple[InputFile, ...], layout: Layout, scratch: Path, *, label: str | None = None
) -> list[Opened]:
    """Look at the columns of files and put those together that have the same.

    Args:
        files: The files.
        layout: How they are to be read.
        scratch: A folder for copies of what must be unpacked or rewritten first.
        label: What to call the files; None: by their paths.

    Raises:
        DataError: If a file is empty or cut off, or lacks a column that is wanted.
    """
    alike: dict[Any, list[tuple[Path, str]]] = {}
    names_of: dict[Any, tuple[str, ...]] = {}
    keys: set[str] = set()
    for number, file in enumerate(files):
        shown = label or str(file)
        path = _plain(file, layout, scratch / f"{number}")
        key: Any = None
        if layout.format == "parquet":
            key, names = _parquet_names(file, path, layout, shown)
            names_of[key] = names
        elif layout.format == "csv":
            key = tuple(csv_columns(layout.dialect, path, shown))
            names_of[key] = key
        else:
            keys |= _json_names(path)
        if layout.format != "jsonl":
            _check_columns(layout, shown, names_of[key])
        alike.setdefault(key, []).append((path, shown))
    if layout.format == "jsonl":
        shown = title(tuple(label or str(file) for file in files))
        if not keys:
            raise DataError(f"{shown}: none of the first {_KEYS_FROM:,} lines is a JSON object; write one a line")
        _check_columns(layout, shown, tuple(sorted(keys)))
        names_of[None] = tuple(layout.wanted.values()) if layout.wanted is not None else tuple(sorted(keys))
    return [
        Opened(tuple(path for path, _ in pairs), tuple(shown for _, shown in pairs), names_of[key], layout)
        for key, pairs in alike.items()
    ]


def read(connection: Any, opened: Opened) -> "ibis.Table":
    """Return the rows as a lazy table, with the columns as `wanted` calls them.

    Text files hold text and nulls: every CSV field and JSON value as it is written, an empty CSV field null.
    Quotes and the number of fields are checked strictly.
    """
    layout = opened.layout
    paths = [str(file) for file in opened.files]
    wanted = layout.wanted if layout.wanted is not None else {name: name for name in opened.names}
    with opened.errors():
        if layout.format == "parquet":
            return _read_parquet(connection, paths, opened, wanted)
        if layout.format == "jsonl":
            table = connection.read_json(
                paths,
                format="newline_delimited",
                columns=dict.fromkeys(dict.fromkeys(wanted.values()), "VARCHAR"),
            )
            return table.select(**{key: table[name] for key, name in wanted.items()})
        # Names of our own: those of the file may differ in case alone, which the engine does not tell apart.
        columns = {f"c{position}": "VARCHAR" for position in range(len(opened.names))}
        dialect = layout.dialect
        table = connection.read_csv(
            paths,
            auto_detect=False,
            columns=columns,
            header=dialect.header is True,
            delim=dialect.delimiter,
            quote=dialect.quote or "",
            escape=(dialect.escape or "") if dialect.quote else "",
            nullstr="",
            strict_mode=True,
            ignore_errors=False,
            null_padding=layout.cut_rows,
        )
        return table.select(**{key: table[f"c{opened.names.index(name)}"] for key, name in wanted.items()})


def _read_parquet(connection: Any, paths: list[str], opened: Opened, wanted: Mapping[str, str]) -> "ibis.Table":
    schema = pq.read_schema(opened.files[0])
    partitioned = any(name not in schema.names for name in wanted.values())
    # Keys in the names of folders are text: 007 stays 007.
    options = (
        {"hive_partitioning": True, "hive_types_autocast": False} if partitioned else {"hive_partitioning": False}
    )
    table = connection.read_parquet(paths, **options)
    selected = {}
    for key, name in wanted.items():
        if name not in schema.names:
            selected[key] = table[name]
            continue
        column = table[table.columns[schema.names.index(name)]]  # by position: names may differ in case alone
        kind = schema.field(name).type
        if pa.types.is_timestamp(kind) and kind.tz is not None and column.type().is_unknown():
            column = column.cast(
                "timestamp('UTC', 6)"
            )  # nanoseconds with a zone, a type that Ibis has no word for
        selected[key] = column
    return table.select(**selected)


def _check_columns(layout: Layout, shown: str, names: tuple[str, ...]) -> None:
    for key, name in (layout.wanted or {}).items():
        if name not in names:
            raise DataError(
                f"{shown} has no column {name!r}; its columns are {', '.join(map(repr, names))}. "
                f"Say which one it is with {_setting(layout, key, name)}=...{_doubt(layout, names)}"
            )


def _doubt(layout: Layout, names: tuple[str, ...]) -> str:
    alone = layout.format == "csv" and len(names) == 1
    return f"; or is {layout.dialect.separator!r} not the separator?" if alone else ""


def _setting(layout: Layout, key: str, name: str) -> str:
    return f"data.exclude.{name}" if key.startswith("exclude_") else layout.setting.format(key)


def _parquet_names(file: InputFile, path: Path, layout: Layout, shown: str) -> tuple[Any, tuple[str, ...]]:
    """Return what files that can be read at once agree in, and the columns of one."""
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shown} cannot be read: {error}") from error
    for name in layout.wanted.values() if layout.wanted is not None else schema.names:
        if schema.names.count(name) > 1:
            raise DataError(f"{shown} has two columns called {name!r}; rename one")
    named = schema.names if layout.wanted is None else [n for n in layout.wanted.values() if n in schema.names]
    types = tuple(str(schema.field(name).type) for name in named)
    keys = tuple(key for key in file.keys if key not in schema.names)
    return (tuple(schema.names), types, keys), (*schema.names, *keys)


def _json_names(path: Path) -> set[str]:
    """Return the keys of a file's first rows; what is no JSON is left to the engine, which knows its line."""
    names: set[str] = set()
    with open_text(path) as opened:
        for line in islice(opened, _KEYS_FROM):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                names |= set(row)
    return names


def csv_columns(dialect: Dialect, path: Path, shown: str) -> list[str]:
    """Return the names of a CSV file's columns.

    Raises:
        DataError: If two columns share a name, or the file does not start with text.
    """
    if dialect.header is not True:
        return list(dialect.header)
    with open_text(path) as opened:
        try:
            names = _first_row(dialect, opened)
            "".join(names).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"the header row of {shown} is not UTF-8; convert the file, or state its encoding, such as "
                "data.encoding=cp1252"
            ) from error
        except (OSError, EOFError, csv.Error) as error:
            raise DataError(f"{shown} has no readable header row: {error}") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{shown} has two columns called {twice[0]!r}; rename one")
    return names


def _first_row(dialect: Dialect, opened: TextIO) -> list[str]:
    if len(dialect.delimiter) == 1:
        return next(_csv_reader(dialect, opened), [])
    names = (
        opened.readline().rstrip("\r\n").split(dialect.delimiter)
    )  # Python's csv knows separators of one character
    return [name.strip(dialect.quote) if dialect.quote else name for name in names]


def _csv_reader(dialect: Dialect, opened: TextIO) -> Any:
    doubled = dialect.escape == dialect.quote
    return csv.reader(
        opened,
        delimiter=dialect.delimiter[-1],
        quotechar=dialect.quote,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        doublequote=doubled,
        escapechar=None if doubled or not dialect.quote else dialect.escape,
    )


def row_place(opened: Opened, row: int) -> str:
    """Say where data row `row`, from 0, of a single file is: by line, from 1, in a text file.

    Quoted fields may span several lines; the row is where it ends.
    """
    if opened.layout.format == "parquet":
        return f"row {row + 1}"
    dialect = opened.layout.dialect
    with open_text(opened.files[0]) as text:
        if opened.layout.format == "jsonl":
            filled = (number for number, line in enumerate(text, 1) if line.strip())
            return f"line {next(islice(filled, row, None))}"
        reader = _csv_reader(dialect, text)
        try:
            next(islice((fields for fields in reader if fields), row + (dialect.header is True), None))
        except csv.Error:  # a field that is longer than Python's csv allows
            return f"row {row + 1}"
        return f"line {reader.line_num}"


def _plain(file: InputFile, layout: Layout, scratch: Path) -> Path:
    """Return a file that the engine can read: this one, or a copy in `scratch`, unpacked or in UTF-8."""
    try:
        path = _unpacked(file, scratch) if file.member else file.path
        if path.stat().st_size == 0:
            raise DataError(f"{file} is empty (0 bytes)")
        if layout.format == "parquet":
            return path
        if path.suffix.lower() == ".zst":
            with open_binary(path) as packed:  # the engine does not notice that a Zstandard file is cut off
                while packed.read(_BLOCK):
                    pass
        encoding = codecs.lookup(layout.dialect.encoding).name if layout.format == "csv" else "utf-8"
        if encoding != "utf-8" or (layout.format == "jsonl" and _marked(path)):
            return _in_utf8(path, str(file), encoding, scratch)
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    return path


def _unpacked(file: InputFile, scratch: Path) -> Path:
    scratch.mkdir(parents=True)
    path = scratch / Path(file.member).name
    with zipfile.ZipFile(file.path) as archive, archive.open(file.member) as packed, path.open("wb") as copy:
        shutil.copyfileobj(packed, copy, _BLOCK)
    return path


def _marked(path: Path) -> bool:
    with open_binary(path) as opened:
        return opened.read(3) == codecs.BOM_UTF8


def _in_utf8(path: Path, shown: str, encoding: str, scratch: Path) -> Path:
    """Write a copy in UTF-8 without a byte-order mark."""
    scratch.mkdir(parents=True, exist_ok=True)
    copy = scratch / "in_utf8"
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    lines = 1
    with open_binary(path) as opened, copy.open("w", encoding="utf-8", newline="") as written:
        while True:
            block = opened.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                good = error.object[: error.start].decode(encoding, errors="replace")
                raise DataError(
                    f"{shown}, line {lines + good.count(chr(10))}: holds bytes that are no {encoding}; "
                    "data.encoding states another"
                ) from error
            lines += text.count("\n")
            written.write(text)
            if not block:
                return copy
