"""Raw rows as typed events, and which of them are kept: the first half of the preparation plan."""

import csv
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recdl.data.prepared import REASONS
from recdl.data.readers import open_table, open_text
from recdl.data.sources import MAX_BEHAVIORS, CsvLog, FileLog
from recdl.data.timestamps import format_advice, iso_microseconds, microseconds
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis

_CODES = {reason: code for code, reason in enumerate(REASONS)}
_KEPT = len(_CODES)  # the code of a row that no reason drops


@dataclass(frozen=True)
class Audit:
    """What a log's rows are: how many fall out for which reason, and the behaviours of those that stay.

    Attributes:
        rows: Rows read.
        dropped: Rows by reason, in the order of `REASONS`.
        codes: The code of each raw behaviour that is kept.
        names: The behaviours kept, by code.
    """

    rows: int
    dropped: dict[str, int]
    codes: dict[str, int]
    names: tuple[str, ...]


def typed_events(table: "ibis.Table", log: FileLog, path: Path) -> "ibis.Table":
    """Return `user, item` (text, null where missing), `time` (int64 microseconds, null where unreadable).

    With a behaviour column there is `behavior` too, as text.

    Raises:
        DataError: If a column is of a type that cannot be an id.
    """
    import ibis

    typed = {
        "user": _id(table[log.columns.user], path),
        "item": _id(table[log.columns.item], path),
        "time": microseconds(table[log.columns.timestamp], log.time),
    }
    if log.columns.behavior is not None:
        typed["behavior"] = ibis.coalesce(_id(table[log.columns.behavior], path), "")
    return table.select(**typed)


def _id(column: Any, path: Path) -> Any:
    """Return ids as text: as written, integers in full, whole floats (integers with gaps) without '.0'."""
    import ibis

    kind = column.type()
    if kind.is_string():
        return column.nullif("")
    if kind.is_integer() or kind.is_decimal() or kind.is_uuid():
        return column.cast("string")
    if kind.is_floating():
        whole = (column == column.floor()) & column.between(-(2**63), 2**63 - 1025)
        return ibis.cases(
            (column.isnan(), ibis.null("string")),
            (whole, column.cast("int64").cast("string")),
            else_=column.cast("string"),
        )
    raise DataError(
        f"{path}: column {column.get_name()!r} is of type {kind}; ids and behaviours are text or numbers"
    )


def audit(events: "ibis.Table", connection: Any, log: FileLog, path: Path) -> Audit:
    """Count the rows by what becomes of them, in one scan, and settle the behaviours.

    Raises:
        DataError: If there are no rows, times that cannot be read, or behaviours that nobody named.
    """
    import ibis

    reason = _reason(events, log)
    behavior = ibis.ifelse(reason == _KEPT, _behavior(events, log), "")  # what is dropped may hold any behaviour
    groups = events.group_by(reason=reason, behavior=behavior).agg(n=events.count())
    rows = groups.limit(100 * MAX_BEHAVIORS).to_pyarrow().to_pylist()
    if not rows:
        raise DataError(f"{path} holds no rows")
    dropped: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for row in rows:
        if row["reason"] == _KEPT:
            found[row["behavior"]] += row["n"]
        else:
            dropped[list(REASONS)[row["reason"]]] += row["n"]
    if dropped["bad_timestamp"] and log.bad_timestamps == "error":
        raise _bad_timestamp(connection, log, path, dropped["bad_timestamp"])
    codes, names = _behavior_codes(log, path, found)
    dropped["behavior_not_kept"] = sum(n for raw, n in found.items() if raw not in codes)
    total = sum(row["n"] for row in rows)
    return Audit(total, {reason: dropped[reason] for reason in REASONS}, codes, names)


def kept_events(events: "ibis.Table", log: FileLog, found: Audit) -> "ibis.Table":
    """Return the rows that are kept: `user, item, behavior` (int8 code) and `time`."""
    import ibis

    codes = list(found.codes.items())
    raw = _behavior(events, log)
    behavior = ibis.cases(*((raw == value, code) for value, code in codes), else_=-1).cast("int8")
    kept = events.filter(_reason(events, log) == _KEPT).mutate(behavior=behavior)
    return kept.filter(kept.behavior >= 0)


def _behavior(events: Any, log: FileLog) -> Any:
    import ibis

    return events.behavior if log.columns.behavior is not None else ibis.literal(log.default_behavior)


def _reason(events: Any, log: FileLog) -> Any:
    import ibis

    outside = ibis.literal(False)
    if log.start is not None:
        outside = outside | (events.time < iso_microseconds(log.start, log.time))
    if log.end is not None:
        outside = outside | (events.time >= iso_microseconds(log.end, log.time))
    return ibis.cases(
        (events.user.isnull(), _CODES["missing_user"]),
        (events.item.isnull(), _CODES["missing_item"]),
        (events.time.isnull(), _CODES["bad_timestamp"]),
        (outside, _CODES["outside_period"]),
        else_=_KEPT,
    )


def _behavior_codes(log: FileLog, path: Path, found: "Counter[str]") -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the code of each raw value kept, and the names by code."""
    if log.behaviors is not None:
        meaning = {raw: name for name, values in log.behaviors.items() for raw in values}
        names = list(log.behaviors)
    else:
        meaning = {raw: raw for raw in found if raw}
        names = sorted(meaning)
    unnamed = [raw for raw in found if raw not in meaning]
    if unnamed:
        shown = ", ".join(f"{raw!r} ({found[raw]:,} rows)" for raw in sorted(unnamed)[:10])
        raise DataError(
            f"{path}: column {log.columns.behavior!r} holds behaviours that data.behaviors does not name: "
            f"{shown}. "
            "Add each to a behaviour's list; to leave some out, also name those to keep in data.filters.behaviors"
        )
    if len(names) > MAX_BEHAVIORS:
        raise DataError(
            f"{path}: column {log.columns.behavior!r} holds more than {MAX_BEHAVIORS} different values, such as "
            f"{names[0]!r}: is data.columns.behavior the right column?"
        )
    kept = log.filters.behaviors
    for name in kept or ():
        if name not in names:
            raise DataError(
                f"{path} has no behaviour {name!r} to keep (data.filters.behaviors); it has {', '.join(names)}"
            )
    names = [name for name in names if kept is None or name in kept]
    return {raw: names.index(name) for raw, name in meaning.items() if name in names}, tuple(names)


def _bad_timestamp(connection: Any, log: FileLog, path: Path, count: int) -> DataError:
    """Read the file again, in its order, for the first row whose time cannot be read."""
    import ibis

    table = open_table(connection, log, path)
    column = table[log.columns.timestamp]
    ids = {"user": _id(table[log.columns.user], path), "item": _id(table[log.columns.item], path)}
    rows = table.select(
        **ids, row=ibis.row_number(), text=column.cast("string"), time=microseconds(column, log.time)
    )
    bad = rows.filter(rows.time.isnull() & rows.user.notnull() & rows.item.notnull())
    first = bad.order_by("row").limit(1).to_pyarrow().to_pylist()[0]
    place = f"line {_line(log, path, first['row'])}" if isinstance(log, CsvLog) else f"row {first['row'] + 1}"
    text = "is empty" if first["text"] is None else f"holds {first['text']!r}, which is no readable time"
    others = f" ({count:,} such rows in all)" if count > 1 else ""
    return DataError(
        f"{path}, {place}: column {log.columns.timestamp!r} {text}{others}; {format_advice(log.time)}"
    )


def _line(log: CsvLog, path: Path, row: int) -> int:
    """Return the line, from 1, on which data row `row`, from 0, ends: quoted fields may span several lines."""
    with open_text(path) as opened:
        reader = csv.reader(opened, delimiter=log.delimiter)
        filled = (fields for fields in reader if fields)
        next(islice(filled, row + (log.header is True), None))
        return reader.line_num
