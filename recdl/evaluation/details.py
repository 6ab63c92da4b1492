"""What a report shows beyond the figures: how runs learned, for whom they are good, and what they recommend."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recdl.errors import DataError
from recdl.evaluation.background import Background
from recdl.evaluation.comparison import ComparedRun, Comparison
from recdl.evaluation.exposure import PopularityBias, popularity_bias
from recdl.evaluation.groupings import Grouping, groupings
from recdl.evaluation.learning import LearningCurve, learning_curves
from recdl.evaluation.lists import read_lists
from recdl.evaluation.records import RunRecord
from recdl.evaluation.results import PART
from recdl.evaluation.seeds import SeedComparison
from recdl.evaluation.segments import Segmentation, item_segmentation, user_segmentations
from recdl.evaluation.win_loss import WinLoss, balances, examples


@dataclass(frozen=True)
class LeftOut:
    """A run that a report was asked for and does not show, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Details:
    """What is shown beside a comparison; whatever cannot be shown is empty, and `missing` says why.

    Attributes:
        curves: By label, of the runs that learned by epochs.
        segmentations: The primary metric by segment of users, hits by segment of items.
        bias: What groups of items the lists show.
        win_loss: Two runs user by user; None of a single run.
        missing: Sentences, one for each thing that could not be shown.
        left_out: Runs that are not in the comparison.
        notes: By label, what must be known of a run to read its figures.
        seeds: Models by the means over their seeds; None where no model has several.
        further_seeds: Runs with other seeds than the one that is shown of their model.
        groupings: Figures by groups of users and of items that the runs were evaluated with.
    """

    curves: Mapping[str, LearningCurve] = field(default_factory=dict)
    segmentations: tuple[Segmentation, ...] = ()
    bias: PopularityBias | None = None
    win_loss: WinLoss | None = None
    missing: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seeds: SeedComparison | None = None
    further_seeds: tuple[RunRecord, ...] = ()
    groupings: tuple[Grouping, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything but the examples as JSON can say it."""
        return {
            "learning_curves": {label: asdict(curve) for label, curve in self.curves.items()},
            "segments": [asdict(one) for one in self.segmentations],
            "groups": [asdict(one) for one in self.groupings],
            "seeds": None if self.seeds is None else self.seeds.to_json(),
            "popularity_bias": None if self.bias is None else asdict(self.bias),
            "win_loss": None if self.win_loss is None else self.win_loss.to_json(),
            "missing": list(self.missing),
            "left_out": [asdict(one) for one in self.left_out],
            "notes": {label: list(sentences) for label, sentences in self.notes.items()},
        }


def look_closer(
    comparison: Comparison,
    records: Sequence[RunRecord],
    background: Background | None,
    *,
    pair: Sequence[str] | None = None,
    n_examples: int = 3,
    missing: Sequence[str] = (),
    left_out: Sequence[LeftOut] = (),
    seeds: SeedComparison | None = None,
    further_seeds: Sequence[RunRecord] = (),
) -> Details:
    """Look at the runs of a comparison beyond their figures.

    Args:
        comparison: Of the runs.
        records: Their records.
        background: What their log tells; None leaves out what needs it.
        pair: Labels, model names or folders of the two runs to show user by user; None: the reference and the
            best other.
        n_examples: Queries to show for each of the two, at most; 0: none.
        missing: What could not be had, such as the log, a sentence each.
        left_out: Runs that could not be compared.
        seeds: Models by the means over their seeds.
        further_seeds: Runs with other seeds than the one that the comparison has of their model.

    Raises:
        DataError: If `pair` names no two runs of the comparison.
    """
    by_folder = {record.folder: record for record in records}
    of_runs = {run.label: by_folder[run.folder] for run in comparison.runs}
    told = list(missing)
    columns = ["query", "user", "history_length", comparison.primary]
    tables = {
        label: record.per_query(PART, columns=columns).sort_values("query", ignore_index=True)
        for label, record in of_runs.items()
    }
    k = int(comparison.primary.rpartition("@")[2])
    lists = _lists(of_runs, k, told)
    segmentations = user_segmentations(tables, comparison.primary, comparison.confidence, background)
    bias = None
    if background is not None and lists:
        by_items = item_segmentation(lists, k, comparison.confidence, background)
        segmentations += [] if by_items is None else [by_items]
        bias = popularity_bias(lists, k, background)
    return Details(
        curves=learning_curves(
            {label: record.learning_curve for label, record in of_runs.items()}, comparison.primary
        ),
        segmentations=tuple(segmentations),
        bias=bias,
        win_loss=_win_loss(comparison, tables, lists, background, pair, n_examples),
        missing=tuple(told),
        left_out=tuple(left_out),
        seeds=seeds,
        further_seeds=tuple(further_seeds),
        groupings=tuple(groupings(of_runs, comparison.primary, segmented=bias is not None)),
        notes={label: tuple(notes) for label, record in of_runs.items() if (notes := _notes(record))},
    )


def _notes(record: RunRecord) -> list[str]:
    """Return what a run of given recommendations says of its file."""
    notes: list[str] = (record.config.get("recommendations") or {}).get("notes", [])
    return notes


def _lists(of_runs: Mapping[str, RunRecord], k: int, told: list[str]) -> dict[str, npt.NDArray[np.int32]]:
    """Return the lists of the runs that kept them, and tell of the others."""
    read = {label: read_lists(record.folder, PART) for label, record in of_runs.items()}
    kept = {label: lists for label, lists in read.items() if lists is not None and lists.shape[1] >= k}
    if len(kept) < len(read):
        without = ", ".join(label for label in read if label not in kept)
        told.append(
            f"{without}: kept no lists of {k} items (an earlier version wrote the run), so that what was"
            " recommended is not shown; scripts/evaluate.py evaluates it again and keeps them."
        )
    return kept


def _win_loss(
    comparison: Comparison,
    tables: Mapping[str, pd.DataFrame],
    lists: Mapping[str, npt.NDArray[np.int32]],
    background: Background | None,
    pair: Sequence[str] | None,
    n_examples: int,
) -> WinLoss | None:
    if len(comparison.runs) < 2 and pair is None:
        return None
    first, second = _default_pair(comparison) if pair is None else _named_pair(comparison, pair)
    shown: tuple[Any, Any] = ((), ())
    if background is not None and n_examples and first in lists and second in lists:
        shown = examples(
            (tables[first], tables[second]),
            (lists[first], lists[second]),
            comparison.primary,
            background,
            n=n_examples,
        )
    counted = balances(tables[first], tables[second], comparison.primary)
    return WinLoss(first, second, comparison.primary, counted, *shown)


def _default_pair(comparison: Comparison) -> tuple[str, str]:
    best = next(run for run in comparison.sorted_runs if run.label != comparison.reference)
    return best.label, comparison.reference


def _named_pair(comparison: Comparison, pair: Sequence[str]) -> tuple[str, str]:
    if len(pair) != 2:
        raise DataError(f"pair: name two runs, not {len(pair)}")
    first, second = (_find(comparison.runs, name) for name in pair)
    if first == second:
        raise DataError(f"pair: {pair[0]} and {pair[1]} are the same run; name two")
    return first, second


def _find(runs: Sequence[ComparedRun], name: str) -> str:
    found = [run.label for run in runs if run.label == name]
    found = found or [run.label for run in runs if run.folder == Path(name)]
    found = found or [run.label for run in runs if run.model == name]
    if len(found) != 1:
        what = "is no run" if not found else "are several runs"
        known = ", ".join(run.label for run in runs)
        raise DataError(f"pair: {name} {what} of this comparison; it may be {known}, or the folder of a run")
    return found[0]
