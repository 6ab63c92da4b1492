"""Which users and items of an encoded log are left, once some users are gone and the filters hold again."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.sources import Filters

_BLOCK = 1 << 20
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Left:
    """What is left of a log. An event is left where its user and its item are.

    Attributes:
        users: (n_users,) bool; each that is left has an event.
        items: (n_items,) bool, likewise.
        lengths: (users that are left,) int64, the events of each of them that are left.
        forgotten: Events of the users who were taken out.
        few_events: Further events that fell because a user or an item had too few.
        few_users: Further events that fell for their item's few users alone.
    """

    users: Mask
    items: Mask
    lengths: npt.NDArray[np.int64]
    forgotten: int
    few_events: int
    few_users: int


def left_without(log: Interactions, gone: Mask, filters: Filters) -> Left:
    """Take users out of a log, and then whatever no longer passes the filters, again and again.

    The limits are such that what passes them stays passing when something is added to it. So there is one largest
    part of a log that passes, and that of the log without some users lies within that of the whole log: a log that
    was filtered can be filtered on, as if the users had never been in it.

    Args:
        log: The log, filtered.
        gone: (n_users,) bool, the users to take out.
        filters: The limits that the log was filtered by.
    """
    lengths = np.diff(log.offsets)
    users, items = ~gone, np.ones(log.n_items, np.bool_)
    n_before = int(lengths[users].sum())
    n_few_users = 0
    while True:
        of_users, of_items = _sizes(log, users, items)
        few = users & (of_users < filters.min_user_events), items & (of_items < filters.min_item_events)
        if not (few[0].any() or few[1].any()):
            if filters.min_item_users <= 1:
                break
            rare = items & (_item_users(log, users, items) < filters.min_item_users)
            if not rare.any():
                break
            n_few_users += int(of_items[rare].sum())
            few = np.zeros_like(users), rare
        users, items = users & ~few[0], items & ~few[1]
    return Left(
        users=users,
        items=items,
        lengths=of_users[users],
        forgotten=int(lengths[gone].sum()),
        few_events=n_before - int(of_users[users].sum()) - n_few_users,
        few_users=n_few_users,
    )


def blocks(log: Interactions) -> Iterator[tuple[slice, slice]]:
    """Cut a log between users: yield the users and the events of each piece.

    A piece has about a million events at most, or those of a single user.
    """
    first = 0
    while first < log.n_users:
        limit = log.offsets[first] + _BLOCK
        last = max(int(np.searchsorted(log.offsets, limit, side="right")) - 1, first + 1)
        yield slice(first, last), slice(int(log.offsets[first]), int(log.offsets[last]))
        first = last


def kept_events(log: Interactions, users: Mask, items: Mask, block: tuple[slice, slice]) -> Mask:
    """Return which events of a block are left, in the order of the block."""
    own, events = block
    lengths = np.diff(log.offsets[own.start : own.stop + 1])
    return np.repeat(users[own], lengths) & items[log.items[events]]


def _sizes(log: Interactions, users: Mask, items: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the events that are left, by user and by item."""
    of_users, of_items = np.zeros(log.n_users, np.int64), np.zeros(log.n_items, np.int64)
    for block in blocks(log):
        own, events = block
        kept = kept_events(log, users, items, block)
        ends = np.append(0, np.cumsum(kept))
        of_users[own] = np.diff(ends[log.offsets[own.start : own.stop + 1] - events.start])
        of_items += np.bincount(log.items[events][kept], minlength=log.n_items)
    return of_users, of_items


def _item_users(log: Interactions, users: Mask, items: Mask) -> npt.NDArray[np.int64]:
    """Count the distinct users of each item among the events that are left."""
    counts = np.zeros(log.n_items, np.int64)
    for block in blocks(log):
        own, events = block
        kept = kept_events(log, users, items, block)
        owners = np.repeat(np.arange(own.stop - own.start), np.diff(log.offsets[own.start : own.stop + 1]))
        pairs = np.unique(owners[kept] * log.n_items + log.items[events][kept])  # blocks share no user
        counts += np.bincount(pairs % log.n_items, minlength=log.n_items)
    return counts
