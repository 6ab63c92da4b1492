"""Logs without times: published files in which only the order of a user's events is known."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recdl.data.checks import check_behaviors_kept, check_name
from recdl.data.given_tables import Header, TextForm, find_file, read_columns
from recdl.data.inputs import AttributeTable
from recdl.data.sources import Columns, Filters, ParquetLog, Time
from recdl.errors import ConfigError, DataError

Form = Literal["pairs", "lists", "lines"]


@dataclass(frozen=True)
class OrderedColumns:
    """What the file calls its columns: the user (or session), and the item (or the list of items)."""

    user: str = "user_id"
    item: str = "item_id"


@dataclass(frozen=True, kw_only=True)
class OrderedLog:
    r"""A log that gives each user's events in their order, and no times.

    The place of an event in the file stands for its time: the n-th row is at n seconds after 1970 began. So
    histories have their order, and no event is taken for a duplicate, while splits by time and sessions by idle
    time are refused.

    Args:
        name: What the log is called in folders and reports.
        path: The file: absolute, or relative to the working folder, else to `data_root`.
        data_root: The folder in which data sets are looked for.
        form: `pairs`: a row an event, in text or Parquet, a user's rows in the order of its events; `lists`:
            Parquet with a row a user and a list of its items; `lines`: text, a line a user: its id, then its
            items.
        separator: Between the fields of a text file of `pairs`: one character, or `\t`.
        header: True when the first row of such a file names its columns, else the names of all of them.
        columns: What a file of `pairs` or `lists` calls its columns.
        default_behavior: The behaviour of all events.
        filters: Which events to keep.
        item_table: What is known of the items, in files.
    """

    name: str
    path: str
    data_root: str = "data"
    form: Form = "pairs"
    separator: str = "\t"
    header: Header = True
    columns: OrderedColumns = field(default_factory=OrderedColumns)
    default_behavior: str = "interaction"
    filters: Filters = field(default_factory=Filters)
    item_table: AttributeTable | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.path:
            raise ConfigError("data.path: state the file that holds the log")
        if self.form not in get_args(Form):
            raise ConfigError(f"data.form: {self.form!r} is none of {', '.join(get_args(Form))}")
        if not self.default_behavior:
            raise ConfigError("data.default_behavior: a log without a behaviour column needs one")
        self.text_form.check("data")
        if self.item_table is not None:
            self.item_table.check("data.item_table")
            if self.item_table.table is not None:
                raise ConfigError("data.item_table.table: an ordered log reads files; give data.item_table.path")
        check_behaviors_kept(self.filters.behaviors, (self.default_behavior,))

    @property
    def text_form(self) -> TextForm:
        """How a text file of `pairs` is written."""
        return TextForm(self.separator, self.header)


@dataclass(frozen=True, kw_only=True)
class PlacedLog(ParquetLog):
    """An ordered log, written out with places for times.

    Args:
        described: What to call it in messages.
    """

    described: str
    timed: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """What to call the log in messages."""
        return self.described


def write_places(log: OrderedLog, folder: Path) -> PlacedLog:
    """Write the events of an ordered log with their places as times into `folder`, and return that log.

    Raises:
        DataError: If the file is not there, cannot be read, or lacks a column.
    """
    path = find_file(log.path, log.data_root, key="data.path")
    users, items = {"pairs": _pairs, "lists": _lists, "lines": _lines}[log.form](log, path)
    placed = folder / "placed.parquet"
    places = pa.array(np.arange(len(users), dtype=np.int64))
    pq.write_table(pa.table({"user_id": users, "item_id": items, "timestamp": places}), placed)
    return PlacedLog(
        name=log.name,
        path=str(placed),
        data_root=log.data_root,
        item_table=log.item_table,
        columns=Columns(),
        default_behavior=log.default_behavior,
        time=Time(format="s"),
        filters=log.filters,
        described=str(path),
    )


def _pairs(log: OrderedLog, path: Path) -> tuple[pa.Array, pa.Array]:
    names = [log.columns.user, log.columns.item]
    table = read_columns(path, names, log.text_form, key="data")
    return table[names[0]], table[names[1]]


def _lists(log: OrderedLog, path: Path) -> tuple[pa.Array, pa.Array]:
    names = [log.columns.user, log.columns.item]
    table = read_columns(path, names, log.text_form, key="data")
    lists = table[names[1]].combine_chunks()
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise DataError(
            f"{path}: column {names[1]!r} is of type {lists.type}; data.form=lists needs lists of items"
        )
    return table[names[0]].combine_chunks().take(pc.list_parent_indices(lists)), pc.list_flatten(lists)


def _lines(_: OrderedLog, path: Path) -> tuple[pa.Array, pa.Array]:
    users, items = list[str](), list[str]()
    try:
        with path.open(encoding="utf-8-sig") as opened:
            for number, line in enumerate(opened, start=1):
                if not line.strip():
                    continue
                user, *own = line.split()
                if not own:
                    raise DataError(f"{path}, line {number}: user {user!r} has no items; remove the line")
                users += [user] * len(own)
                items += own
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as lines of text: {error}") from error
    if not users:
        raise DataError(f"{path} holds no rows")
    return pa.array(users, pa.string()), pa.array(items, pa.string())
