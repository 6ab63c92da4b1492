"""Queries for recommendations: users of the log by their raw ids, and visitors whose histories lie in a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from recdl.data.engine import reading_errors
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.sources import Time
from recdl.data.timestamps import microseconds
from recdl.data.vocabulary import UNKNOWN, Vocabulary
from recdl.errors import DataError

USER, ITEM, BEHAVIOR, TIMESTAMP, WEIGHT = "user_id", "item_id", "behavior", "timestamp", "weight"
_COLUMNS = (USER, ITEM, BEHAVIOR, TIMESTAMP, WEIGHT)
_TIME_TYPES = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_integer, pa.types.is_floating)
_ROW = "(the first row of data is row 1)"


@dataclass(frozen=True, eq=False)
class HistoryFile:
    """The visitors of a file, as queries.

    Attributes:
        queries: One query a user of the file, in the order in which the users first occur.
        query_ids: (n_queries,) object, the raw user id of each query.
        n_events: Rows of the file.
        n_unknown_items: Rows left out because the catalogue does not hold their item.
        n_duplicates: Rows left out because they say what another row says (user, item, behaviour and time).
        without_history: Places, in `query_ids`, of the users of whom no event is left: they are scored as visitors
            without history.
    """

    queries: Queries
    query_ids: npt.NDArray[np.object_]
    n_events: int
    n_unknown_items: int
    n_duplicates: int
    without_history: npt.NDArray[np.int64]


def read_histories(
    path: Path, *, items: Vocabulary, behavior_names: Sequence[str], users: Vocabulary | None = None
) -> HistoryFile:
    """Read histories from a CSV (also gzipped) or Parquet file of one event a row.

    Columns: `user_id`, `item_id`, and where known `behavior`, `timestamp` and `weight` (a finite number, for
    models that count the log's); others are not read. Ids are text, exactly as written. Without a `behavior`
    column every event is of the least committed behaviour, the first of `behavior_names`. With a `timestamp`
    column (seconds, milliseconds or microseconds since 1970, or ISO 8601; UTC where no offset is stated) a history
    is ordered, and exact duplicates are removed, as preparation does with the log, so that the same rows in any
    order give the history that the log would hold; without one, it is the order of the file and every row counts.

    Args:
        path: The file.
        items: The catalogue of the model. Events of other items are left out and counted.
        behavior_names: The behaviours the model knows.
        users: What the user ids of the file mean. None (the default): they are names for the output and no more,
            and everyone is scored as an unknown visitor with the history in the file. So a file's own numbering of
            its visitors never draws on a stranger who had the same id in training, and every model uses the
            history. The vocabulary of the model: ids it holds are those very users. A factorization model then
            scores them by the vector it learned in training, whatever the file says; a user kNN leaves out their
            own row.

    Raises:
        DataError: If the file cannot be read or is empty, a column is missing, an id is missing, a behaviour is
            none of `behavior_names`, or a time or weight cannot be read.
    """
    table = _read_table(path)
    if not len(table):
        raise DataError(f"{path} holds no events; each row must name a {USER} and an {ITEM}")
    user_codes, user_ids = _ids(table[USER], USER, path)
    item_codes, item_ids = _ids(table[ITEM], ITEM, path)
    item_indices = items.indices(item_ids)[item_codes]
    behaviors = _behaviors(table, behavior_names, path)
    timestamps = _timestamps(table, path)
    weights = _weights(table, path)
    known = np.flatnonzero(item_indices != UNKNOWN)
    kept = _in_order(known, user_codes, timestamps, [behaviors, item_indices, weights])
    counts = np.bincount(user_codes[kept], minlength=len(user_ids))
    ends = np.cumsum(counts, dtype=np.int64)
    queries = Queries(
        users=np.full(len(user_ids), UNKNOWN, np.int32) if users is None else users.indices(user_ids),
        starts=ends - counts,
        ends=ends,
        items=item_indices[kept],
        behaviors=behaviors[kept],
        timestamps=np.zeros(len(kept), np.int64) if timestamps is None else timestamps[kept],
        weights=None if weights is None else weights[kept],
    )
    return HistoryFile(
        queries=queries,
        query_ids=user_ids,
        n_events=len(table),
        n_unknown_items=len(table) - len(known),
        n_duplicates=len(known) - len(kept),
        without_history=np.flatnonzero(counts == 0),
    )


def _in_order(
    rows: npt.NDArray[np.intp],
    user_codes: npt.NDArray[Any],
    timestamps: npt.NDArray[np.int64] | None,
    others: Sequence[npt.NDArray[Any] | None],
) -> npt.NDArray[np.intp]:
    """Return rows by user; with times in the order of time, and of what else there is, each distinct row once."""
    if timestamps is None:
        return rows[np.argsort(user_codes[rows], kind="stable")]
    keys = [user_codes, timestamps, *(key for key in others if key is not None)]
    ordered = rows[np.lexsort([key[rows] for key in reversed(keys)])]
    return ordered[_distinct([key[ordered] for key in keys])]


def known_user_queries(
    users: Sequence[str],
    vocabulary: Vocabulary,
    log: Interactions,
    *,
    unknown_users: Literal["error", "skip"] = "error",
) -> Queries:
    """Ask for users of the log by raw id, each once in the order given, with all that `log` holds of them.

    Messages say how many ids are unknown, not which: a user id may be personal. The raw ids of the queries that
    come back are `vocabulary.ids(queries.users)`.

    Args:
        users: Raw ids, text exactly as in the log.
        vocabulary: The users of the log, by index.
        log: The log the model was trained on; its users have the indices of `vocabulary`.
        unknown_users: Whether ids that are not in the vocabulary are an error, or are left out.

    Raises:
        DataError: If an id is unknown and not to be left out, or no known one is left.
    """
    assert log.n_users == len(vocabulary), "the log and the vocabulary number different users"
    indices = vocabulary.indices(list(dict.fromkeys(users)))
    known = indices[indices != UNKNOWN]
    n_unknown = len(indices) - len(known)
    if n_unknown and unknown_users == "error":
        raise DataError(
            f"{n_unknown:,} of {len(indices):,} user ids are not in the log the model was trained on: "
            f"{_places(np.flatnonzero(indices == UNKNOWN))} of those given. Ids are text exactly as in the log "
            "(007 is not 7). Leave them out, or give their histories in a file"
        )
    if not len(known):
        raise DataError(f"there is nobody to recommend to: none of {len(indices):,} user ids is in the log")
    return Queries.at_end(log, known)


def _places(places: npt.NDArray[np.integer]) -> str:
    """Say which ones, counted from 1: a message should not quote an id that may be personal."""
    shown = ", ".join(f"number {place + 1}" for place in places[:5].tolist())
    return shown + (", ..." if len(places) > 5 else "")


def _read_table(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"there is no file {path}" + ("; it is a folder" if path.is_dir() else ""))
    if not path.stat().st_size:
        raise DataError(f"{path} is empty (0 bytes); the first row must name the columns {USER} and {ITEM}")
    try:
        if path.name.lower().endswith((".csv", ".csv.gz")):
            return _read_csv(path)
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path, columns=_columns_of(pq.read_schema(path).names, path))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    raise DataError(
        f"{path}: histories are read from .csv, .csv.gz and .parquet files, not {path.suffix or 'this'}"
    )


def _read_csv(path: Path) -> Any:
    broken: list[Any] = []

    def note(row: Any) -> str:
        broken.append(row)
        return "skip"

    # A single thread, for only then a broken row has a number. Arrow's own message would quote the row.
    reading = pyarrow.csv.ReadOptions(use_threads=False)
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note)
    with pyarrow.csv.open_csv(path, read_options=reading, parse_options=parsing) as opened:
        columns = _columns_of(opened.schema.names, path)
    broken.clear()
    # Never a null: an id may read NA, and what an empty field means is decided below.
    converting = pyarrow.csv.ConvertOptions(
        include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
    )
    table = pyarrow.csv.read_csv(path, read_options=reading, parse_options=parsing, convert_options=converting)
    if broken:
        row = broken[0]
        raise DataError(
            f"{path}, row {row.number - 1} {_ROW}: {row.actual_columns} fields under a header of "
            f"{row.expected_columns}; quote fields that hold a comma"
        )
    return table


def _columns_of(names: Sequence[str], path: Path) -> list[str]:
    """Return those of our columns that a file has."""
    for required in (USER, ITEM):
        if required not in names:
            raise DataError(
                f"{path} has no column {required!r}; its columns are {', '.join(map(repr, names))}. Histories "
                f"have {USER} and {ITEM}, and where known {BEHAVIOR} and {TIMESTAMP}: rename its columns"
            )
    for name in _COLUMNS:
        if list(names).count(name) > 1:
            raise DataError(f"{path} has two columns {name!r}; rename one")
    return [name for name in _COLUMNS if name in names]


def _ids(column: Any, name: str, path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_]]:
    """Return (n_rows,) codes and the distinct ids, as text, that they stand for, in order of first occurrence."""
    text = _text(column, name, path)
    missing = pc.fill_null(pc.equal(text, ""), True).to_numpy(zero_copy_only=False)
    if missing.any():
        raise DataError(f"{path}, row {int(missing.argmax()) + 1} {_ROW}: column {name!r} is empty")
    encoded = pc.dictionary_encode(text)
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, np.asarray(encoded.dictionary.to_numpy(zero_copy_only=False), dtype=object)


def _text(column: Any, name: str, path: Path) -> Any:
    """Return a column as one array of text: whole numbers in full, also where gaps made them floating-point."""
    kind = column.type
    try:
        if pa.types.is_floating(kind):
            column = column.cast(pa.int64())
        elif not (pa.types.is_integer(kind) or _is_text(kind)):
            raise DataError(f"{path}: column {name!r} is of type {kind}; store it as text or whole numbers")
        return column.cast(pa.large_string()).combine_chunks()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: column {name!r} holds numbers with a fraction; store it as text") from error


def _is_text(kind: Any) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def _behaviors(table: Any, names: Sequence[str], path: Path) -> npt.NDArray[np.int8]:
    """Return the (n_rows,) int8 code of each row's behaviour."""
    if BEHAVIOR not in table.column_names:
        return np.zeros(len(table), np.int8)
    codes, found = _ids(table[BEHAVIOR], BEHAVIOR, path)
    unknown = sorted(set(found) - set(names))
    if unknown:
        row = int(np.isin(codes, np.flatnonzero(~np.isin(found, names))).argmax())
        raise DataError(
            f"{path}, row {row + 1} {_ROW}: column {BEHAVIOR!r} holds {found[codes[row]]!r}. The model knows no "
            f"behavior {', '.join(map(repr, unknown[:10]))}; it knows {', '.join(names)}, by the names that "
            "data.behaviors gave them. Rename those of the file, or remove their rows"
        )
    return np.array([list(names).index(name) for name in found], np.int8)[codes]


def _timestamps(table: Any, path: Path) -> npt.NDArray[np.int64] | None:
    """Return (n_rows,) int64 microseconds since 1970, read as preparation does; None without such a column."""
    if TIMESTAMP not in table.column_names:
        return None
    column = table[TIMESTAMP]
    kind = column.type
    if _is_text(kind):
        column = column.cast(pa.string())
    elif not any(test(kind) for test in _TIME_TYPES):
        raise DataError(f"{path}: column {TIMESTAMP!r} is of type {kind}; store it as timestamps, numbers or text")
    with reading_errors(path):
        times = _microseconds(column)
    if times.null_count:
        row = int(np.argmax(times.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"{path}, row {row + 1} {_ROW}: column {TIMESTAMP!r} holds {column[row].as_py()!r}, which is no "
            "readable time; write Unix seconds or ISO 8601 (2017-11-25T12:00:00Z), or leave the column out"
        )
    return np.asarray(times.to_numpy(zero_copy_only=False), np.int64)


def _weights(table: Any, path: Path) -> npt.NDArray[np.float32] | None:
    """Return (n_rows,) float32, the number of each row; None without such a column."""
    if WEIGHT not in table.column_names:
        return None
    column = table[WEIGHT].combine_chunks()
    try:
        filled = pc.if_else(pc.equal(column, ""), "nan", column) if _is_text(column.type) else column
        numbers = filled.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path}: column {WEIGHT!r} holds what is no number: {error}") from error
    bad = ~(np.abs(numbers) <= np.finfo(np.float32).max)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{path}, row {row + 1} {_ROW}: column {WEIGHT!r} holds {column[row].as_py()!r}, which is no finite "
            "number; mend it, or leave the column out"
        )
    weights: npt.NDArray[np.float32] = numbers.astype(np.float32)
    return weights


def _microseconds(column: Any) -> Any:
    """Return an array of int64 microseconds since 1970, null where there is no readable time."""
    import ibis

    connection = ibis.duckdb.connect()
    try:
        raw = ibis.memtable(pa.table({"raw": column, "row": np.arange(len(column))}))
        plan = raw.select("row", time=microseconds(raw.raw, Time())).order_by("row")
        return connection.to_pyarrow(plan)["time"].combine_chunks()
    finally:
        connection.disconnect()


def _distinct(keys: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Return where a row of sorted keys differs from the row before it."""
    first = np.ones(len(keys[0]), np.bool_)
    if len(first) > 1:
        first[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return first
