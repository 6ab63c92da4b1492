"""Scores and queries for rankings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recdl.data.queries import Queries, QuerySet
from recdl.models.protocol import RankingTask


class Table:
    """A recommender that looks the scores of a user up; it notes how many queries it is asked for at once."""

    def __init__(self, scores: Any) -> None:
        self.table = np.asarray(scores, np.float32)
        self.asked: list[int] = []

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        self.asked.append(len(queries))
        return self.table[queries.users]


class Given(Table):
    """Gives the very array it holds, whatever its type and shape."""

    def __init__(self, scores: npt.NDArray[Any]) -> None:
        self.table = scores

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        return self.table


def query_set(targets: Sequence[Sequence[int]], histories: Sequence[Sequence[int]] | None = None) -> QuerySet:
    """One query a user, in the order of the users."""
    queries = Queries.anonymous(histories or [[]] * len(targets))
    users = np.arange(len(targets), dtype=np.int32)
    queries = Queries(users, queries.starts, queries.ends, queries.items, queries.behaviors, queries.timestamps)
    offsets = np.cumsum([0, *map(len, targets)]).astype(np.int64)
    return QuerySet(queries, offsets, np.array([item for row in targets for item in row], np.int32))


def task_of(
    targets: Sequence[Sequence[int]],
    n_items: int,
    *,
    histories: Sequence[Sequence[int]] | None = None,
    no_candidates: Sequence[int] = (),
    exclude_history: bool = False,
) -> RankingTask:
    candidates = np.ones(n_items, np.bool_)
    candidates[list(no_candidates)] = False
    return RankingTask(query_set(targets, histories), candidates, exclude_history)
