"""Who has each item of a log, as metrics of lists look at it."""

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled
from recdl.data.interactions import Interactions
from recdl.metrics.lists import Sets, Train
from recdl.models.compiled import read_only

MOST_USERS = 16_384
"""Users that `diversity` goes by, at most: a draw of train's, the same in every run."""

_Longs = npt.NDArray[np.int64]
_Items = npt.NDArray[np.int32]


def train_counts(train: Interactions) -> Train:
    """Return the events and the distinct users of each item, and how many users there are."""
    users = np.flatnonzero(np.diff(train.offsets))
    events = np.bincount(train.items, minlength=train.n_items)
    return Train(events, _count_users(train, users), len(users))


def item_users(train: Interactions) -> Sets:
    """Return who has each item, of at most `MOST_USERS` users of train."""
    users = np.flatnonzero(np.diff(train.offsets))
    if len(users) > MOST_USERS:
        users = np.sort(np.random.default_rng(0).choice(users, MOST_USERS, replace=False))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(_count_users(train, users))])
    members = np.empty(offsets[-1], np.int32)
    _fill(*_of(train, users), offsets[:-1].copy(), members)
    return Sets(offsets, members, len(users))


def _count_users(train: Interactions, users: _Longs) -> _Longs:
    counts = np.zeros(train.n_items, np.int64)
    _count(*_of(train, users), counts)
    return counts


def _of(train: Interactions, users: _Longs) -> tuple[_Longs, _Longs, _Items]:
    """Return where the events of each user begin and end, and the items of all events."""
    return train.offsets[users], train.offsets[users + 1], read_only(train.items)


@compiled
def _count(starts: _Longs, ends: _Longs, items: _Items, counts: _Longs) -> None:
    """Add to `counts` (n_items,) the distinct users of each item."""
    last = np.full(len(counts), -1, np.int64)  # the last user who had the item
    for user in range(len(starts)):
        for event in range(starts[user], ends[user]):
            item = items[event]
            counts[item] += last[item] != user
            last[item] = user


@compiled
def _fill(starts: _Longs, ends: _Longs, items: _Items, places: _Longs, members: _Items) -> None:
    """Write the users of each item to `members` from `places` (n_items,) on, each once, by rising row."""
    last = np.full(len(places), -1, np.int64)
    for user in range(len(starts)):
        for event in range(starts[user], ends[user]):
            item = items[event]
            if last[item] != user:
                members[places[item]] = user
                places[item] += 1
                last[item] = user
