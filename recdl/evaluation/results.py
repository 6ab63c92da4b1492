"""The results of runs, query by query: which there are, and whose."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from recdl.errors import DataError
from recdl.evaluation.records import RunRecord
from recdl.metrics.registry import WHOLE_METRICS

PART = "test"
"""The part that runs are compared on. Choosing among settings is done on validation (`best_by_validation`)."""

TESTED = ("hr", "recall", "precision", "f1", "ndcg", "mrr", "map")
"""What is tested unless other metrics are asked for: all correct for all, so that more tests make each weaker."""

AT_CUTOFF = re.compile(r"^[^/]+@\d+$")
QUERY_COLUMNS = ("query", "user", "n_targets")


def find_reference(records: Sequence[RunRecord], labels: Sequence[str], reference: str | None) -> int:
    """Return the place of the run that is named by its label, its folder or its model; the first by default.

    Raises:
        DataError: If none is, or several are.
    """
    if reference is None:
        return 0
    rows = [row for row, label in enumerate(labels) if label == reference]
    rows = rows or [row for row, record in enumerate(records) if _same_folder(record.folder, reference)]
    rows = rows or [row for row, record in enumerate(records) if record.identity.model == reference]
    if len(rows) != 1:
        what = "fits no run" if not rows else "fits several runs"
        raise DataError(f"reference={reference} {what}; it may be {', '.join(labels)}, or the folder of a run")
    return rows[0]


def _same_folder(folder: Path, name: str) -> bool:
    return folder == Path(name) or (Path(name).exists() and folder.resolve() == Path(name).resolve())


def choose_metrics(records: Sequence[RunRecord], metrics: Sequence[str] | None) -> tuple[str, ...]:
    """Check the metrics asked for, or take those at the middle one of the cutoffs that all runs share.

    Raises:
        DataError: If the runs share none, or not one that is asked for.
    """
    columns = [record.per_query_columns(PART) for record in records]
    shared = [name for name in columns[0] if AT_CUTOFF.match(name) and all(name in names for names in columns)]
    if not shared:
        raise DataError("the runs share no metric at a cutoff; evaluate them again under one protocol")
    if metrics is None:
        cutoffs = sorted({_cutoff(name) for name in shared})
        middle = cutoffs[(len(cutoffs) - 1) // 2]
        usual = tuple(name for name in shared if _cutoff(name) == middle and name.partition("@")[0] in TESTED)
        return usual or tuple(name for name in shared if _cutoff(name) == middle)
    whole = [name for name in WHOLE_METRICS if all(name in names for names in columns)]
    for name in metrics:
        if name not in (*shared, *whole):
            raise DataError(
                f"the runs do not share a metric {name!r} for each query, only {', '.join([*shared, *whole])}"
            )
    if not metrics:
        raise DataError(f"metrics is empty; name at least one of {', '.join(shared)}")
    if not any(AT_CUTOFF.match(name) for name in metrics):
        raise DataError(f"metrics: name at least one at a cutoff: {', '.join(shared)}")
    return tuple(dict.fromkeys(metrics))


def _cutoff(name: str) -> int:
    return int(name.rpartition("@")[2])


def per_query_results(record: RunRecord, names: Sequence[str]) -> pd.DataFrame:
    """Return whose each test query is, how many targets it has, and its metrics, in the order of the queries."""
    table = record.per_query(PART, columns=[*QUERY_COLUMNS, *names])
    return table.sort_values("query", ignore_index=True)


def primary_of(metrics: Sequence[str]) -> str:
    """Return the metric that runs are sorted by: NDCG where it is there, else the first at a cutoff."""
    at_cutoffs = [name for name in metrics if AT_CUTOFF.match(name)]
    return next((name for name in at_cutoffs if name.startswith("ndcg@")), at_cutoffs[0])
