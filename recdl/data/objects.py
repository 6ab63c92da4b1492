"""Tables of users or items as one JSON object: `{"B001": ["Hair Care", "Nexxus"], ...}`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.inputs import AttributeTable
from recdl.data.reading import InputFile
from recdl.errors import DataError


def rows_of_objects(
    table: AttributeTable, files: Sequence[InputFile], path: Path
) -> tuple[AttributeTable, InputFile]:
    """Write the entries of JSON objects as rows, and return the table and the file that it then is.

    The names in the objects are the ids, and what they stand for the only column: a list of texts, whether one
    value is given, a list or null.

    Args:
        table: The table, with one column.
        files: The JSON files.
        path: The Parquet file to write.

    Raises:
        DataError: If a file cannot be read, is no JSON object, or holds what is no text or number, by its id.
    """
    assert table.columns is not None and len(table.columns) == 1, "it was checked"
    ids, values = list[str](), list[list[str] | None]()
    for file in files:
        for name, value in _entries(file).items():
            ids.append(name)
            values.append(None if value is None else _texts(value, name, file))
    columns = {table.id: pa.array(ids, pa.string()), table.columns[0]: pa.array(values, pa.list_(pa.string()))}
    pq.write_table(pa.table(columns), path)
    return replace(table, format="parquet"), InputFile(path)


def _entries(file: InputFile) -> dict[str, Any]:
    if file.member:
        raise DataError(f"{file}: a JSON object within an archive is not read; unpack it")
    try:
        read = json.loads(file.path.read_text(encoding="utf-8-sig"), object_pairs_hook=list)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(read, list) or not all(isinstance(pair, tuple) for pair in read):
        raise DataError(f"{file} holds no JSON object of ids and values; is its format csv, jsonl or parquet?")
    entries = dict(read)
    if len(entries) < len(read):
        raise DataError(f"{file}: {len(read) - len(entries):,} ids are there twice; keep one entry an id")
    return entries


def _texts(value: Any, name: str, file: InputFile) -> list[str]:
    several = value if isinstance(value, list) else [value]
    for one in several:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise DataError(f"{file}, id {name!r}: {one!r} is no text or number, nor a list of these")
    return [str(one) for one in several]
