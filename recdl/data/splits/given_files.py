"""Files of held-out parts, read against the vocabulary of a log; wrong rows are told by file and row."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recdl.data.given_tables import TextForm, id_texts, read_columns
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet
from recdl.data.splits.parts import Vocabularies
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import DataError

Kind = Literal["pairs", "sessions", "queries"]
UnknownRule = Literal["error", "miss"]
_NO_ITEM = (
    "is no item of the log: train has no event of it; split.unknown_items=miss counts such targets as misses and"
    " leaves such items out of histories"
)


@dataclass(frozen=True)
class GivenColumns:
    """What files of a given split call their columns.

    Attributes:
        user: Of `pairs` and `sessions`.
        item: Of `pairs` and `sessions`.
        timestamp: Of `sessions`, in seconds since 1970 or a timestamp; None takes the rows in their order.
        history: Of `queries`.
        target: Of `queries`.
    """

    user: str = "user_id"
    item: str = "item_id"
    timestamp: str | None = None
    history: str = "history"
    target: str = "target"


@dataclass(frozen=True)
class Form:
    """How a file is to be read: the settings of `GivenSplit` of the same names."""

    kind: Kind
    text: TextForm
    columns: GivenColumns
    unknown_items: UnknownRule


@dataclass(frozen=True, eq=False)
class Given:
    """What a file asks.

    Attributes:
        query_set: The queries; those of sessions and of bare histories are of users that no model knows (-1).
        first_asked: The earliest moment of a target, microseconds; None where the file states none.
        unknown_targets: Targets that the log does not hold.
        unknown_past: Events of histories with an item that the log does not hold; left out.
        repeated: Rows that ask the same again, and are counted once.
    """

    query_set: QuerySet
    first_asked: int | None
    unknown_targets: int
    unknown_past: int
    repeated: int = 0


@dataclass(frozen=True, eq=False)
class _File:
    """A file as it is read, with the names of its ids for messages."""

    path: Path
    table: pa.Table
    form: Form

    def ids(self, name: str) -> npt.NDArray[np.object_]:
        return id_texts(self.table[name], name, self.path)

    def items(
        self, ids: npt.NDArray[np.object_], vocabularies: Vocabularies, rows: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.int32]:
        """Return the indices of item ids; `rows` are the rows they stand in, where that is not one each."""
        indices = vocabularies.items.indices(ids)
        if self.form.unknown_items == "error":
            self.refuse(indices == UNKNOWN, "item", ids, _NO_ITEM, rows)
        return indices

    def refuse(
        self,
        wrong: npt.NDArray[np.bool_],
        what: str,
        ids: npt.NDArray[np.object_],
        message: str,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Raise DataError for the first row, counted from 1 without a header, that is wrong."""
        found = np.flatnonzero(wrong)
        if not len(found):
            return
        row = int(found[0] if rows is None else rows[found[0]]) + 1
        others = f" ({len(found):,} such in all)" if len(found) > 1 else ""
        raise DataError(f"{self.path}, row {row}: {what} {str(ids[found[0]])!r} {message}{others}")


def read_given(path: Path, log: Interactions, vocabularies: Vocabularies, form: Form) -> Given:
    """Read the file of a held-out part.

    Raises:
        DataError: If it cannot be read, lacks a column, or holds what the log does not; with the row.
    """
    columns = form.columns
    timed = [columns.timestamp] if columns.timestamp is not None else []
    wanted = {
        "pairs": [columns.user, columns.item],
        "sessions": [columns.user, columns.item, *timed],
        "queries": [columns.history, columns.target],
    }[form.kind]
    file = _File(path, read_columns(path, wanted, form.text, key="split"), form)
    read = {"pairs": _read_pairs, "sessions": _read_sessions, "queries": _read_queries}[form.kind]
    return read(file, log, vocabularies)


def _read_pairs(file: _File, log: Interactions, vocabularies: Vocabularies) -> Given:
    """Ask once a user, with all of the log as history, for the items of its rows."""
    ids = file.ids(file.form.columns.user)
    users = vocabularies.users.indices(ids)
    file.refuse(users == UNKNOWN, "user", ids, "is no user of the log: train has no event of it; remove the row")
    targets = file.ids(file.form.columns.item)
    items = file.items(targets, vocabularies)
    order = np.lexsort((targets, items, users))  # unknown items of a user by their ids, to tell equal ones
    users, items, targets = users[order], items[order], targets[order]
    again = np.zeros(len(users), np.bool_)
    again[1:] = (users[1:] == users[:-1]) & (targets[1:] == targets[:-1])
    users, items = users[~again], items[~again]
    asked, firsts = np.unique(users, return_index=True)
    queries = Queries.at_end(log, asked.astype(np.int32))
    query_set = QuerySet(queries, np.append(firsts, len(items)).astype(np.int64), items)
    return Given(query_set, None, int((items == UNKNOWN).sum()), 0, int(again.sum()))


def _read_sessions(file: _File, log: Interactions, vocabularies: Vocabularies) -> Given:
    """Ask before each event but the first of each session, with those before it in the file's order of time."""
    columns = file.form.columns
    ids = file.ids(columns.user)
    in_log = vocabularies.users.indices(ids) != UNKNOWN
    message = "is a user (or session) of the log too: train holds events of it; if it may, use split.kind=pairs"
    file.refuse(in_log, "user", ids, message)
    items = file.items(file.ids(columns.item), vocabularies)
    _, sessions = np.unique(ids, return_inverse=True)
    times = np.arange(len(ids), dtype=np.int64)
    if columns.timestamp is not None:
        times = _microseconds(file, columns.timestamp)
    order = np.lexsort((times, sessions))  # rows of one moment stay as they come
    sessions, items, times = sessions[order].astype(np.int64), items[order], times[order]
    firsts = np.searchsorted(sessions, sessions)
    asked = np.flatnonzero(np.arange(len(items)) > firsts)
    if not len(asked):
        raise DataError(
            f"{file.path}: no session has two events, so that there is nothing to ask; is it the right file?"
        )
    known = items != UNKNOWN
    kept = np.zeros(len(items) + 1, np.int64)  # how many known items precede each place
    np.cumsum(known, out=kept[1:])
    nobody = np.full(len(asked), UNKNOWN, np.int32)
    behaviors = np.zeros(kept[-1], np.int8)
    queries = Queries(nobody, kept[firsts[asked]], kept[asked], items[known], behaviors, times[known])
    # Numbered beyond the users of the log, so that no session is taken for one of theirs.
    clusters = (log.n_users + sessions[asked]).astype(np.int32)
    targets = items[asked]
    offsets = np.arange(len(asked) + 1, dtype=np.int64)
    first = int(times[asked].min()) if columns.timestamp is not None else None
    query_set = QuerySet(queries, offsets, targets, clusters)
    return Given(query_set, first, int((targets == UNKNOWN).sum()), int((~known).sum()))


def _read_queries(file: _File, _: Interactions, vocabularies: Vocabularies) -> Given:
    """Ask once a row, with its history."""
    columns = file.form.columns
    targets = file.items(file.ids(columns.target), vocabularies)
    lists = file.table[columns.history].combine_chunks()
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise DataError(
            f"{file.path}: column {columns.history!r} is of type {lists.type}; it must hold lists of items"
        )
    if lists.null_count:
        row = int(np.flatnonzero(lists.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise DataError(
            f"{file.path}, row {row}: column {columns.history!r} is empty; an empty list is no history"
        )
    lengths = pc.list_value_length(lists).to_numpy().astype(np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    flat = pc.list_flatten(lists)
    if flat.null_count:
        row = int(rows[flat.is_null().to_numpy(zero_copy_only=False)][0]) + 1
        raise DataError(f"{file.path}, row {row}: column {columns.history!r} holds an empty item")
    items = file.items(id_texts(flat, columns.history, file.path), vocabularies, rows)
    known = items != UNKNOWN
    kept = np.zeros(len(items) + 1, np.int64)
    np.cumsum(known, out=kept[1:])
    offsets = kept[np.append(0, np.cumsum(lengths))]
    items = items[known]
    nobody = np.full(len(lengths), UNKNOWN, np.int32)
    places = np.arange(len(items), dtype=np.int64)
    queries = Queries(nobody, offsets[:-1], offsets[1:], items, np.zeros(len(items), np.int8), places)
    query_set = QuerySet(queries, np.arange(len(lengths) + 1, dtype=np.int64), targets)
    return Given(query_set, None, int((targets == UNKNOWN).sum()), int((~known).sum()))


def _microseconds(file: _File, name: str) -> npt.NDArray[np.int64]:
    column: Any = file.table[name].combine_chunks()
    if pa.types.is_timestamp(column.type):
        values = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
    else:
        values = column
        if pa.types.is_string(column.type):
            texts = np.asarray(column.fill_null("").to_numpy(zero_copy_only=False), dtype=object)
            is_number = pc.match_substring_regex(column.fill_null(""), r"^-?\d+(\.\d*)?$").to_numpy(
                zero_copy_only=False
            )
            file.refuse(~is_number, name, texts, "is no number of seconds since 1970")
            values = pc.cast(column, pa.float64())
        elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise DataError(
                f"{file.path}: column {name!r} is of type {column.type}; times are numbers or timestamps"
            )
    numbers = values.to_numpy(zero_copy_only=False)
    wrong = ~np.isfinite(numbers.astype(np.float64))
    file.refuse(wrong, name, np.asarray(numbers, dtype=object), "is no moment")
    if pa.types.is_timestamp(column.type):
        return np.asarray(numbers, np.int64)
    # A double holds seconds of our time to a tenth of a microsecond.
    return np.asarray(np.round(numbers.astype(np.float64) * 1_000_000), np.int64)
