"""Raw rows as typed events, and which of them are kept: the first half of the preparation plan."""

import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recdl.data.engine import reading_errors
from recdl.data.inputs import Dialect
from recdl.data.prepared import REASONS
from recdl.data.readers import Layout, Opened, open_files, read, row_place, title
from recdl.data.reading import input_files
from recdl.data.sources import MAX_BEHAVIORS, CsvLog, FileLog, JsonLog
from recdl.data.timestamps import (
    format_advice,
    holds_nothing,
    iso_microseconds,
    microseconds,
    no_number,
)
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis

_CODES = {reason: code for code, reason in enumerate(REASONS)}
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
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


@dataclass(frozen=True)
class OpenedLog:
    """The files of a log, looked at and ready to be read.

    Attributes:
        label: What to call them in messages.
        parts: Files that are read alike, each with the behaviour of all its rows, None where a column, or
            nothing, says it.
    """

    label: str
    parts: tuple[tuple[str | None, Opened], ...]

    def errors(self) -> AbstractContextManager[None]:
        """Turn what the engine says of these files into DataError."""
        copies: dict[str, str] = {}
        for _, part in self.parts:
            copies |= part.copies
        return reading_errors(self.label, copies)


def open_log(log: FileLog, scratch: Path) -> OpenedLog:
    """Find the files of a log and look at their columns.

    Args:
        log: The log.
        scratch: A folder for copies of what must be unpacked or rewritten first.

    Raises:
        DataError: If a file is missing, empty or cut off, or lacks a column that the log names.
    """
    parts: list[tuple[str | None, Opened]] = []
    files = input_files(log)
    for number, (behavior, of_behavior) in enumerate(files.items()):
        opened = open_files(of_behavior, _layout(log, behavior), scratch / f"part{number}", label=log.label)
        parts += [(behavior, alike) for alike in opened]
    return OpenedLog(title(tuple(log.label or str(file) for of in files.values() for file in of)), tuple(parts))


def _layout(log: FileLog, behavior: str | None) -> Layout:
    if isinstance(log, CsvLog):
        return Layout("csv", log.wanted, log.dialect(behavior), cut_rows=log.bad_timestamps == "drop")
    return Layout("jsonl" if isinstance(log, JsonLog) else "parquet", log.wanted, Dialect())


def read_events(connection: Any, log: FileLog, opened: OpenedLog) -> "ibis.Table":
    """Return `user, item` (text, null where missing), `time` (int64 microseconds, null where unreadable).

    With named behaviours there is `behavior` too, as text, with a column of weights `weight` (float32, null where
    it is no finite number), with one of sessions `session` (text, null where missing), and with rows to exclude
    `excluded`, true or false.

    Raises:
        DataError: If a column is of a type that cannot be an id, or holds numbers that are no exact ids.
    """
    tables = [_typed(read(connection, part), log, part, behavior) for behavior, part in opened.parts]
    return reduce(lambda one, other: one.union(other), tables)


def _typed(table: "ibis.Table", log: FileLog, part: Opened, behavior: str | None, **further: Any) -> "ibis.Table":
    import ibis

    place = {key: f"{title(part.shown)}: column {name!r}" for key, name in log.wanted.items()}
    typed = {key: id_text(table[key], place[key]) for key in ("user", "item")} | further
    typed["time"] = _time(table, log, part)
    if behavior is not None:
        typed["behavior"] = ibis.literal(behavior)
    elif log.columns.behavior is not None:
        typed["behavior"] = ibis.coalesce(id_text(table["behavior"], place["behavior"]), "")
    if log.columns.weight is not None:
        typed["weight"] = _weight(table["weight"], place["weight"], comma=part.layout.dialect.decimal == ",")
    if log.columns.session is not None:
        typed["session"] = id_text(table["session"], place["session"])
    if log.exclude:
        matches = [  # what is missing is empty text: '^$' leaves it out
            table[f"exclude_{position}"].cast("string").fill_null("").re_search(pattern)
            for position, pattern in enumerate(log.exclude.values())
        ]
        typed["excluded"] = reduce(lambda one, other: one | other, matches)
    return table.select(**typed)


def _time(table: Any, log: FileLog, part: Opened) -> Any:
    column = table["timestamp"].name(log.columns.timestamp)
    if part.layout.dialect.decimal == "," and column.type().is_string():
        column = column.replace(",", ".")
    try:
        return microseconds(column, log.time)
    except DataError as error:
        raise DataError(f"{title(part.shown)}: {error}") from error


def _weight(column: Any, place: str, *, comma: bool) -> Any:
    """Return numbers as float32, null where there is none that is finite.

    Raises:
        DataError: If the column is of a type that holds no numbers.
    """
    import ibis

    kind = column.type()
    if holds_nothing(kind):
        return ibis.null("float32")
    if kind.is_string():
        text = (column.replace(",", ".") if comma else column).strip()
        column = text.re_search(_NUMBER).ifelse(text, ibis.null("string")).try_cast("float64")
    elif kind.is_floating():
        column = no_number(column).ifelse(ibis.null("float64"), column.cast("float64"))
    elif not (kind.is_integer() or kind.is_decimal()):
        raise DataError(f"{place} is of type {kind}; weights are numbers")
    number = column.cast("float64")
    largest = float(np.finfo(np.float32).max)
    number = ibis.cases((number == 0, 0.0), (number.between(-largest, largest), number))  # -0.0 is no other number
    return number.cast("float32")


def id_text(column: Any, place: str) -> Any:
    """Return ids as text: as written, integers in full, whole floats (integers with gaps) without '.0'.

    Text that is empty or blank is a missing id.

    Args:
        column: Text or numbers.
        place: Where the column stands, for messages.

    Raises:
        DataError: If the column is of a type that cannot be an id, or holds numbers that are no exact ids.
    """
    import ibis

    kind = column.type()
    if holds_nothing(kind):
        return ibis.null("string")
    if kind.is_string():
        blank = (column < "!") & (column.strip() == "")  # all blanks are below it: few rows are worth stripping
        return ibis.ifelse(blank, ibis.null("string"), column)  # blanks name nobody
    if kind.is_integer() or kind.is_decimal() or kind.is_uuid():
        return column.cast("string")
    if kind.is_floating():
        _check_exact(column, place)
        whole = column.try_cast("int64")  # null for what is no number; `floor` would cast that too, and fail
        return ibis.cases(
            (no_number(column), ibis.null("string")),
            (whole == column, whole.cast("string")),
            else_=column.cast("string"),
        )
    raise DataError(f"{place} is of type {kind}; ids and behaviours are text or numbers")


def _check_exact(column: Any, place: str) -> None:
    """Refuse ids that became floating-point numbers (integers with gaps do) and lost digits thereby."""
    largest = 2**24 if column.type().is_float32() else 2**53
    large = (column.abs() >= largest) & ~no_number(column)
    found = column.abs().max(where=large).to_pyarrow().as_py()
    if found is not None:
        raise DataError(
            f"{place} holds {found:.17g} as a floating-point number, which is not exact from {largest:,} on: that "
            "id may be another's; store ids as text or as whole numbers"
        )


def audit(
    events: "ibis.Table",
    log: FileLog,
    opened: OpenedLog,
    *,
    fetch: Callable[["ibis.Table"], pa.Table],
    reader: Callable[[], AbstractContextManager[Any]],
) -> Audit:
    """Count the rows by what becomes of them, in one scan, and settle the behaviours.

    Args:
        events: The rows.
        log: The log.
        opened: Its files.
        fetch: Returns a small table of the engine that holds the rows.
        reader: Gives an embedded connection that can read the files again.

    Raises:
        DataError: If there are no rows, times that cannot be read, or behaviours that nobody named.
    """
    import ibis

    reason = _reason(events, log)
    behavior = ibis.ifelse(reason == _KEPT, _behavior(events, log), "")  # what is dropped may hold any behaviour
    groups = events.group_by(reason=reason, behavior=behavior).agg(n=events.count())
    rows = fetch(groups.limit(100 * MAX_BEHAVIORS)).to_pylist()
    if not rows:
        raise DataError(f"{opened.label} holds no rows")
    dropped: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for row in rows:
        if row["reason"] == _KEPT:
            found[row["behavior"]] += row["n"]
        else:
            dropped[list(REASONS)[row["reason"]]] += row["n"]
    if dropped["bad_timestamp"] and log.bad_timestamps == "error":
        with reader() as connection:
            raise _bad_timestamp(connection, log, opened, dropped["bad_timestamp"])
    if dropped["bad_weight"] and log.bad_weights == "error":
        with reader() as connection:
            raise _bad_weight(connection, log, opened, dropped["bad_weight"])
    codes, names = behavior_codes(log, opened.label, found)
    dropped["behavior_not_kept"] = sum(n for raw, n in found.items() if raw not in codes)
    total = sum(row["n"] for row in rows)
    return Audit(total, {reason: dropped[reason] for reason in REASONS}, codes, names)


def kept_events(events: "ibis.Table", log: FileLog, found: Audit) -> "ibis.Table":
    """Return the rows that are kept: `user, item, behavior` (int8 code), `time`, what else is read of them."""
    import ibis

    codes = list(found.codes.items())
    raw = _behavior(events, log)
    behavior = ibis.cases(*((raw == value, code) for value, code in codes), else_=-1).cast("int8")
    if not any(found.dropped.values()):  # what was counted need not be asked of each row again
        return events.mutate(behavior=behavior)
    kept = events.filter(_reason(events, log) == _KEPT).mutate(behavior=behavior)
    return kept.filter(kept.behavior >= 0)


def session_numbers(events: "ibis.Table") -> Any:
    """Return the number of each event's session among those of its user (int32), -1 where it is missing.

    Numbers go by the ids of the sessions, byte by byte: what other users do changes none.

    Args:
        events: `user`, and `session` as text.
    """
    import ibis

    session = events.session
    # A missing id gets the last number, which no session has then, whatever the engine makes of nulls.
    number = ibis.dense_rank().over(group_by=events.user, order_by=[session.isnull(), session])
    return session.isnull().ifelse(-1, number).cast("int32")


def _behavior(events: Any, log: FileLog) -> Any:
    import ibis

    return events.behavior if "behavior" in events.columns else ibis.literal(log.default_behavior)


def _reason(events: Any, log: FileLog) -> Any:
    import ibis

    outside = ibis.literal(False)
    if log.start is not None:
        outside = outside | (events.time < iso_microseconds(log.start, log.time))
    if log.end is not None:
        outside = outside | (events.time >= iso_microseconds(log.end, log.time))
    excluded = events.excluded if log.exclude else ibis.literal(False)
    weightless = events.weight.isnull() if log.columns.weight is not None else ibis.literal(False)
    return ibis.cases(
        (events.user.isnull(), _CODES["missing_user"]),
        (events.item.isnull(), _CODES["missing_item"]),
        (excluded, _CODES["excluded"]),
        (events.time.isnull(), _CODES["bad_timestamp"]),
        (weightless, _CODES["bad_weight"]),
        (outside, _CODES["outside_period"]),
        else_=_KEPT,
    )


def behavior_codes(log: FileLog, label: str, found: "Counter[str]") -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the code of each raw value kept, and the names by code."""
    if log.behaviors is not None:
        meaning = {raw: name for name, values in log.behaviors.items() for raw in values}
        names = list(log.behaviors)
    elif log.named_behaviors is not None:
        meaning = {name: name for name in log.named_behaviors}
        names = list(meaning)
    else:
        meaning = {raw: raw for raw in found if raw}
        names = sorted(meaning)
    unnamed = [raw for raw in found if raw not in meaning]
    if unnamed:
        shown = ", ".join(f"{raw!r} ({found[raw]:,} rows)" for raw in sorted(unnamed)[:10])
        raise DataError(
            f"{label}: column {log.columns.behavior!r} holds behaviours that data.behaviors does not name: "
            f"{shown}. "
            "Add each to a behaviour's list; to leave such rows out, name them in data.exclude "
            f"('data.exclude={{{log.columns.behavior}: \"^{re.escape(sorted(unnamed)[0])}$\"}}')"
        )
    if len(names) > MAX_BEHAVIORS:
        raise DataError(
            f"{label}: column {log.columns.behavior!r} holds more than {MAX_BEHAVIORS} different values, such as "
            f"{names[0]!r}: is data.columns.behavior the right column?"
        )
    kept = log.filters.behaviors
    for name in kept or ():
        if name not in names:
            raise DataError(
                f"{label} has no behaviour {name!r} to keep (data.filters.behaviors); it has {', '.join(names)}"
            )
    names = [name for name in names if kept is None or name in kept]
    return {raw: names.index(name) for raw, name in meaning.items() if name in names}, tuple(names)


def _bad_timestamp(connection: Any, log: FileLog, opened: OpenedLog, count: int) -> DataError:
    place, text = _first_with(connection, log, opened, "bad_timestamp", "timestamp")
    holds = "is empty" if text is None else f"holds {text!r}, which is no readable time"
    others = f" ({count:,} such rows in all)" if count > 1 else ""
    return DataError(f"{place}: column {log.columns.timestamp!r} {holds}{others}; {format_advice(log.time)}")


def _bad_weight(connection: Any, log: FileLog, opened: OpenedLog, count: int) -> DataError:
    place, text = _first_with(connection, log, opened, "bad_weight", "weight")
    holds = "is empty" if text is None else f"holds {text!r}, which is no finite number"
    others = f" ({count:,} such rows in all)" if count > 1 else ""
    return DataError(
        f"{place}: column {log.columns.weight!r} {holds}{others}; mend it, or drop such rows with "
        "data.bad_weights=drop"
    )


def _first_with(
    connection: Any, log: FileLog, opened: OpenedLog, reason: str, column: str
) -> tuple[str, str | None]:
    """Read the files again, each in its order; say where the first row dropped for `reason` is, and its text."""
    import ibis

    for behavior, file in ((behavior, file) for behavior, part in opened.parts for file in part.one_by_one()):
        table = read(connection, file)
        further = {"row": ibis.row_number(), "text": table[column].cast("string")}
        rows = _typed(table, log, file, behavior, **further)
        bad = rows.filter(_reason(rows, log) == _CODES[reason])
        first = bad.order_by("row").limit(1).to_pyarrow().to_pylist()
        if first:
            return f"{file.shown[0]}, {row_place(file, first[0]['row'])}", first[0]["text"]
    raise AssertionError("one of the files holds such a row")
