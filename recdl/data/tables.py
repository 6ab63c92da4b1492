"""Tables of users and items in a prepared folder: opened, and identified by what they hold."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recdl.errors import RecordError


def open_tables(folder: Path, manifest: Mapping[str, Any], *, n_users: int, n_items: int) -> dict[str, pa.Table]:
    """Open the tables of users and items that a manifest names, by name.

    Raises:
        RecordError: As `open_table` does.
    """
    rows = {"user_table": n_users, "item_table": n_items}
    named = manifest.get("tables", {})
    return {key: open_table(folder, key, rows=n) for key, n in rows.items() if key in named}


def open_table(folder: Path, key: str, *, rows: int) -> pa.Table:
    """Open a table that `encode_tables` wrote.

    Raises:
        RecordError: If it is missing, damaged, or of another length than the vocabulary.
    """
    path = folder / f"{key}.parquet"
    try:
        table = pq.read_table(path, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path} is missing or damaged ({error}); delete {folder}, prepare again") from error
    if len(table) != rows:
        raise RecordError(f"{path} has {len(table):,} rows instead of {rows:,}; delete {folder}, prepare again")
    return table


def table_parts(table: pa.Table) -> Iterator[Any]:
    """Yield what identifies a table's content (for `fingerprint`): the same for the same values."""
    for name in table.column_names:
        yield name
        yield from _array_parts(pa.chunked_array(table[name]).combine_chunks())


def _array_parts(array: Any) -> Iterator[Any]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    yield str(kind).removeprefix("large_")
    yield np.packbits(pc.is_valid(array).to_numpy(zero_copy_only=False))
    if pa.types.is_struct(kind):
        for position in range(kind.num_fields):
            yield from _array_parts(pc.struct_field(array, position))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield _numbers(pc.fill_null(pc.list_value_length(array), 0))
        yield from _array_parts(pc.list_flatten(array))
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        yield _numbers(pc.fill_null(array, 0))
    else:  # text, times, decimals: their text says all
        text = pc.fill_null(array.cast(pa.large_string()), "")
        yield _numbers(pc.binary_length(text))
        yield np.frombuffer("".join(text.to_pylist()).encode(), np.uint8)


def _numbers(array: Any) -> npt.NDArray[Any]:
    return np.asarray(array.to_numpy(zero_copy_only=False))
