"""Runs side by side: what may be compared, by how much they differ, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recdl.errors import DataError
from recdl.evaluation.comparability import check_comparable
from recdl.evaluation.identity import Ingredient
from recdl.evaluation.labels import differing_settings, run_labels
from recdl.evaluation.records import RunRecord
from recdl.evaluation.results import (
    AT_CUTOFF,
    PART,
    QUERY_COLUMNS,
    choose_metrics,
    find_reference,
    per_query_results,
    primary_of,
)
from recdl.evaluation.significance import (
    PairedTest,
    TestMethod,
    detectable_difference,
    holm,
    paired_tests,
)
from recdl.metrics.registry import WHOLE_METRICS, Better, better

_PROVENANCE = ("run_id", "command", "git", "versions", "hardware", "peak_memory", "started", "finished")


@dataclass(frozen=True)
class Figure:
    """One metric of one run, and how it stands to the reference run.

    Attributes:
        value: Mean over the queries.
        interval: Confidence interval of the mean, where the metric has one.
        best: Whether there are several runs and none has a better value.
        difference: `value` minus that of the reference; None of the reference itself and of metrics not tested.
        difference_interval: Confidence interval of the difference, query by query.
        p_value: Of the paired test that the difference is zero.
        adjusted_p_value: The same, corrected (Holm) for all the tests of the comparison.
        significant: Whether the adjusted p-value is below 1 - confidence.
        effect_size: The difference over the standard deviation of the queries' differences; None where none vary.
        better: Whether more of the metric is better, or less, or neither.
        detectable: How large a difference must be for a test on these queries to see it four times out of five.
    """

    value: float
    interval: tuple[float, float] | None
    best: bool = False
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p_value: float | None = None
    adjusted_p_value: float | None = None
    significant: bool = False
    effect_size: float | None = None
    detectable: float | None = None
    better: Better = "more"


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes:
        label: Distinct within the comparison.
        folder: Of the run record.
        model: Name of the model.
        seed: Of everything random in the run.
        trials: Settings that were tried before these were chosen, these among them; 1 is untuned.
        settings: Those in which the runs of the comparison are not all alike, by their full key.
        figures: Every metric on test, such as "ndcg@10" or "auc".
        metrics: The run's `metrics.json`: "validation/ndcg@10", "time/fit_seconds", "model/n_parameters", ...
        provenance: Library versions, hardware, command line, git state, times.
    """

    label: str
    folder: Path
    model: str
    seed: int
    settings: dict[str, Any]
    figures: dict[str, Figure]
    metrics: dict[str, float]
    provenance: dict[str, Any]
    trials: int = 1

    @property
    def fit_seconds(self) -> float | None:
        """Wall time of `fit`."""
        return self.metrics.get("time/fit_seconds")

    @property
    def n_parameters(self) -> int | None:
        """Floating-point numbers in what the model learned."""
        count = self.metrics.get("model/n_parameters")
        return None if count is None else int(count)

    @property
    def state_bytes(self) -> int | None:
        """Size of what the model learned."""
        size = self.metrics.get("model/state_bytes")
        return None if size is None else int(size)


@dataclass(frozen=True)
class Comparison:
    """Runs on the same data, split and protocol.

    Attributes:
        runs: In the order given.
        reference: Label of the run the others are tested against.
        metrics: The metrics compared ("ndcg@10"); each is tested for each run but the reference.
        primary: The one of `metrics` that runs are sorted by.
        data, split, protocol, metric_version: What the runs share.
        split_report: What the split's parts hold and leak.
        n_queries, n_users, n_targets: Of the test part.
        cold_target_share: Share of the targets that train never saw, so that no model can find them.
        masked_target_share: Share of the targets that stand in their query's history where that is taken out.
        confidence: Of the intervals; differences are called significant at 1 - confidence.
        n_tests: Tests that the p-values are corrected for.
        test: How they were found: "permutation" or "bootstrap".
    """

    runs: tuple[ComparedRun, ...]
    reference: str
    metrics: tuple[str, ...]
    primary: str
    data: Ingredient
    split: Ingredient
    protocol: Ingredient
    metric_version: int | str
    split_report: dict[str, Any]
    n_queries: int
    n_users: int
    n_targets: int
    confidence: float
    cold_target_share: float | None
    masked_target_share: float | None
    n_tests: int
    test: TestMethod = "permutation"

    @property
    def sorted_runs(self) -> list[ComparedRun]:
        """The runs, the best by `primary` first."""
        sign = 1.0 if better(self.primary) == "less" else -1.0
        return sorted(self.runs, key=lambda run: sign * run.figures[self.primary].value)

    @property
    def all_metrics(self) -> list[str]:
        """Every metric at a cutoff that all the runs have, tested or not."""
        known = [name for name in self.runs[0].figures if AT_CUTOFF.match(name)]
        return [name for name in known if all(name in run.figures for run in self.runs)]

    @property
    def families(self) -> list[str]:
        """The metrics without their cutoffs."""
        return list(dict.fromkeys(name.rpartition("@")[0] for name in self.all_metrics))

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can say it."""
        runs = [asdict(run) | {"folder": str(run.folder)} for run in self.runs]
        return asdict(self) | {"runs": runs}


def compare(
    records: Sequence[RunRecord],
    *,
    reference: str | None = None,
    metrics: Sequence[str] | None = None,
    test: TestMethod = "permutation",
    seed: int = 0,
) -> Comparison:
    """Compare runs by their test results, query by query, with a reference run.

    Args:
        records: Runs of the same data, split and protocol.
        reference: Label, model name or folder of the run to test the others against; the first one by default.
        metrics: Metrics to test, such as "ndcg@10"; by default those of `TESTED` that the runs share, at their
            middle cutoff.
        test: How p-values are found; see `paired_test`.
        seed: Of the bootstrap and the paired test.

    Raises:
        DataError: If the runs may not be compared, one is given twice, or `reference` or `metrics` fit nothing.
    """
    check_comparable(records)
    labels = run_labels(records)
    base = find_reference(records, labels, reference)
    names = choose_metrics(records, metrics)
    queries = per_query_results(records[base], names)
    identity = records[base].identity
    confidence = float(identity.protocol.settings.get("confidence", 0.95))
    others = {
        label: record for row, (record, label) in enumerate(zip(records, labels, strict=True)) if row != base
    }
    tests = _tests(others, records[base], queries, names, confidence=confidence, method=test, seed=seed)
    adjusted = _adjust(tests)
    runs = [
        _compared_run(record, label, settings, tests.get(label, {}), adjusted, alpha=round(1 - confidence, 12))
        for record, label, settings in zip(records, labels, differing_settings(records), strict=True)
    ]
    return Comparison(
        runs=tuple(_mark_best(runs)),
        reference=labels[base],
        metrics=names,
        primary=primary_of(names),
        data=identity.data,
        split=identity.split,
        protocol=identity.protocol,
        metric_version=identity.metric_version,
        split_report=records[base].split_report,
        n_queries=len(queries),
        n_users=_count_users(queries["user"]),
        n_targets=int(queries["n_targets"].sum()),
        cold_target_share=records[base].metrics.get(f"{PART}/cold_targets"),
        masked_target_share=records[base].metrics.get(f"{PART}/masked_targets"),
        confidence=confidence,
        n_tests=len(adjusted),
        test=test,
    )


def best_by_validation(records: Sequence[RunRecord], metric: str) -> RunRecord:
    """Return the run with the highest validation metric ("ndcg@10"), the first of equals.

    Test results are not looked at: chosen by them, the best run's test figures would promise too much.

    Raises:
        DataError: If the runs may not be compared, or one has no such metric.
    """
    check_comparable(records)
    return max(records, key=lambda record: validation_metric(record, metric))


def validation_metric(record: RunRecord, metric: str) -> float:
    """Return a validation metric ("ndcg@10", "validation/ndcg@10") of a run.

    Raises:
        DataError: If the run has none of that name.
    """
    name = f"validation/{metric.removeprefix('validation/')}"
    if name not in record.metrics:
        known = ", ".join(key for key in record.metrics if key.startswith("validation/")) or "none"
        raise DataError(f"{record.folder} has no metric {name}; it has {known}")
    return record.metrics[name]


def _count_users(users: "pd.Series[int]") -> int:
    """Count distinct users, each unknown one (-1) as one of its own."""
    return int(users[users >= 0].nunique() + (users < 0).sum())


def _tests(
    others: Mapping[str, RunRecord],
    base: RunRecord,
    expected: pd.DataFrame,
    names: Sequence[str],
    *,
    confidence: float,
    method: TestMethod,
    seed: int,
) -> dict[str, dict[str, PairedTest]]:
    """Test runs, by label, against the reference `base`, of which `expected` are the results query by query."""
    if not others:
        return {}
    differences = [
        _same_queries(record, base, expected, names)[list(names)].to_numpy(np.float64)
        - expected[list(names)].to_numpy(np.float64)
        for record in others.values()
    ]
    tests = paired_tests(
        np.column_stack(differences),
        expected["user"].to_numpy(np.int64),
        seed=seed,
        method=method,
        n_bootstrap=int(base.identity.protocol.settings.get("n_bootstrap", 1000)),
        confidence=confidence,
    )
    rows = [tests[start : start + len(names)] for start in range(0, len(tests), len(names))]
    return {label: dict(zip(names, row, strict=True)) for label, row in zip(others, rows, strict=True)}


def _same_queries(
    record: RunRecord, base: RunRecord, expected: pd.DataFrame, names: Sequence[str]
) -> pd.DataFrame:
    """Return a run's results query by query, once it is sure that the queries are those of `expected`."""
    table = per_query_results(record, names)
    for column in QUERY_COLUMNS:
        if not np.array_equal(table[column], expected[column]):
            raise DataError(
                f"the per-query results of {record.folder} and {base.folder} are not of the same queries: the "
                f"column {column!r} differs; one of the two was changed after its run, so run it again"
            )
    return table


def _adjust(tests: Mapping[str, Mapping[str, PairedTest]]) -> dict[tuple[str, str], float]:
    """Correct the p-values for all the tests together; the keys are (label, metric)."""
    keys = [(label, name) for label, by_name in tests.items() for name in by_name]
    p_values = holm([tests[label][name].p_value for label, name in keys])
    return dict(zip(keys, p_values.tolist(), strict=True))


def _compared_run(
    record: RunRecord,
    label: str,
    settings: dict[str, Any],
    tests: Mapping[str, PairedTest],
    adjusted: Mapping[tuple[str, str], float],
    *,
    alpha: float,
) -> ComparedRun:
    intervals = record.intervals
    figures = {}
    for key, value in record.metrics.items():
        part, _, name = key.partition("/")
        if part != PART or not (AT_CUTOFF.match(name) or name in WHOLE_METRICS):
            continue
        figure = Figure(value, intervals.get(key), better=better(name))
        if name in tests:
            figure = replace(
                figure,
                difference=tests[name].difference,
                difference_interval=tests[name].interval,
                p_value=tests[name].p_value,
                adjusted_p_value=adjusted[label, name],
                significant=adjusted[label, name] < alpha,
                effect_size=tests[name].effect_size,
                detectable=detectable_difference(tests[name].standard_error, confidence=1 - alpha),
            )
        figures[name] = figure
    return ComparedRun(
        label=label,
        folder=record.folder,
        model=record.identity.model,
        settings=settings,
        seed=record.identity.seed,
        figures=figures,
        metrics=record.metrics,
        provenance={key: record.record.get(key) for key in _PROVENANCE},
        trials=record.trials,
    )


def _mark_best(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """Mark, of each metric of which more or less is better, the best value among several runs."""
    if len(runs) == 1:
        return list(runs)
    best: dict[str, float] = {}
    for run in runs:
        for name, figure in run.figures.items():
            choose = min if better(name) == "less" else max
            best[name] = choose(figure.value, best.get(name, figure.value))
    return [
        replace(
            run,
            figures={
                name: replace(figure, best=better(name) != "neither" and figure.value == best[name])
                for name, figure in run.figures.items()
            },
        )
        for run in runs
    ]
