"""Further events put in their places: what sorting all of them gives."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data import merging
from recdl.data.interactions import Interactions
from recdl.data.merging import Placed, write_merged
from tests.logs import log_of_events

N_OLD_USERS, N_USERS, N_OLD_ITEMS, N_ITEMS = 3, 5, 3, 6
Row = tuple[int, int, int, int]  # user, time, behavior, item


def as_rows(log: Interactions) -> list[tuple[int, ...]]:
    columns = [log.users, log.timestamps, log.behaviors, log.items]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def part(rows: list[Row]) -> dict[str, Any]:
    table = np.array(rows, np.int64).reshape(-1, 4)
    kinds = {"users": np.int32, "timestamps": np.int64, "behaviors": np.int8, "items": np.int32}
    return {name: table[:, place].astype(kind) for place, (name, kind) in enumerate(kinds.items())}


def rows(n_users: int, n_items: int, min_size: int) -> st.SearchStrategy[set[Row]]:
    row = st.tuples(st.integers(0, n_users - 1), st.integers(0, 5), st.integers(0, 1), st.integers(0, n_items - 1))
    return st.sets(row, min_size=min_size, max_size=30)


@settings(max_examples=60)
@given(
    rows(N_OLD_USERS, N_OLD_ITEMS, 0),
    rows(N_USERS, N_ITEMS, 0),
    st.permutations(range(N_ITEMS)),
    st.integers(1, 9),
)
def test_events_lie_where_sorting_all_would_put_them(
    old: set[Row], new: set[Row], order: list[int], block: int
) -> None:
    old |= {(user, 2, 0, 0) for user in range(N_OLD_USERS)}  # every user of a prepared log has an event
    ranks = np.array(order, np.int32)
    of_old = np.argsort(ranks[:N_OLD_ITEMS])
    ranks[of_old] = np.sort(ranks[:N_OLD_ITEMS])
    ranks[:N_OLD_ITEMS] = np.sort(ranks[:N_OLD_ITEMS])  # old items are numbered by their ids

    def place(row: Row) -> tuple[int, ...]:
        return (*row[:3], int(ranks[row[3]]))

    log = log_of_events(old, n_users=N_OLD_USERS, n_items=N_OLD_ITEMS)
    ordered = sorted(new, key=place)
    parts = [part(ordered[start : start + block]) for start in range(0, len(ordered), block)]
    lasts = {user: max(row[1] for row in old if row[0] == user) for user in range(N_OLD_USERS)}
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_BLOCK", block)
        placed = Placed.among(log, parts, ranks, Path(name))
        merged = write_merged(
            log,
            placed,
            Path(name),
            n_users=N_USERS,
            n_items=N_ITEMS,
            behaviors=dict.fromkeys(log.behavior_names, 1.0),
        )
        assert as_rows(merged) == sorted(old | new, key=place)
        assert merged.n_users == N_USERS and merged.n_items == N_ITEMS
        assert placed.n_events == len(new - old)
        assert placed.late.sum() == sum(row[1] < lasts.get(row[0], -1) for row in new - old)
