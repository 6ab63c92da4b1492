"""Runs that differ in nothing but their seed, as one: means, how far seeds lie apart, and a test that knows of it.

A test on queries alone takes a model's seed for part of the model: on many queries it calls two seeds of one model
different. Here both are drawn: users, and the seeds of either side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from recdl.errors import DataError
from recdl.evaluation.comparability import check_comparable
from recdl.evaluation.labels import run_labels, without_seed
from recdl.evaluation.records import RunRecord
from recdl.evaluation.results import PART, choose_metrics, find_reference, per_query_results
from recdl.evaluation.significance import holm, standard_error

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeedFigure:
    """One metric of a model over its seeds.

    Attributes:
        mean: Of the seeds' figures.
        by_seed: Each of them.
        deviation: Their standard deviation; None of a single one.
        difference: `mean` less that of the reference; None of the reference itself.
        interval: Of the difference, users and seeds being drawn.
        p_value: That the difference is zero, two-sided.
        adjusted_p_value: The same, corrected (Holm) for all the tests made together.
        significant: Whether that is below 1 - confidence.
    """

    mean: float
    by_seed: tuple[float, ...]
    deviation: float | None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    adjusted_p_value: float | None = None
    significant: bool = False


@dataclass(frozen=True)
class SeedGroup:
    """The runs of one model and one choice of settings.

    Attributes:
        label: Distinct within the comparison.
        seeds: Of the runs.
        trials: Settings tried before these were chosen.
        figures: By metric.
    """

    label: str
    seeds: tuple[int, ...]
    trials: int
    figures: dict[str, SeedFigure]


@dataclass(frozen=True)
class SeedComparison:
    """Models with several seeds each, on the same queries.

    Attributes:
        groups: In the order given.
        reference: Label of the one that the others are tested against.
        metrics: What is tested.
        confidence: Of the intervals.
        n_tests: Tests that the p-values are corrected for.
    """

    groups: tuple[SeedGroup, ...]
    reference: str
    metrics: tuple[str, ...]
    confidence: float
    n_tests: int

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can say it."""
        return asdict(self)


@dataclass(frozen=True)
class SeedTest:
    """A difference between two models over users and seeds.

    Attributes:
        difference: Mean of the first less mean of the second.
        interval: Of the difference.
        p_value: Two-sided, of no difference.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float


def by_seed(records: Sequence[RunRecord]) -> list[list[RunRecord]] | None:
    """Return the runs in groups that differ in nothing but the seed; None if no group has several seeds."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(without_seed(record), []).append(record)
    found = list(groups.values())
    several = any(len({record.identity.seed for record in group}) > 1 for group in found)
    return found if several else None


def seed_test(a: Values, b: Values, clusters: npt.NDArray[np.integer], *, confidence: float = 0.95) -> SeedTest:
    """Compare two models by the results of several seeds each, users and seeds being drawn independently.

    The difference of the two means over seeds and queries has the variance s^2 + v_a / n_a + v_b / n_b: s is the
    standard error of the mean over queries of the differences between the seeds' means (clusters are drawn), v the
    variance of the seeds' figures about their mean, n the number of seeds. Its ratio to the root of that is
    compared with Student's t, the degrees of freedom by Satterthwaite's formula. What a seed does to single
    queries is counted in both s and v: the test errs, little, on the side of no difference. A side with one seed
    tells nothing of v; its model is then taken as it is.

    Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bulletin 1946;
    Bouthillier et al., "Accounting for variance in machine learning benchmarks", MLSys 2021.

    Args:
        a: (n_seeds, n_queries) float64, one metric of the first model.
        b: (n_seeds of its own, n_queries), the same of the second, query by query.
        clusters: (n_queries,) integers; see `recdl.evaluation.significance`.
        confidence: Of the interval.

    Raises:
        DataError: If the two do not have as many queries.
    """
    if a.shape[1] != b.shape[1]:
        raise DataError(f"one model has {a.shape[1]} queries, the other {b.shape[1]}; the same are needed")
    differences = a.mean(axis=0) - b.mean(axis=0)
    difference = float(differences.mean())
    n_clusters = len(np.unique(clusters[clusters >= 0])) + int((clusters < 0).sum())
    parts = [(standard_error(differences, clusters) ** 2, n_clusters - 1)]
    parts += [
        (float(side.mean(axis=1).var(ddof=1)) / len(side), len(side) - 1) for side in (a, b) if len(side) > 1
    ]
    variance = sum(part for part, _ in parts)
    if variance <= 0.0:  # nothing varies: either there is no difference, or it is certain
        return SeedTest(difference, (difference, difference), 1.0 if difference == 0 else 0.0)
    degrees = variance**2 / sum(part**2 / n for part, n in parts if n > 0)
    error = math.sqrt(variance)
    width = float(student.ppf((1.0 + confidence) / 2.0, degrees)) * error
    p_value = 2.0 * float(student.sf(abs(difference) / error, degrees))
    return SeedTest(difference, (difference - width, difference + width), p_value)


def compare_seeds(
    groups: Sequence[Sequence[RunRecord]],
    *,
    reference: str | None = None,
    metrics: Sequence[str] | None = None,
) -> SeedComparison:
    """Compare models by the means over their seeds.

    Args:
        groups: As `by_seed` gives them.
        reference: Label, model name or folder of a run of the reference; the first group by default.
        metrics: As in `compare`.

    Raises:
        DataError: As in `compare`, and if a group has a seed twice.
    """
    records = [record for group in groups for record in group]
    check_comparable(records)
    labels = run_labels([group[0] for group in groups], without=("seed",))
    for group, label in zip(groups, labels, strict=True):
        given = [record.identity.seed for record in group]
        if len(set(given)) < len(given):
            raise DataError(f"{label} has a seed twice: {', '.join(map(str, given))}; give each run once")
    base = _find_group(groups, labels, reference)
    names = choose_metrics(records, metrics)
    confidence = float(records[0].identity.protocol.settings.get("confidence", 0.95))
    clusters = per_query_results(groups[base][0], ())["user"].to_numpy(np.int64)
    values = [_values(group, names, clusters) for group in groups]
    tests = {
        (row, name): seed_test(own[name], values[base][name], clusters, confidence=confidence)
        for row, own in enumerate(values)
        if row != base
        for name in names
    }
    adjusted = dict(zip(tests, holm([test.p_value for test in tests.values()]).tolist(), strict=True))
    found = []
    for row, (group, label) in enumerate(zip(groups, labels, strict=True)):
        figures = {name: _figure(values[row][name]) for name in names}
        if row != base:
            alpha = round(1 - confidence, 12)
            figures = {
                name: _tested(figure, tests[row, name], adjusted[row, name], alpha)
                for name, figure in figures.items()
            }
        seeds = tuple(record.identity.seed for record in group)
        found.append(SeedGroup(label, seeds, max(record.trials for record in group), figures))
    return SeedComparison(tuple(found), labels[base], names, confidence, len(tests))


def _find_group(groups: Sequence[Sequence[RunRecord]], labels: Sequence[str], reference: str | None) -> int:
    """Return the place of the group that the reference, its label or one of its runs, names."""
    by_run = iter(run_labels([record for group in groups for record in group]))
    for row, group in enumerate(groups):
        if any(reference in (str(record.folder), next(by_run)) for record in group):
            return row
    return find_reference([group[0] for group in groups], labels, reference)


def _values(
    group: Sequence[RunRecord], names: Sequence[str], clusters: npt.NDArray[np.int64]
) -> Mapping[str, Values]:
    """Return (n_seeds, n_queries) of each metric."""
    tables = [per_query_results(record, names) for record in group]
    for record, table in zip(group, tables, strict=True):
        if not np.array_equal(table["user"], clusters):
            raise DataError(
                f"the per-query results of {PART} in {record.folder} are not of the same queries as the others;"
                " it was changed after its run, so run it again"
            )
    return {name: np.stack([table[name].to_numpy(np.float64) for table in tables]) for name in names}


def _figure(values: Values) -> SeedFigure:
    figures = values.mean(axis=1)
    deviation = float(figures.std(ddof=1)) if len(figures) > 1 else None
    return SeedFigure(float(figures.mean()), tuple(figures.tolist()), deviation)


def _tested(figure: SeedFigure, test: SeedTest, adjusted: float, alpha: float) -> SeedFigure:
    return replace(
        figure,
        difference=test.difference,
        interval=test.interval,
        p_value=test.p_value,
        adjusted_p_value=adjusted,
        significant=adjusted < alpha,
    )
