import numpy as np
import pytest

from recdl.data.interactions import Interactions
from recdl.evaluation import item_users as module
from recdl.evaluation.item_users import item_users, train_counts

HAD = [[0, 2, 2, 0], [], [2], [3, 0, 3], []]


def _log() -> Interactions:
    offsets = np.cumsum([0, *map(len, HAD)]).astype(np.int64)
    n = int(offsets[-1])
    items = np.array([item for row in HAD for item in row], np.int32)
    return Interactions(offsets, items, np.zeros(n, np.int8), np.zeros(n, np.int64), 5, ("view",))


def test_each_item_has_its_events_and_its_distinct_users() -> None:
    counts = train_counts(_log())
    assert counts.item_events.tolist() == [3, 0, 3, 2, 0]
    assert counts.item_users.tolist() == [2, 0, 2, 1, 0]
    assert counts.n_users == 3


def test_each_item_has_its_users_once_counted_among_those_with_events() -> None:
    sets = item_users(_log())
    found = [sets.members[a:b].tolist() for a, b in zip(sets.offsets[:-1], sets.offsets[1:], strict=True)]
    assert found == [[0, 2], [], [0, 1], [2], []]
    assert sets.n_members == 3


def test_of_many_users_a_draw_is_taken_that_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_USERS", 2)
    first, second = item_users(_log()), item_users(_log())
    assert first.n_members == 2
    assert first.offsets.tolist() == second.offsets.tolist()
    assert first.members.tolist() == second.members.tolist()
    whole = [{0, 2}, set(), {0, 1}, {2}, set()]
    drawn = [set(first.members[a:b]) for a, b in zip(first.offsets[:-1], first.offsets[1:], strict=True)]
    kept = sorted(np.random.default_rng(0).choice(3, 2, replace=False).tolist())
    assert drawn == [{kept.index(user) for user in users if user in kept} for users in whole]
