"""Run records made without training, with figures that are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recdl.evaluation.evaluate import Evaluation
from recdl.evaluation.identity import Ingredient, RunIdentity
from recdl.evaluation.records import RunRecord, RunWriter

DATA = Ingredient("shop", "d" * 64, {"users": 100, "items": 50})
SPLIT = Ingredient("temporal", "5" * 64, {"test_fraction": 0.1})
PROTOCOL = Ingredient("full", "e" * 64, {"exclude_history": False, "confidence": 0.95, "n_bootstrap": 200})


def identity(model: str = "popularity", **changes: Any) -> RunIdentity:
    known = {"seed": 0, "data": DATA, "split": SPLIT, "protocol": PROTOCOL, "metric_version": 1}
    return RunIdentity(model=model, **(known | changes))


def evaluation(columns: Mapping[str, Sequence[float]], *, users: Sequence[int] | None = None) -> Evaluation:
    """Return an evaluation with the given metric values, one a query; intervals are the means -/+ 0.01."""
    n = len(next(iter(columns.values())))
    table = {
        "query": np.arange(n, dtype=np.int64),
        "user": np.arange(n, dtype=np.int32) if users is None else np.array(users, np.int32),
        "n_targets": np.full(n, 2, np.int64),
        "history_length": np.full(n, 3, np.int64),
    }
    means = {name: float(np.mean(values)) for name, values in columns.items()}
    return Evaluation(
        metrics={**means, "cold_targets": 0.25, "n_queries": float(n)},
        intervals={name: (mean - 0.01, mean + 0.01) for name, mean in means.items()},
        per_query=pd.DataFrame(table | {name: np.array(values, np.float64) for name, values in columns.items()}),
        lists=np.full((n, 1), -1, np.int32),
    )


def write_run(
    folder: Path,
    model: str = "popularity",
    *,
    columns: Mapping[str, Sequence[float]] | None = None,
    validation: float = 0.5,
    settings: Mapping[str, Any] | None = None,
    users: Sequence[int] | None = None,
    fit_seconds: float = 1.0,
    lists: Sequence[Sequence[int]] | None = None,
    learning_curve: Sequence[Mapping[str, Any]] = (),
    groups: Mapping[str, Any] | None = None,
    **changes: Any,
) -> RunRecord:
    """Write a finished run; `changes` are to its identity."""
    values = columns if columns is not None else {"hr@10": [0.0, 1.0, 1.0, 0.0], "ndcg@10": [0.0, 0.5, 1.0, 0.0]}
    config = {"model": dict(settings or {"k": 10}), "run_dir": str(folder), "seed": 0}
    writer = RunWriter.start(folder, config=config, identity=identity(model, **changes))
    writer.write_split_report({"leak": {"statement": "Nothing."}})
    writer.write_evaluation("validation", evaluation({"ndcg@10": [validation, validation]}))
    tested = replace(evaluation(values, users=users), groups=dict(groups or {}))
    writer.write_evaluation("test", tested if lists is None else replace(tested, lists=np.array(lists, np.int32)))
    writer.write_state({"weights": np.zeros((3, 2), np.float32), "seen": np.array([True])})
    return writer.finish(fit_seconds=fit_seconds, learning_curve=learning_curve)
