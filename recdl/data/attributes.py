"""What is known of users and items: tables that travel with a log, one row for each index of a vocabulary."""

import operator
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.engine import arrow_batches, reading_errors
from recdl.data.events import id_text
from recdl.data.inputs import AttributeTable
from recdl.data.masking import Mask, masked_ids
from recdl.data.objects import rows_of_objects
from recdl.data.privacy import Kind
from recdl.data.readers import Layout, Opened, open_files, read, row_place, title
from recdl.data.reading import InputFile, table_files, tables
from recdl.data.sources import FileLog
from recdl.data.vocabulary import Vocabulary
from recdl.errors import ConfigError, DataError

if TYPE_CHECKING:
    import ibis

Reader = Callable[[Path], AbstractContextManager[Any]]

_ROWS = 1 << 16
_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".dat": "csv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def encode_tables(
    log: FileLog,
    mask: Mask,
    *,
    reader: Reader,
    users: Vocabulary,
    items: Vocabulary,
    folder: Path,
    scratch: Path,
) -> dict[str, dict[str, Any]]:
    """Write the log's tables of users and items into `folder`, row i for index i, null where nothing is known.

    Args:
        log: The log.
        mask: What users and items are known as.
        reader: Gives an embedded connection, with a folder for what does not fit into memory.
        users: The users that are left.
        items: The items that are left.
        folder: Where `user_table.parquet` and `item_table.parquet` go.
        scratch: A folder for what does not fit into memory.

    Returns:
        Counts by table: rows read, rows without an id, ids without an event in the log, indices without a row, and
        nulls by column.

    Raises:
        DataError: If a table cannot be read, lacks a column, or has several rows for an id.
    """
    counts = {}
    for key, table in tables(log).items():
        files = table_files(table, log, key)
        if table.format == "object":
            table, file = rows_of_objects(table, files, scratch / f"{key}-rows.parquet")
            files = (file,)
        layout = _layout(table, key, files[0], cut_rows=log.bad_timestamps == "drop")
        opened = open_files(files, layout, scratch / key)
        vocabulary = users if key == "user_table" else items
        counts[key] = _encode(opened, table, key, vocabulary, folder / f"{key}.parquet", scratch, mask, reader)
    return counts


def _layout(table: AttributeTable, key: str, file: InputFile, *, cut_rows: bool) -> Layout:
    name = Path(file.member or file.path).name.lower().removesuffix(".gz").removesuffix(".zst")
    format_ = table.format or _FORMATS.get(Path(name).suffix)
    if format_ is None:
        raise ConfigError(f"data.{key}.format: {file} does not say by its name what it is; csv, jsonl or parquet?")
    wanted = None if table.columns is None else {name: name for name in (table.id, *table.columns)}
    setting = f"data.{key}.columns (the id: data.{key}.id)"
    return Layout(format_, wanted, table.dialect, cut_rows=cut_rows, setting=setting)


def _encode(
    opened: list[Opened],
    table: AttributeTable,
    key: str,
    vocabulary: Vocabulary,
    path: Path,
    scratch: Path,
    mask: Mask,
    reader: Reader,
) -> dict[str, Any]:
    names = _names(opened, table, key)
    with reader(scratch) as connection:
        parts = [_typed(connection, part, table, names) for part in opened]
        if any(part.schema() != parts[0].schema() for part in parts):
            raise DataError(
                f"{title(opened[0].shown)}: the files of data.{key} differ in the types of their columns"
            )
        with _errors(opened):
            rows = connection.create_table(key, reduce(lambda one, other: one.union(other), parts), temp=True)
            _check_numbers(connection, rows, opened, table, names)
        kind: Kind = "user" if key == "user_table" else "item"
        if mask.hides(kind):
            shown = scratch / f"masked-{key}.parquet"
            rows = masked_ids(
                rows,
                "id",
                kind,
                mask,
                shown,
                fetch=lambda table: table.to_pyarrow(),
                load=lambda path: connection.read_parquet(str(path)),
            )
        columns = [f"c{position}" for position in range(len(names))]
        known = connection.create_table(f"{key}_known", _one_each(rows, columns, table), temp=True)
        _check_unique(known, opened, key)
        indices = pa.array(np.arange(len(vocabulary), dtype=np.int32))
        pq.write_table(pa.table({"known": vocabulary.to_arrow(), "index": indices}), scratch / f"{key}.parquet")
        indexed = connection.read_parquet(str(scratch / f"{key}.parquet"))
        joined = indexed.left_join(known, indexed.known == known.id).order_by("index")
        _write(arrow_batches(connection, joined.select("id", *columns), rows=_ROWS), names, path)
        # A row with nothing in it says no more than one that is not there, and later cannot be told from it.
        telling = known.filter([reduce(operator.or_, (known[name].notnull() for name in columns))])
        distinct, read_rows = _count(telling), _count(rows)
        without_id = _count(rows.filter(rows.id.isnull()))
        matched = _count(telling.semi_join(indexed, telling.id == indexed.known))
    written = pq.read_table(path, memory_map=True)
    return {
        "rows_read": read_rows,
        "without_id": without_id,
        "not_in_the_log": distinct - matched,
        "missing": len(vocabulary) - matched,
        "nulls": {name: written[name].null_count for name in names},
    }


def _count(table: "ibis.Table") -> int:
    return int(table.count().to_pyarrow().as_py())


def _errors(opened: list[Opened]) -> Any:
    return reading_errors(
        title(opened[0].shown), reduce(lambda one, other: one | other, (o.copies for o in opened))
    )


def _names(opened: list[Opened], table: AttributeTable, key: str) -> tuple[str, ...]:
    """Return the columns that the table gets."""
    if table.columns is not None:
        return table.columns
    names = opened[0].names
    if table.id not in names or any(set(part.names) != set(names) for part in opened):
        shown = title(opened[0].shown)
        if table.id not in names:
            raise DataError(
                f"{shown} has no column {table.id!r}; its columns are {', '.join(map(repr, names))}. Say which "
                f"one holds the ids with data.{key}.id=..."
            )
        raise DataError(
            f"the files of data.{key} differ in their columns; name those to keep in data.{key}.columns"
        )
    for name in table.numbers:
        if name not in names:
            raise DataError(f"{title(opened[0].shown)} has no column {name!r}, which data.{key}.numbers names")
    return tuple(name for name in names if name != table.id)


def _typed(connection: Any, part: Opened, table: AttributeTable, names: tuple[str, ...]) -> "ibis.Table":
    raw = read(connection, part)
    typed = {"id": id_text(raw[table.id], f"{title(part.shown)}: column {table.id!r}")}
    for position, name in enumerate(names):
        column = raw[name].cast("string") if raw[name].type().is_null() else raw[name]
        typed[f"c{position}"] = column
        if name in table.numbers and column.type().is_string():
            text = column.replace(",", ".") if table.dialect.decimal == "," else column
            number = text.try_cast("float64")
            finite = number.between(-np.finfo(np.float64).max, np.finfo(np.float64).max)
            typed[f"c{position}"] = finite.ifelse(number, None).cast("float64")
            typed[f"bad{position}"] = column.notnull() & (column != "") & ~finite.fill_null(False)
    return raw.select(**typed)


def _check_numbers(
    connection: Any, rows: "ibis.Table", opened: list[Opened], table: AttributeTable, names: tuple[str, ...]
) -> None:
    import ibis

    for position, name in enumerate(names):
        flag = f"bad{position}"
        if flag not in rows.columns or not rows[flag].any().to_pyarrow().as_py():
            continue
        for file in (file for part in opened for file in part.one_by_one()):
            typed = _typed(connection, file, table, names)
            raw = read(connection, file)
            numbered = raw.select(text=raw[name], row=ibis.row_number())
            flags = typed.select(bad=typed[flag], row=ibis.row_number())
            joined = numbered.join(flags, "row")
            first = joined.filter(joined.bad).order_by("row").limit(1).to_pyarrow().to_pylist()
            if first:
                raise DataError(
                    f"{file.shown[0]}, {row_place(file, first[0]['row'])}: column {name!r} holds "
                    f"{first[0]['text']!r}, which is no finite number"
                )


def _one_each(rows: "ibis.Table", columns: list[str], table: AttributeTable) -> "ibis.Table":
    """Return the distinct rows that have an id; only the most common of each id where that is asked for."""
    import ibis

    known = rows.filter(rows.id.notnull()).select("id", *columns)
    if table.several == "error":
        return known.distinct()
    said = known.filter(ibis.or_(*(known[column].notnull() for column in columns)))
    counted = said.group_by("id", *columns).agg(n=said.count())
    order = [counted.n.desc(), *(counted[column] for column in columns)]
    ranked = counted.mutate(rank=ibis.row_number().over(group_by="id", order_by=order))
    return ranked.filter(ranked.rank == 0).select("id", *columns)


def _check_unique(known: "ibis.Table", opened: list[Opened], key: str) -> None:
    sizes = known.group_by("id").agg(n=known.count())
    several = sizes.filter(sizes.n > 1)
    count = _count(several)
    if count:
        # A user id may be personal: it is counted, not shown.
        example = "" if key == "user_table" else f", such as {several.id.min().to_pyarrow().as_py()!r}"
        raise DataError(
            f"{title(opened[0].shown)}: {count:,} ids have several rows that differ{example}; "
            f"keep one row an id, or set data.{key}.several=most_common"
        )


def _write(batches: Iterator[pa.RecordBatch], names: tuple[str, ...], path: Path) -> None:
    writer = None
    for batch in batches:
        named = pa.Table.from_arrays([batch[f"c{position}"] for position in range(len(names))], names=list(names))
        if writer is None:
            writer = pq.ParquetWriter(path, named.schema)
        writer.write_table(named)
    assert writer is not None, "a vocabulary is never empty"
    writer.close()
