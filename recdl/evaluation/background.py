"""What the log tells of the queries that runs were asked and of the items that they recommended."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recdl.data.interactions import Interactions
from recdl.data.queries import QuerySet
from recdl.data.vocabulary import Vocabulary
from recdl.errors import ConfigError

NAME_COLUMNS = ("name", "title", "item_name", "product_name", "description", "product", "label")
"""Columns of an item table that are taken for names of the items, in any case of letters; the first counts."""

_LONGEST_NAME = 60


@dataclass(frozen=True, eq=False)
class Background:
    """The test part of a split and what was known before it, beside which runs are looked at.

    Attributes:
        query_set: What the runs were asked, in the order of their per-query tables.
        item_events: (n_items,) int64, events of each item in what the models could learn from.
        user_events: (n_users,) int64, the same of each user.
        behavior_names: By code, as in the histories.
        items: Raw item ids by index.
        item_names: What items are called, by index, null where nothing is known; None: by their ids alone.
    """

    query_set: QuerySet
    item_events: npt.NDArray[np.int64]
    user_events: npt.NDArray[np.int64]
    behavior_names: tuple[str, ...]
    items: Vocabulary
    item_names: pa.ChunkedArray | None = None

    def __post_init__(self) -> None:
        assert len(self.item_events) == len(self.items), "a number of events for each item"

    def names(self, indices: npt.NDArray[np.integer]) -> list[str]:
        """Return what to call the items at `indices`: "Mug, blue (22423)", or the id alone."""
        return _labels(self.items, self.item_names, indices)


def background(
    query_set: QuerySet, learned_from: Interactions, items: Vocabulary, *, name_column: str | None = None
) -> Background:
    """Gather what is known of a test part.

    Args:
        query_set: What runs were asked.
        learned_from: What their models could learn from.
        items: Raw item ids by index.
        name_column: Column of the item table that names items; None: the first of `NAME_COLUMNS` that it has.

    Raises:
        ConfigError: If the item table has no such column.
    """
    return Background(
        query_set=query_set,
        item_events=np.bincount(learned_from.items, minlength=learned_from.n_items),
        user_events=np.diff(learned_from.offsets),
        behavior_names=learned_from.behavior_names,
        items=items,
        item_names=item_names(learned_from.item_table, name_column),
    )


def item_names(table: pa.Table | None, column: str | None) -> pa.ChunkedArray | None:
    """Return the column of an item table that names the items, None if it has none.

    Raises:
        ConfigError: If `column` is given, and is none of the table's.
    """
    known = [] if table is None else table.column_names
    if column is not None and column not in known:
        raise ConfigError(
            f"item_name={column}: the log's table of items has no such column, only {', '.join(known) or 'none'}"
        )
    by_letters = {name.lower(): name for name in reversed(known)}
    found = column or next((by_letters[name] for name in NAME_COLUMNS if name in by_letters), None)
    return None if table is None or found is None else table[found]


def item_labels(items: Vocabulary, table: pa.Table | None, indices: npt.NDArray[np.integer]) -> list[str]:
    """Return what to call the items at `indices`, by the names of their table if it has any, and their ids."""
    return _labels(items, item_names(table, None), indices)


def _labels(items: Vocabulary, item_names: pa.ChunkedArray | None, indices: npt.NDArray[np.integer]) -> list[str]:
    ids = [str(one) for one in items.ids(indices)]
    if item_names is None:
        return ids
    names = item_names.take(pa.array(indices)).to_pylist()
    return [
        one if name is None or not str(name).strip() else f"{_short(str(name).strip())} ({one})"
        for name, one in zip(names, ids, strict=True)
    ]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1].rstrip()}…"
