import os

# Before numpy and torch are loaded: on small data a second thread only waits, and where other processes keep the
# cores busy, for very long (the contract tests took 80 s with two threads and 9 s with one).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet
from recdl.models.protocol import RankingTask
from tests.logs import log_of_items

# The first example of a test may have to wait until a loop is compiled.
settings.register_profile("recdl", deadline=None)
settings.load_profile("recdl")

N_USERS, GROUP, N_SEEN = 40, 8, 5


@pytest.fixture(scope="session")
def two_tastes() -> tuple[Interactions, RankingTask]:
    """Even users walk in a circle through items 0-7, odd ones through 8-15; each is asked for its next item.

    A user's train part is five steps of the circle, so that the next item is one it never had: whoever knows the
    groups ranks three items first, whoever knows the order ranks one.
    """
    starts = np.random.default_rng(0).integers(0, GROUP, N_USERS)
    walks = [
        [int((start + step) % GROUP) + GROUP * (user % 2) for step in range(N_SEEN + 1)]
        for user, start in enumerate(starts)
    ]
    train = log_of_items([walk[:N_SEEN] for walk in walks], n_items=2 * GROUP)
    targets = np.array([walk[N_SEEN] for walk in walks], np.int32)
    query_set = QuerySet(Queries.at_end(train), np.arange(N_USERS + 1, dtype=np.int64), targets)
    return train, RankingTask(query_set, candidates=np.ones(2 * GROUP, np.bool_), exclude_history=True)
