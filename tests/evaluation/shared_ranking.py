"""Rank a share of the queries in one of several processes, and measure what all of them found together."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recdl.data.queries import Queries, QuerySet
from recdl.metrics.ranking import RANKING_METRICS, RankedTargets, auc
from recdl.models.protocol import RankingTask
from recdl.models.ranking import count_ranked, rank
from recdl.training.processes import Processes

N_QUERIES, N_ITEMS = 101, 60


class Known:
    """Scores by user, many of them tied."""

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        table = np.random.default_rng(1).integers(0, 9, (N_QUERIES, N_ITEMS)).astype(np.float32)
        return table[queries.users]


def task() -> RankingTask:
    """Return queries with one to four targets each, none of which is known to be the last."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, N_QUERIES)
    targets = [np.sort(rng.choice(N_ITEMS, n, replace=False)) for n in counts]
    queries = Queries.anonymous(rng.integers(0, N_ITEMS, (N_QUERIES, 3)).tolist())
    queries = replace(queries, users=np.arange(N_QUERIES, dtype=np.int32))
    offsets = np.append(0, np.cumsum(counts)).astype(np.int64)
    query_set = QuerySet(queries, offsets, np.concatenate(targets).astype(np.int32))
    return RankingTask(query_set, np.arange(N_ITEMS) % 7 > 0, True)


def figures(processes: Processes) -> npt.NDArray[np.float64]:
    """Return the mean of every metric, each process ranking its share."""
    whole = task()
    share = processes.share(N_QUERIES)
    own = replace(whole, query_set=whole.query_set.take(np.arange(share.start, share.stop)))
    ranks = np.concatenate(processes.gathered(rank(Known(), own, k=10).ranks))  # type: ignore[arg-type]
    targets = RankedTargets(ranks, whole.query_set.target_offsets, n_ranked=count_ranked(whole))
    values = [metric(targets, 10).mean() for metric in RANKING_METRICS.values()]
    return np.array([*values, auc(targets).mean()])


if __name__ == "__main__":
    from torch import distributed

    place, count, meeting, output = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=place, world_size=count, timeout=timedelta(seconds=120)
    )
    np.save(output / f"{place}.npy", figures(Processes.current()))
    distributed.destroy_process_group()
