"""What is known of users and items, after a later piece of the log has come: old rows, new rows, changed rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.tables import open_table
from recdl.errors import DataError

_ROWS = 1 << 16


def write_table(
    old: pa.Table,
    new: pa.Table | None,
    path: Path,
    *,
    rows: int,
    key: str,
    counts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Write a table anew: an index of which the piece's table says something gets that row, others keep theirs.

    Args:
        old: The log's table, a row for each old index.
        new: The piece's, a row for each index, old or new, nulls where it says nothing; None: it brought none,
            and new indices are without.
        path: The file to write.
        rows: Number of indices, old and new.
        key: user_table or item_table.
        counts: What the log's manifest counts of the old table, `before`, and what was counted of the piece's,
            `said`; empty where it brought none.

    Returns:
        What the manifest says of the table.

    Raises:
        DataError: If the two tables differ in their columns.
    """
    before, said = counts["before"], counts["said"]
    if new is not None:
        assert len(new) == rows >= len(old), "indices are only added"
        _check_columns(old, new, key)
    n_empty = 0
    with pq.ParquetWriter(path, old.schema) as writer:
        for start in range(0, rows, _ROWS):
            kept = _padded(old.slice(start, _ROWS), min(_ROWS, rows - start))
            if new is not None:
                kept = _changed(kept, new.slice(start, _ROWS))
            n_empty += int(_empty(kept).sum())
            writer.write_table(kept)
    written = pq.read_table(path, memory_map=True)
    return {
        "rows_read": before["rows_read"] + said.get("rows_read", 0),
        "without_id": before["without_id"] + said.get("without_id", 0),
        "not_in_the_log": said.get("not_in_the_log", before["not_in_the_log"]),
        "missing": n_empty,
        "nulls": {name: written[name].null_count for name in written.column_names},
    }


def _padded(table: pa.Table, rows: int) -> pa.Table:
    """Return a table with rows of nulls at its end, so that there are `rows`."""
    further = rows - len(table)
    nulls = pa.table([pa.nulls(further, one.type) for one in table.schema], schema=table.schema)
    return pa.concat_tables([table, nulls])


def same_table(folder: Path, old: pa.Table, key: str) -> bool:
    """Return whether a table that was written says what the old one did."""
    return bool(open_table(folder, key, rows=len(old)).equals(old))


def _changed(old: pa.Table, new: pa.Table) -> pa.Table:
    both = pa.concat_tables([old, new.cast(old.schema)]).combine_chunks()
    places = np.arange(len(new)) + np.where(_empty(new), 0, len(new))
    return both.take(pa.array(places))


def _empty(rows: pa.Table) -> npt.NDArray[np.bool_]:
    """Return which rows say nothing: all null."""
    empty = np.ones(len(rows), np.bool_)
    for column in rows.columns:
        empty &= np.asarray(column.is_null().to_numpy())
    return empty


def _check_columns(old: pa.Table, new: pa.Table, key: str) -> None:
    if old.column_names != new.column_names:
        raise DataError(
            f"data.{key}: its columns are {', '.join(new.column_names)}, those of the log's table are "
            f"{', '.join(old.column_names)}; they must be the same"
        )
    for name in old.column_names:
        if old.schema.field(name).type != new.schema.field(name).type:
            raise DataError(
                f"data.{key}: column {name!r} is of type {new.schema.field(name).type}, in the log's table of "
                f"type {old.schema.field(name).type}; write it as that"
            )
