"""Measure how long the report of many runs takes: opened, compared, looked at closely, and written in four forms.

The runs are made up: per-query results, lists and learning curves of the size that real ones have, of queries of
one log. Output is a JSON line a round with the seconds of each part, and at the end the median beside the bound,
10 s for 20 runs of S.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import available_cores, emit, last_json, run

BOUND_SECONDS = 10.0
SIZES = {"S": (6_040, 3_706), "L": (200_000, 50_000)}
_METRICS = ("hr", "recall", "precision", "f1", "ndcg", "mrr", "map")
_CUTOFFS = (5, 10, 20)


def main() -> None:
    """Report on made-up runs, several times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="S", help="queries and items (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--here", type=Path, help="report once on the runs in this folder, in this process")
    arguments = parser.parse_args()
    if arguments.here is not None:
        _report_here(arguments.here, *SIZES[arguments.size])
        return
    with tempfile.TemporaryDirectory(prefix="recdl-report-") as folder:
        _make_runs(Path(folder), arguments.runs, *SIZES[arguments.size])
        totals = []
        for _ in range(arguments.rounds):
            options = ["--size", arguments.size, "--here", folder]
            printed, cost = run([sys.executable, __file__, *options], threads=available_cores())
            figures = last_json(printed)
            totals.append(figures["seconds"])
            emit(size=arguments.size, runs=arguments.runs, **figures, **cost.row())
    median = statistics.median(totals)
    emit(size=arguments.size, runs=arguments.runs, seconds=median, share_of_bound=median / BOUND_SECONDS)


def _make_runs(folder: Path, n_runs: int, n_queries: int, n_items: int) -> None:
    import pandas as pd

    from recdl.evaluation.evaluate import Evaluation
    from recdl.evaluation.identity import Ingredient, RunIdentity
    from recdl.evaluation.records import RunWriter

    generator = np.random.default_rng(0)
    difficulty = generator.gamma(1.0, 0.1, n_queries)
    protocol = Ingredient("full", "e" * 64, {"confidence": 0.95, "n_bootstrap": 1000})
    for number in range(n_runs):
        names = [f"{metric}@{k}" for metric in _METRICS for k in _CUTOFFS]
        values = {
            name: np.where(generator.random(n_queries) < 0.6, 0.0, np.minimum(difficulty * (1 + number / 40), 1.0))
            for name in names
        }
        means = {name: float(column.mean()) for name, column in values.items()}
        table = {
            "query": np.arange(n_queries, dtype=np.int64),
            "user": np.arange(n_queries, dtype=np.int32),
            "n_targets": np.full(n_queries, 2, np.int64),
            "history_length": generator.integers(0, 60, n_queries),
        }
        evaluation = Evaluation(
            metrics={**means, **{f"coverage@{k}": 0.1 + number / 100 for k in _CUTOFFS}, "cold_targets": 0.05},
            intervals={name: (mean - 0.01, mean + 0.01) for name, mean in means.items()},
            per_query=pd.DataFrame(table | values),
            lists=generator.integers(0, n_items, (n_queries, max(_CUTOFFS))).astype(np.int32),
        )
        identity = RunIdentity(
            model=f"model_{number}",
            seed=0,
            data=Ingredient("made_up", "d" * 64),
            split=Ingredient("temporal", "5" * 64),
            protocol=protocol,
            metric_version=1,
        )
        writer = RunWriter.start(folder / f"run_{number:02}", config={"model": {"k": number}}, identity=identity)
        writer.write_evaluation("validation", evaluation)
        writer.write_evaluation("test", evaluation)
        writer.write_state({"weights": np.zeros(1000 * (number + 1), np.float32)})
        curve = [{"epoch": n, "loss": 5.0 / (n + 1), "validation/ndcg@10": n / 300} for n in range(30)]
        writer.finish(fit_seconds=float(number + 1), learning_curve=curve)


def _report_here(folder: Path, n_queries: int, n_items: int) -> None:
    from recdl.data.queries import Queries, QuerySet
    from recdl.data.vocabulary import Vocabulary
    from recdl.evaluation.background import Background
    from recdl.evaluation.comparison import compare
    from recdl.evaluation.details import look_closer
    from recdl.evaluation.records import RunRecord
    from recdl.evaluation.report import write_comparison

    generator = np.random.default_rng(1)
    # An even item and an odd one, so that the two targets of a query are never the same.
    targets = np.sort(generator.integers(0, n_items // 2, (n_queries, 2)) * 2 + np.array([0, 1]), axis=1)
    ends = np.arange(1, n_queries + 1, dtype=np.int64) * 20
    n_events = int(ends[-1])
    history = generator.integers(0, n_items, n_events).astype(np.int32)
    codes, times = np.zeros(n_events, np.int8), np.arange(n_events, dtype=np.int64)
    queries = Queries(np.arange(n_queries, dtype=np.int32), ends - 20, ends, history, codes, times)
    offsets = np.arange(n_queries + 1, dtype=np.int64) * 2
    query_set = QuerySet(queries, offsets, targets.astype(np.int32).ravel())
    known = Background(
        query_set=query_set,
        item_events=np.bincount(history, minlength=n_items),
        user_events=np.full(n_queries, 20),
        behavior_names=("purchase",),
        items=Vocabulary([f"i{n}" for n in range(n_items)]),
    )
    started = time.perf_counter()
    records = [RunRecord.open(run) for run in sorted(folder.glob("run_*"))]
    opened = time.perf_counter()
    comparison = compare(records)
    compared = time.perf_counter()
    details = look_closer(comparison, records, known)
    looked = time.perf_counter()
    write_comparison(comparison, folder / "report", details)
    done = time.perf_counter()
    emit(
        opening=opened - started,
        testing=compared - opened,
        looking=looked - compared,
        writing=done - looked,
        seconds=done - started,
    )


if __name__ == "__main__":
    main()
