"""What passes the filters, against a twin that counts anew each time."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data import core
from recdl.data.core import left_without
from recdl.data.sources import Filters
from tests.logs import log_of_items

HISTORIES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=8)
LIMIT = st.integers(1, 3)


@given(HISTORIES, st.integers(0, 255), LIMIT, LIMIT, LIMIT, st.integers(1, 9))
def test_what_is_left_and_why_the_rest_fell_equal_a_brute_force_twin(
    histories: list[list[int]], gone: int, user_events: int, item_events: int, item_users: int, block: int
) -> None:
    is_gone = np.array([gone >> user & 1 == 1 for user in range(len(histories))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "_BLOCK", block)
        left = left_without(
            log_of_items(histories, n_items=6), is_gone, Filters(None, user_events, item_events, item_users)
        )
    events = [(user, item) for user, own in enumerate(histories) for item in own if not is_gone[user]]
    n_few_events = n_few_users = 0
    while True:
        of_users, of_items = (Counter(event[place] for event in events) for place in (0, 1))
        passing = [
            (user, item)
            for user, item in events
            if of_users[user] >= user_events and of_items[item] >= item_events
        ]
        n_few_events += len(events) - len(passing)
        if passing == events:
            users_of = {item: {user for user, other in events if other == item} for item in of_items}
            passing = [event for event in events if len(users_of[event[1]]) >= item_users]
            n_few_users += len(events) - len(passing)
            if passing == events:
                break
        events = passing
    assert left.lengths.tolist() == [
        sum(event[0] == user for event in events) for user in np.flatnonzero(left.users)
    ]
    assert left.lengths.sum() == len(events)
    assert {item for _, item in events} <= set(np.flatnonzero(left.items).tolist())
    assert (left.few_events, left.few_users) == (n_few_events, n_few_users)
    assert left.forgotten == sum(len(own) for own, out in zip(histories, is_gone, strict=True) if out)
