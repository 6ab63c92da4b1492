"""Which users and items of an encoded log are left, once some users are gone and the filters hold again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import ragged_positions
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
    counted = _Counted.all_of(log)
    counted.drop(gone, np.zeros(log.n_items, np.bool_))
    n_before = int(counted.of_users[counted.users].sum())
    n_few_users = 0
    while True:
        few_users = counted.users & (counted.of_users < filters.min_user_events)
        few_items = counted.items & (counted.of_items < filters.min_item_events)
        if not (few_users.any() or few_items.any()):
            if filters.min_item_users <= 1:
                break
            few_items = counted.items & (_item_users(log, counted.users, counted.items) < filters.min_item_users)
            if not few_items.any():
                break
            n_few_users += int(counted.of_items[few_items].sum())
        counted.drop(few_users, few_items)
    users, items, of_users = counted.users, counted.items, counted.of_users
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


@dataclass(eq=False)
class _Counted:
    """The events that are left, by user and by item; of those that are not, the counts mean nothing."""

    log: Interactions
    users: Mask
    items: Mask
    of_users: npt.NDArray[np.int64]
    of_items: npt.NDArray[np.int64]

    @classmethod
    def all_of(cls, log: Interactions) -> Self:
        of_items = np.zeros(log.n_items, np.int64)
        for _, events in blocks(log):
            of_items += np.bincount(log.items[events], minlength=log.n_items)
        users, items = np.ones(log.n_users, np.bool_), np.ones(log.n_items, np.bool_)
        return cls(log, users, items, np.diff(log.offsets), of_items)

    def drop(self, users: Mask, items: Mask) -> None:
        """Drop users and items, and what they did or was done to them from the counts of the others."""
        self.users &= ~users
        for own, events in blocks(self.log):
            if users[own].any():
                fallen = np.flatnonzero(users[own]) + own.start
                positions = ragged_positions(self.log.offsets[fallen], self.log.offsets[fallen + 1])
                of_items = self.log.items[positions]
                self.of_items -= np.bincount(of_items[self.items[of_items]], minlength=self.log.n_items)
            if items.any():
                positions = np.flatnonzero(items[self.log.items[events]]) + events.start
                owners = np.searchsorted(self.log.offsets, positions, side="right") - 1
                n_own = own.stop - own.start
                self.of_users[own] -= np.bincount(owners[self.users[owners]] - own.start, minlength=n_own)
        self.items &= ~items


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
