"""A log by blocks of whole users, so that looking at it takes bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions

BLOCK = 1 << 20
"""Events of a block, unless a single user has more."""


@dataclass(frozen=True, eq=False)
class Block:
    """The events of some consecutive users.

    Attributes:
        offsets: (n_users + 1,) int64, from 0: where each user's events begin in the arrays below.
        items: (n,) int32.
        behaviors: (n,) int8.
        timestamps: (n,) int64, microseconds since 1970, never falling within a user.
        n_items: Size of the catalogue.
        first_user: Index of the first user in the log.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    behaviors: npt.NDArray[np.int8]
    timestamps: npt.NDArray[np.int64]
    n_items: int
    first_user: int

    @property
    def n_users(self) -> int:
        """Number of users, with or without events."""
        return len(self.offsets) - 1

    @cached_property
    def owners(self) -> npt.NDArray[np.int64]:
        """(n,) int64, the user of each event, counted from the block's first."""
        return np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(self.offsets))

    @cached_property
    def pairs(self) -> npt.NDArray[np.int64]:
        """(n,) int64, a number that two events share if and only if they are of one user and one item."""
        return self.owners * self.n_items + self.items

    @cached_property
    def continues(self) -> npt.NDArray[np.bool_]:
        """(n - 1,) bool, whether event i + 1 is of the user of event i."""
        inner: npt.NDArray[np.bool_] = self.owners[1:] == self.owners[:-1]
        return inner


def user_blocks(log: Interactions, *, size: int = BLOCK) -> Iterator[Block]:
    """Give the log by blocks of about `size` events; a block with no event is left out."""
    first = 0
    while first < log.n_users:
        reach = int(np.searchsorted(log.offsets, log.offsets[first] + size, side="right")) - 1
        last = max(reach, first + 1)
        start, end = int(log.offsets[first]), int(log.offsets[last])
        if end > start:
            yield Block(
                offsets=np.asarray(log.offsets[first : last + 1]) - start,
                items=np.asarray(log.items[start:end]),
                behaviors=np.asarray(log.behaviors[start:end]),
                timestamps=np.asarray(log.timestamps[start:end]),
                n_items=log.n_items,
                first_user=first,
            )
        first = last
