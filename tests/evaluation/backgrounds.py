"""A test part of a small log, known by heart."""

import numpy as np
import pyarrow as pa

from recdl.data.queries import Queries, QuerySet
from recdl.data.vocabulary import Vocabulary
from recdl.evaluation.background import Background

ITEM_EVENTS = (10, 5, 3, 1, 1, 0)
"""Of items a ... f: the head (a fifth of 20 events) is a alone, the tail d and e, and f is unseen."""


def background(*, names: bool = False) -> Background:
    """Four queries of users 0, 1, 2 and an unknown one, the first two with histories, over the items a ... f."""
    queries = Queries(
        users=np.array([0, 1, 2, -1], np.int32),
        starts=np.array([0, 3, 5, 5], np.int64),
        ends=np.array([3, 5, 5, 5], np.int64),
        items=np.array([0, 1, 0, 2, 3], np.int32),
        behaviors=np.array([0, 0, 1, 0, 1], np.int8),
        timestamps=np.arange(5, dtype=np.int64),
    )
    query_set = QuerySet(queries, np.array([0, 1, 3, 4, 6], np.int64), np.array([0, 1, 3, 5, -1, 2], np.int32))
    table = pa.table({"Title": ["Ant", "Bee", None, "Dog", "Eel", "Fox"]}) if names else None
    return Background(
        query_set=query_set,
        item_events=np.array(ITEM_EVENTS),
        user_events=np.array([3, 2, 0]),
        behavior_names=("view", "buy"),
        items=Vocabulary(list("abcdef")),
        item_names=None if table is None else table["Title"],
    )
