import numpy as np
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet
from recdl.models.protocol import RankingTask

N_USERS, GROUP = 40, 8


def log_of(rows: list[list[int]], n_items: int) -> Interactions:
    """A log of one behaviour whose users have the given items, a microsecond apart."""
    counts = [len(row) for row in rows]
    items = np.array([item for row in rows for item in row], np.int32)
    return Interactions(
        offsets=np.cumsum([0, *counts]).astype(np.int64),
        items=items,
        behaviors=np.zeros(len(items), np.int8),
        timestamps=np.array([time for n in counts for time in range(n)], np.int64),
        n_items=n_items,
        behavior_names=("view",),
    )


@pytest.fixture(scope="session")
def two_tastes() -> tuple[Interactions, RankingTask]:
    """Even users walk in a circle through items 0-7, odd ones through 8-15; each is asked for its next item.

    A user's train part is five steps of the circle, so that the next item is one it never had, and whoever knows
    groups ranks three items first, whoever knows order ranks one.
    """
    starts = np.random.default_rng(0).integers(0, GROUP, N_USERS)
    walks = [
        [int((start + step) % GROUP) + GROUP * (user % 2) for step in range(6)]
        for user, start in enumerate(starts)
    ]
    train = log_of([walk[:5] for walk in walks], 2 * GROUP)
    task = RankingTask(
        query_set=QuerySet(
            Queries.at_end(train),
            np.arange(N_USERS + 1, dtype=np.int64),
            np.array([walk[5] for walk in walks], np.int32),
        ),
        candidates=np.ones(2 * GROUP, np.bool_),
        exclude_history=True,
    )
    return train, task
