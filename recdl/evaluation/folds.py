"""Runs of several folds in time: compared within each fold, and put side by side over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from recdl.errors import DataError
from recdl.evaluation import wording
from recdl.evaluation.comparison import Comparison, compare
from recdl.evaluation.labels import run_labels
from recdl.evaluation.records import RunRecord
from recdl.evaluation.significance import TestMethod

_FOLD = "fold"


@dataclass(frozen=True)
class FoldedFigure:
    """One metric of one model over the folds.

    Attributes:
        mean: Of the folds' figures, each fold counting alike.
        by_fold: The figure of each fold, in the order of the folds.
        better: Folds in which the model is significantly better than the reference, by the tests of that fold.
        worse: Folds in which it is significantly worse.
    """

    mean: float
    by_fold: tuple[float, ...]
    better: int
    worse: int


@dataclass(frozen=True)
class FoldedComparison:
    """The same models in several folds.

    Attributes:
        folds: The comparison of each fold, by its number, rising. Tests and their correction are each fold's own:
            two folds ask different questions, and their train parts overlap, so that no test over them is made.
        figures: By label of the model, then by metric.
    """

    folds: dict[int, Comparison]
    figures: dict[str, dict[str, FoldedFigure]]

    @property
    def first(self) -> Comparison:
        """The comparison of the earliest fold; what is compared is the same in all."""
        return next(iter(self.folds.values()))

    def to_json(self) -> dict[str, Any]:
        """Return the figures over the folds as JSON can say them."""
        return {
            "folds": list(self.folds),
            "reference": self.first.reference,
            "metrics": list(self.first.metrics),
            "runs": {
                label: {
                    name: {
                        "mean": one.mean,
                        "by_fold": list(one.by_fold),
                        "better": one.better,
                        "worse": one.worse,
                    }
                    for name, one in figures.items()
                }
                for label, figures in self.figures.items()
            },
        }


def by_fold(records: Sequence[RunRecord]) -> dict[int, list[RunRecord]] | None:
    """Return the runs of each fold, where they are of several folds and alike in all else; else None."""
    folds: dict[int, list[RunRecord]] = {}
    kinds = set()
    for record in records:
        identity = record.identity
        settings = dict(identity.split.settings)
        fold = settings.pop(_FOLD, None)
        if not isinstance(fold, int):
            return None
        folds.setdefault(fold, []).append(record)
        shared = (identity.data.fingerprint, identity.protocol.fingerprint, identity.metric_version)
        kinds.add((*shared, identity.split.name, repr(sorted(settings.items()))))
    return dict(sorted(folds.items())) if len(folds) > 1 and len(kinds) == 1 else None


def compare_folds(
    folds: Mapping[int, Sequence[RunRecord]],
    *,
    reference: str | None = None,
    metrics: Sequence[str] | None = None,
    test: TestMethod = "permutation",
) -> FoldedComparison:
    """Compare the runs of each fold with that fold's run of the reference, and take the means over the folds.

    Args:
        folds: As `by_fold` gives them.
        reference: Label, model name or folder of a run; by default the first run of the first fold.
        metrics: As in `compare`.
        test: As in `compare`.

    Raises:
        DataError: If a model has no run in one of the folds, or as in `compare`.
    """
    labels = {fold: run_labels(records) for fold, records in folds.items()}
    wanted = next(iter(labels.values()))
    for fold, names in labels.items():
        missing = sorted(set(wanted) ^ set(names))
        if missing:
            raise DataError(
                f"fold {fold} and fold {next(iter(labels))} are not of the same models: {missing[0]!r} is in one"
                " of them only; give the runs of every fold for each model"
            )
    chosen = wanted[0] if reference is None else _label(folds, labels, reference)
    compared = {
        fold: compare(records, reference=chosen, metrics=metrics, test=test) for fold, records in folds.items()
    }
    figures = {label: _over_folds(label, list(compared.values())) for label in wanted}
    return FoldedComparison(compared, figures)


def folds_table(comparison: FoldedComparison) -> Table:
    """Return the means over the folds for a terminal: a row a model, the best first."""
    first, n = comparison.first, len(comparison.folds)
    numbers = ", ".join(map(str, comparison.folds))
    table = Table(
        title=Text(
            f"mean over folds {numbers} of {first.data.name} ({first.split.name} split), each counting alike"
        ),
        caption=Text(
            "In brackets the lowest and the highest fold; ▲ in how many folds significantly better than"
            f" {first.reference}, ▼ worse, by the tests within each fold."
        ),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("run", overflow="fold")
    shown = [first.primary, *(name for name in first.metrics if name != first.primary)][:4]
    for name in shown:
        table.add_column(Text(wording.metric_name(name)), no_wrap=True)
    for label, figures in sorted(comparison.figures.items(), key=lambda row: -row[1][first.primary].mean):
        cells = []
        for name in shown:
            one = figures[name]
            ends = f"{wording.number(min(one.by_fold))} to {wording.number(max(one.by_fold))}"
            marks = "" if label == first.reference else f"\n▲ {one.better} ▼ {one.worse} of {n}"
            cells.append(Text(f"{wording.number(one.mean)}\n({ends}){marks}"))
        table.add_row(Text(label + ("\n(reference)" if label == first.reference else "")), *cells)
    return table


def _label(folds: Mapping[int, Sequence[RunRecord]], labels: Mapping[int, Sequence[str]], reference: str) -> str:
    """Return the label of a run that is named by its folder; what is no folder stays as it is."""
    for fold, records in folds.items():
        for record, label in zip(records, labels[fold], strict=True):
            if Path(reference).exists() and record.folder.resolve() == Path(reference).resolve():
                return label
    return reference


def _over_folds(label: str, compared: Sequence[Comparison]) -> dict[str, FoldedFigure]:
    runs = [next(run for run in one.runs if run.label == label) for one in compared]
    found = {}
    for name in compared[0].metrics:
        figures = [run.figures[name] for run in runs]
        signs = [np.sign(figure.difference or 0.0) * figure.significant for figure in figures]
        values = tuple(figure.value for figure in figures)
        found[name] = FoldedFigure(float(np.mean(values)), values, signs.count(1.0), signs.count(-1.0))
    return found
