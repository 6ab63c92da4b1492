"""Published files that are read whole: found, read strictly, and their ids as text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from recdl.errors import ConfigError, DataError

Header = Literal[True] | tuple[str, ...]


@dataclass(frozen=True)
class TextForm:
    r"""How text files are written; Parquet files are known by their suffix and need none of it.

    Attributes:
        separator: What stands between two fields: one character, or `\t` for a tab.
        header: True when the first row names the columns, else the names of all columns.
    """

    separator: str
    header: Header

    def check(self, key: str) -> None:
        """Raise ConfigError for what no file can be written in; `key` is what leads to these settings."""
        if len(self.separator) != 1 and self.separator != "\\t":
            raise ConfigError(f"{key}.separator: {self.separator!r} is not a single character, nor \\t")
        if self.header is not True and (not self.header or len(set(self.header)) < len(self.header)):
            raise ConfigError(f"{key}.header: true, or the name of every column, each once")


def find_file(path: str, data_root: str, *, key: str) -> Path:
    """Return where a file lies: as given, or below `data_root`; `key` is the setting that names it.

    Raises:
        DataError: If it lies in neither place.
    """
    places = [Path(path).expanduser(), Path(data_root).expanduser() / path]
    for place in places:
        if place.is_file():
            return place
    looked = " nor ".join(str(place.absolute()) for place in dict.fromkeys(places))
    raise DataError(
        f"{key}: there is no file {looked}; correct the path, or set data_root (RECDL_DATA) to its folder"
    )


def read_columns(path: Path, wanted: list[str], form: TextForm, *, key: str) -> pa.Table:
    """Read the wanted columns with their rows in order: of Parquet as they are, of text as text.

    Args:
        path: The file.
        wanted: Names of columns.
        form: How it is written if it is text.
        key: The settings that say what the file is like, for messages.

    Raises:
        DataError: If it cannot be read, holds no rows, lacks a column or has one twice.
    """
    try:
        if path.suffix.lower() == ".parquet":
            names = pq.read_schema(path).names
            _check_columns(path, wanted, names, key)
            table = pq.read_table(path, columns=wanted)
        else:
            table = _read_text(path, form, key)
            _check_columns(path, wanted, table.column_names, key)
            table = table.select(wanted)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not len(table):
        raise DataError(f"{path} holds no rows")
    return table.combine_chunks()


def _read_text(path: Path, form: TextForm, key: str) -> pa.Table:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")
    delimiter = "\t" if form.separator == "\\t" else form.separator
    names = None if form.header is True else list(form.header)
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter)
    with path.open("rb") as opened:
        first = opened.readline().decode("utf-8-sig", errors="replace").strip("\r\n").split(delimiter)
    first = [name.strip('"') for name in first]
    if names is not None and len(first) != len(names):
        raise DataError(
            f"{path} has {len(first)} columns, but {key}.header names {len(names)}; name each, and mind"
            f" {key}.separator"
        )
    text = {name: pa.string() for name in names or first}
    return pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(column_names=names),
        parse_options=parse,
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=text, strings_can_be_null=True, null_values=[""], quoted_strings_can_be_null=True
        ),
    )


def _check_columns(path: Path, wanted: list[str], names: list[str], key: str) -> None:
    for name in wanted:
        if names.count(name) != 1:
            has = "no column" if name not in names else f"{names.count(name)} columns"
            raise DataError(
                f"{path} has {has} {name!r}; its columns are {', '.join(map(repr, names))}. Say which are which"
                f" with {key}.columns, and mind {key}.header and {key}.separator"
            )


def id_texts(ids: pa.Array, name: str, path: Path) -> npt.NDArray[np.object_]:
    """Return ids as a prepared log has them: as text, whole numbers in full.

    Raises:
        DataError: If one is missing, or the column holds neither text nor whole numbers.
    """
    column: Any = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column {name!r} is of type {kind}; ids are text or whole numbers")
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise DataError(f"{path}, row {row}: column {name!r} is empty")
    return np.asarray(pc.cast(column, pa.large_string()).to_numpy(zero_copy_only=False), dtype=object)
