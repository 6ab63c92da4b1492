"""Time full ranking and its metrics beside RecTools and a bare loop in torch, on one log, in one run, in turns.

Every side scores all items for all users from the same 64 random factors, takes out what each has had, lists the
best 20 and computes its metrics of accuracy at 5, 10 and 20 for the last event of each user. recdl's side goes
on to all other metrics and to the bootstrap intervals, which are timed apart. All sides must come to the same
NDCG.

    python benchmarks/evaluation.py --log S --peer-python peers-env/rectools/bin/python
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from logs import add_log_options, find_log
from measuring import available_cores, emit, last_json, run

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))
from factors import CUTOFFS, Task, best_of, read_task  # noqa: E402

if TYPE_CHECKING:
    from recdl.data.interactions import Interactions

CHUNK = 512


def main() -> None:
    """Measure the sides in turns, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument(
        "--peer-python", type=Path, help="of RecTools's environment; without it RecTools is left out"
    )
    parser.add_argument("--rounds", type=int, default=2, help="times that each side runs (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="within a run; the best counts (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: %(default)s")
    parser.add_argument("--side", choices=SIDES, help="only this one, in this process, with --task")
    parser.add_argument("--task", type=Path, help="folder of the task; without it, it is made from the log")
    arguments = parser.parse_args()
    if arguments.side is not None:
        if arguments.task is None:
            parser.error("--side needs --task")
        emit(**SIDES[arguments.side](read_task(arguments.task), arguments.repeats))
        return
    log = find_log(arguments.log, arguments.folder)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        # By a program of its own: Linux counts what this one took at most into the peak of what it starts.
        subprocess.run([sys.executable, HERE / "peers" / "factors.py", log, folder], check=True)
        _compare(arguments, folder)


def _compare(arguments: argparse.Namespace, folder: str) -> None:
    shared = ["--repeats", arguments.repeats]
    commands = {side: [sys.executable, __file__, "--task", folder, *shared, "--side", side] for side in SIDES}
    if arguments.peer_python is not None:
        program = HERE / "peers" / "rectools_evaluation.py"
        commands["rectools"] = [arguments.peer_python, program, folder, *shared, "--threads", arguments.threads]
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in commands}
    for _ in range(arguments.rounds):
        for side, command in commands.items():
            printed, cost = run([str(part) for part in command], threads=arguments.threads)
            found[side].append(last_json(printed))
            emit(side=side, log=arguments.log, **found[side][-1], **cost.row())
    best = {side: min(rows, key=lambda row: row["seconds"]) for side, rows in found.items()}
    for k in CUTOFFS:
        figures = [row[f"ndcg@{k}"] for row in best.values()]
        if max(figures) - min(figures) > 1e-4 * max(figures):
            raise SystemExit(f"error: the sides differ in NDCG@{k}: {figures}")
    ours = best["recdl"]
    row = {side: other["seconds"] / ours["seconds"] for side, other in best.items() if side != "recdl"}
    metrics = ours["accuracy"] + ours["beyond_accuracy"]
    emit(log=arguments.log, ratio=row, metrics_to_ranking=metrics / ours["ranking"], intervals=ours["intervals"])


def _recdl(given: Task, repeats: int) -> dict[str, float]:
    import torch

    from recdl.data.queries import Queries, QuerySet
    from recdl.evaluation.measures import measure
    from recdl.evaluation.protocol import EvaluationProtocol
    from recdl.evaluation.significance import bootstrap_intervals
    from recdl.metrics.registry import CATALOGUE_METRICS, LIST_METRICS, RANKING_METRICS
    from recdl.models.protocol import RankingTask
    from recdl.models.ranking import rank

    n_users, n_items = len(given.users), len(given.items)
    users, items = torch.from_numpy(given.users), torch.from_numpy(given.items)

    class Factors:
        def score(self, queries: Queries) -> Any:
            first = int(queries.users[0])
            rows = queries.users
            chosen = users[first : first + len(rows)] if (np.diff(rows) == 1).all() else users[rows]
            return (chosen @ items.T).numpy()

    log = _log(given)
    query_set = QuerySet(
        Queries.at_end(log), np.arange(n_users + 1, dtype=np.int64), given.targets.astype(np.int32)
    )
    del given  # its items take twice the memory of the log's
    everything = RankingTask(query_set, np.ones(n_items, np.bool_), True)
    accuracy = EvaluationProtocol(metrics=(*RANKING_METRICS, "auc"), cutoffs=CUTOFFS)
    of_lists = tuple(name for name in LIST_METRICS if name not in ("category_diversity", "miscalibration"))
    others = EvaluationProtocol(metrics=(*of_lists, "serendipity"), cutoffs=CUTOFFS)

    def work() -> dict[str, float]:
        started = time.perf_counter()
        ranking = rank(Factors(), everything, k=max(CUTOFFS))  # type: ignore[arg-type]
        ranked = time.perf_counter()
        values, _ = measure(ranking, everything, accuracy, None)
        figures = {f"ndcg@{k}": float(values[f"ndcg@{k}"].mean()) for k in CUTOFFS}
        kept.update(values=values, ranking=ranking)
        return {"ranking": ranked - started, "accuracy": time.perf_counter() - ranked, **figures}

    kept: dict[str, Any] = {}
    found = best_of(repeats, work)
    for _ in range(2):  # the first compiles
        started = time.perf_counter()
        lists = measure(kept["ranking"], everything, others, log)[1]
        for metric in CATALOGUE_METRICS.values():
            for k in CUTOFFS:
                metric(lists, k)
        found["beyond_accuracy"] = time.perf_counter() - started
    started = time.perf_counter()
    columns = np.column_stack(list(kept["values"].values()))
    bootstrap_intervals(columns, query_set.people, seed=0, n_bootstrap=1000)
    return found | {"intervals": time.perf_counter() - started}


def _log(given: Task) -> "Interactions":
    from recdl.data.interactions import Interactions

    return Interactions(
        offsets=given.offsets,
        items=given.history.astype(np.int32),
        behaviors=np.zeros(len(given.history), np.int8),
        timestamps=np.zeros(len(given.history), np.int64),
        n_items=len(given.items),
        behavior_names=("view",),
    )


def _loop(given: Task, repeats: int) -> dict[str, float]:
    """The least that can be done in torch: chunks, a product, a mask, the best 20, and metrics of one target."""
    import torch

    users, items = torch.from_numpy(given.users), torch.from_numpy(given.items)
    history, counts = torch.from_numpy(given.history), np.diff(given.offsets)
    targets = torch.from_numpy(given.targets)
    buffer = torch.empty(CHUNK, len(items))

    def work() -> dict[str, float]:
        started = time.perf_counter()
        lists = torch.empty(len(users), max(CUTOFFS), dtype=torch.int64)
        for start in range(0, len(users), CHUNK):
            end = min(start + CHUNK, len(users))
            scores = torch.mm(users[start:end], items.T, out=buffer[: end - start])
            rows = torch.from_numpy(np.repeat(np.arange(end - start), counts[start:end]))
            scores[rows, history[given.offsets[start] : given.offsets[end]]] = -torch.inf
            lists[start:end] = torch.topk(scores, max(CUTOFFS), dim=1).indices
        ranked = time.perf_counter()
        hits = (lists == targets[:, None]).double()
        places = torch.arange(2, max(CUTOFFS) + 2).double()
        figures = {}
        for k in CUTOFFS:
            own = hits[:, :k]
            figures[f"hr@{k}"] = figures[f"recall@{k}"] = float(own.sum(1).mean())
            figures[f"precision@{k}"] = float(own.sum(1).mean() / k)
            figures[f"ndcg@{k}"] = float((own / places[:k].log2()).sum(1).mean())
            figures[f"mrr@{k}"] = figures[f"map@{k}"] = float((own / (places[:k] - 1)).sum(1).mean())
        return {"ranking": ranked - started, "metrics": time.perf_counter() - ranked} | {
            name: value for name, value in figures.items() if name.startswith("ndcg")
        }

    return best_of(repeats, work)


SIDES = {"recdl": _recdl, "loop": _loop}

if __name__ == "__main__":
    main()
