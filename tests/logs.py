"""Small logs whose answers are known."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions

Event = tuple[int, int, int, int]
"""User, timestamp (microseconds), behaviour code, item."""


def log_of_events(
    events: Iterable[Event],
    *,
    n_users: int,
    n_items: int,
    behavior_names: Sequence[str] = ("view", "purchase"),
    weights: npt.ArrayLike | None = None,
    sessions: npt.ArrayLike | None = None,
) -> Interactions:
    """Encode events, given in any order, as preparation does: by user, time, behaviour and item.

    `weights` and `sessions` are in the order that the events then have.
    """
    table = np.array(sorted(events), np.int64).reshape(-1, 4)
    return Interactions(
        offsets=np.searchsorted(table[:, 0], np.arange(n_users + 1)).astype(np.int64),
        items=table[:, 3].astype(np.int32),
        behaviors=table[:, 2].astype(np.int8),
        timestamps=table[:, 1].copy(),
        n_items=n_items,
        behavior_names=tuple(behavior_names),
        weights=None if weights is None else np.asarray(weights, np.float32),
        sessions=None if sessions is None else np.asarray(sessions, np.int32),
    )


def log_of_items(histories: Sequence[Sequence[int]], *, n_items: int) -> Interactions:
    """Encode one list of items a user, oldest first, a microsecond apart, all views."""
    events = [(user, time, 0, item) for user, items in enumerate(histories) for time, item in enumerate(items)]
    return log_of_events(events, n_users=len(histories), n_items=n_items, behavior_names=("view",))
