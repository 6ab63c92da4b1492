"""Columns of the log's tables of users and items, as values that groups and categories are made of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recdl.errors import ConfigError
from recdl.metrics.lists import Sets

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Values:
    """The values of a column, as text.

    Attributes:
        sets: For each row the codes of its values; none where nothing is known.
        names: The text of each code, in alphabetical order.
    """

    sets: Sets
    names: tuple[str, ...]


def check_column(table: "pa.Table | None", column: str, *, setting: str, of: str) -> None:
    """Check that a table of users or items is there and has a column.

    Raises:
        ConfigError: If not; it names the setting that asks for it, and what there is.
    """
    if table is None:
        raise ConfigError(
            f"{setting}: the log has no table of {of}, so no column {column!r}; give data."
            f"{of.removesuffix('s')}_table.path, or leave it out"
        )
    if column not in table.column_names:
        known = ", ".join(map(repr, table.column_names)) or "none"
        raise ConfigError(f"{setting}: the log's table of {of} has no column {column!r}; it has {known}")


def read_values(table: "pa.Table", column: str, *, separator: str | None = None) -> Values:
    """Read a column that `check_column` has checked: one value a row, a list of values, or parts of a text.

    An empty text, and a null, is no value.

    Raises:
        ConfigError: If it holds lists of lists or the like.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    values = table[column].combine_chunks()
    rows = np.arange(len(values))
    if separator is not None and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        values = pc.split_pattern(values, separator)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        counts = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        rows, values = np.repeat(rows, counts), pc.list_flatten(values)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_nested(values.type):
        raise ConfigError(f"the column {column!r} holds {values.type}; a value or a list of values is needed")
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    encoded = pc.if_else(pc.equal(text, ""), None, text).dictionary_encode()
    known = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    names = np.array(encoded.dictionary.to_pylist(), object)
    order = np.argsort(names)
    codes = np.empty(len(names), np.int64)
    codes[order] = np.arange(len(names))
    return Values(
        _sets(rows[known >= 0], codes[known[known >= 0]], len(table), len(names)), tuple(names[order].tolist())
    )


def _sets(rows: npt.NDArray[np.int64], codes: npt.NDArray[np.int64], n_rows: int, n_codes: int) -> Sets:
    """Return the codes of each row, each once."""
    pairs = np.unique(rows * max(n_codes, 1) + codes)
    offsets = np.searchsorted(pairs, np.arange(n_rows + 1) * max(n_codes, 1)).astype(np.int64)
    return Sets(offsets, (pairs % max(n_codes, 1)).astype(np.int32), n_codes)
