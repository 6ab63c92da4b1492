"""Encoded events put into the order of a log."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.sorting import Events, sort_events

event = st.tuples(st.integers(0, 3), st.integers(-2, 2), st.integers(0, 2), st.integers(0, 3))


def as_events(rows: list[tuple[int, int, int, int]]) -> Events:
    users, times, behaviors, items = np.array(rows, np.int64).reshape(-1, 4).T
    return Events(users.astype(np.int32), items.astype(np.int32), behaviors.astype(np.int8), times.copy())


@given(st.lists(event, max_size=40), st.integers(0, 40))
def test_events_are_distinct_and_sorted_by_user_time_behaviour_and_item(
    rows: list[tuple[int, int, int, int]], cut: int
) -> None:
    lengths = np.bincount([row[0] for row in rows], minlength=4).astype(np.int64)
    found = sort_events([as_events(rows[:cut]), as_events(rows[cut:])], lengths)
    users = np.repeat(np.arange(4), np.diff(found.offsets))
    columns = (users, found.timestamps, found.behaviors, found.items)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == sorted(set(rows))


def test_the_largest_item_and_behaviour_keep_their_values() -> None:
    largest = (2**31 - 1, 127)
    rows = [(0, 5, largest[1], largest[0]), (0, 5, 0, largest[0]), (0, 5, largest[1], 0)]
    found = sort_events([as_events(rows)], np.array([3]))
    assert found.items.tolist() == [largest[0], 0, largest[0]]
    assert found.behaviors.tolist() == [0, largest[1], largest[1]]
