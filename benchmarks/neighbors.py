"""Time the baselines beside implicit and a closed form in torch, on one log, in one run, in turns.

Tasks, each measured `--rounds` times a side, a process of its own each time; within a process the best of three:

    item-knn       the 100 most similar items of each, by the cosine; beside implicit's CosineRecommender
    item-knn-top   the best 100 unseen items of the first `--users` users by that model; beside implicit's
    user-knn       scores of 500 users by their 100 neighbours (recdl alone)
    ease           the exact coefficients; beside the closed form in torch (small catalogues: n_items^2 floats)
    als            ten epochs of 64 factors; beside implicit's (three conjugate gradient steps on both sides)

    python benchmarks/neighbors.py --log S --tasks item-knn als
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from logs import add_log_options, find_log
from measuring import available_cores, emit, last_json, run
from peers.timing import read_indexed
from scipy.sparse import csr_matrix

K, SIZE, N_EPOCHS, L2, N_QUERIES = 100, 64, 10, 250.0, 500
_REPEATS = 3

Timed = Callable[[], object]


def main() -> None:
    """Measure each task, one side after the other, several times, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="what is measured")
    parser.add_argument("--rounds", type=int, default=2, help="times that each side runs (default: %(default)s)")
    parser.add_argument("--users", type=int, default=200_000, help="to recommend to (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: %(default)s")
    parser.add_argument("--side", choices=("recdl", "peer"), help="only this one, in this process")
    arguments = parser.parse_args()
    log = find_log(arguments.log, arguments.folder)
    if arguments.side is not None:
        (task,) = arguments.tasks
        _measure_here(TASKS[task][arguments.side], log, arguments.users)
        return
    options = ["--log", arguments.log, "--folder", arguments.folder, "--users", str(arguments.users)]
    for task in arguments.tasks:
        seconds: dict[str, list[float]] = {side: [] for side in TASKS[task]}
        peaks: dict[str, int] = {}
        for _ in range(arguments.rounds):
            for side in TASKS[task]:
                command = [sys.executable, __file__, *options, "--tasks", task, "--side", side]
                printed, cost = run(command, threads=arguments.threads)
                figures = last_json(printed)
                seconds[side].append(figures["seconds"])
                peaks[side] = cost.peak_mb
                emit(task=task, side=side, log=arguments.log, **figures, **cost.row())
        if len(seconds) == 2:
            ours, peer = min(seconds["recdl"]), min(seconds["peer"])
            memory = peaks["recdl"] / peaks["peer"]
            emit(task=task, log=arguments.log, ratio=peer / ours, memory=memory, ours=ours, peer=peer)


def _measure_here(prepare: Callable[[Any, int], Timed], log: Path, n_users: int) -> None:
    timed = prepare(read_indexed(log), n_users)
    timed()  # compiles, and brings everything into memory
    best, cpu = float("inf"), float("inf")
    for _ in range(_REPEATS):
        started, before = time.perf_counter(), time.process_time()
        timed()
        best, cpu = min(best, time.perf_counter() - started), min(cpu, time.process_time() - before)
    emit(seconds=best, cpu_seconds=cpu)


def interactions(events: Any) -> Any:
    """Return the log of `read_indexed` as recdl's `Interactions`."""
    from recdl.data.interactions import Interactions

    users, items = events["user_id"].to_numpy(), events["item_id"].to_numpy()
    return Interactions(
        offsets=np.append(0, np.cumsum(np.bincount(users))).astype(np.int64),
        items=items.astype(np.int32),
        behaviors=np.zeros(len(items), np.int8),
        timestamps=events["timestamp"].to_numpy() * 10**6,
        n_items=int(items.max()) + 1,
        behavior_names=("view",),
    )


def _matrix(events: Any) -> Any:
    pairs = (events["user_id"].to_numpy(), events["item_id"].to_numpy())
    return csr_matrix((np.ones(len(events), np.float32), pairs))


def _threads() -> int:
    return int(os.environ["OMP_NUM_THREADS"])


def _item_knn(events: Any, _: int) -> Timed:
    from recdl.models.neighbors import ItemKNN

    log = interactions(events)
    return lambda: ItemKNN(k=K).fit(log)


def _peer_item_knn(events: Any, _: int) -> Timed:
    from implicit.nearest_neighbours import CosineRecommender

    matrix = _matrix(events)
    return lambda: CosineRecommender(K=K, num_threads=_threads()).fit(matrix, show_progress=False)


def _item_knn_top(events: Any, n_users: int) -> Timed:
    from recdl.data.queries import Queries
    from recdl.models.neighbors import ItemKNN
    from recdl.models.ranking import recommend

    log = interactions(events)
    model = ItemKNN(k=K).fit(log)
    queries = Queries.at_end(log)[:n_users]
    everything = np.ones(log.n_items, np.bool_)
    return lambda: recommend(model, queries, k=100, candidates=everything, exclude_history=True)


def _peer_item_knn_top(events: Any, n_users: int) -> Timed:
    from implicit.nearest_neighbours import CosineRecommender

    matrix = _matrix(events)
    model = CosineRecommender(K=K, num_threads=_threads())
    model.fit(matrix, show_progress=False)
    users = np.arange(min(n_users, matrix.shape[0]))
    return lambda: model.recommend(users, matrix[users], N=100, filter_already_liked_items=True)


def _user_knn(events: Any, _: int) -> Timed:
    from recdl.data.queries import Queries
    from recdl.models.neighbors import UserKNN

    log = interactions(events)
    model = UserKNN(k=K).fit(log)
    queries = Queries.at_end(log)[:N_QUERIES]
    return lambda: model.score(queries)


def _ease(events: Any, _: int) -> Timed:
    from recdl.models.ease import EASE

    log = interactions(events)
    return lambda: EASE(l2=L2).fit(log)


def _peer_ease(events: Any, _: int) -> Timed:
    import torch

    matrix = _matrix(events)
    torch.set_num_threads(_threads())

    def fit() -> object:
        square = torch.from_numpy((matrix.T @ matrix).toarray())
        square.diagonal().add_(L2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(square))
        return (inverse / -inverse.diagonal()).fill_diagonal_(0)

    return fit


def _als(events: Any, _: int) -> Timed:
    from recdl.models.als import ALS

    log = interactions(events)
    return lambda: ALS(embedding_size=SIZE, n_epochs=N_EPOCHS).fit(log)


def _peer_als(events: Any, _: int) -> Timed:
    from implicit.als import AlternatingLeastSquares

    matrix = _matrix(events)
    settings = {"factors": SIZE, "iterations": N_EPOCHS, "use_gpu": False, "num_threads": _threads()}
    return lambda: AlternatingLeastSquares(**settings).fit(matrix, show_progress=False)


TASKS: dict[str, dict[str, Callable[[Any, int], Timed]]] = {
    "item-knn": {"recdl": _item_knn, "peer": _peer_item_knn},
    "item-knn-top": {"recdl": _item_knn_top, "peer": _peer_item_knn_top},
    "user-knn": {"recdl": _user_knn},
    "ease": {"recdl": _ease, "peer": _peer_ease},
    "als": {"recdl": _als, "peer": _peer_als},
}


if __name__ == "__main__":
    main()
