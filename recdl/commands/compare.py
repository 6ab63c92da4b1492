"""Compare runs: a table, intervals, a paired test, and a report as a page, Markdown and CSV."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recdl.commands.ingredients import fresh_folder, learned_from, log_at_hand, split_of_run
from recdl.commands.recording import console
from recdl.errors import ConfigError, DataError, RecordError
from recdl.evaluation import comparison, wording
from recdl.evaluation.background import Background, background
from recdl.evaluation.details import LeftOut, look_closer
from recdl.evaluation.folds import FoldedComparison, by_fold, compare_folds, folds_table
from recdl.evaluation.records import STARTED, RunRecord
from recdl.evaluation.report import comparison_table, write_comparison
from recdl.evaluation.seed_words import one_seed, seeds_table
from recdl.evaluation.seeds import SeedComparison, by_seed, compare_seeds
from recdl.evaluation.significance import TestMethod
from recdl.schemas import CompareSettings
from recdl.signatures import checked_settings
from recdl.storage import write_json


@dataclass(frozen=True)
class Shown:
    """What a report shows, beside the figures of its runs.

    Attributes:
        reference: Label, model name or folder of the run that others are tested against; None: the first.
        metrics: What is tested; None: the usual ones at the middle cutoff.
        test: How p-values are found.
        difference: A difference in the main metric of which to say how many queries show it; None: none.
        pair: Two runs to show user by user; None: the reference and the best other.
        examples: Queries to show of each of the two.
        item_name: Column of the table of items that names them; None: one whose name says so.
        prepared: Folder of the prepared log; None: where the runs had it.
        left_out: Runs that could not be had.
        one_seed: Whether of a model with several seeds one run, the first, is shown beside the means over them.
    """

    reference: str | None = None
    metrics: Sequence[str] | None = None
    test: TestMethod = "permutation"
    difference: float | None = None
    pair: tuple[str, str] | None = None
    examples: int = 3
    item_name: str | None = None
    prepared: str | None = None
    left_out: Sequence[LeftOut] = field(default=())
    one_seed: bool = False


def compare(config: Mapping[str, Any]) -> None:
    """Print a comparison of finished runs, and write it as a page, Markdown, CSV and JSON.

    Args:
        config: As `recdl.config.compose("compare", ...)` gives it.

    Raises:
        RecdlError: If a run is not whole, or the runs may not be compared.
    """
    settings = checked_settings(CompareSettings, config)
    if settings.search is not None:
        _show_search(settings)
        return
    if not settings.runs:
        raise ConfigError("runs: must be given: runs/a runs/b; or sweep=FOLDER, of a search")
    records, left_out = _open(settings)
    shown = Shown(
        reference=settings.reference,
        metrics=settings.metrics,
        test=settings.test,
        difference=settings.difference,
        pair=settings.pair,
        examples=settings.examples,
        item_name=settings.item_name,
        prepared=settings.prepared,
        left_out=left_out,
    )
    output = Path(settings.output) if settings.output else fresh_folder(Path("runs"), "comparison")
    print_comparison(records, shown, output)


def _show_search(settings: CompareSettings) -> None:
    """Show a search, of which `runs`, `reference` and `metrics` say nothing."""
    from recdl.commands.searched import show_search

    assert settings.search is not None, "it was asked for"
    for name in ("runs", "reference", "metrics"):
        if getattr(settings, name):
            raise ConfigError(f"{name}: cannot go with a search, whose trials are compared by what decided it")
    show_search(Path(settings.search), output=Path(settings.output) if settings.output else None)


def print_comparison(records: Sequence[RunRecord], shown: Shown, output: Path) -> None:
    """Compare, print the table, and write the report into `output`; of several folds, for each, and their means.

    Raises:
        DataError: If the runs may not be compared.
    """
    folds = by_fold(records)
    if folds is not None:
        result = compare_folds(folds, reference=shown.reference, metrics=shown.metrics, test=shown.test)
        _print_folds(result, folds, shown, output)
        return
    groups = by_seed(records)
    # In the table of all runs each seed is a model of its own.
    single = [group[0] for group in groups] if groups is not None and shown.one_seed else records
    compared = comparison.compare(single, reference=shown.reference, metrics=shown.metrics, test=shown.test)
    seeds = None if groups is None else compare_seeds(groups, reference=shown.reference, metrics=shown.metrics)
    further = [record for record in records if record not in single]
    _print(compared, single, shown, output, seeds, further)
    if seeds is not None:
        write_json(output / "seeds.json", seeds.to_json())
        console().print(seeds_table(seeds))
        print(f"figures over seeds: {output / 'seeds.json'}")


def _open(settings: CompareSettings) -> tuple[list[RunRecord], list[LeftOut]]:
    """Open the runs; those that were cut off are refused, or left out, as the settings say."""
    records: list[RunRecord] = []
    left_out: list[LeftOut] = []
    for run in settings.runs:
        try:
            records.append(RunRecord.open(Path(run)))
        except RecordError as error:
            if settings.unfinished == "refuse" or not (Path(run) / STARTED).is_file():
                hint = "" if settings.unfinished == "leave_out" else "; unfinished=leave_out goes on without it"
                raise RecordError(f"{error}{hint}" if (Path(run) / STARTED).is_file() else str(error)) from error
            print(f"left out: {error}", file=sys.stderr)
            left_out.append(LeftOut(Path(run).name, str(error)))
    if not records:
        raise DataError("no run is left to compare: none of those given was finished")
    return records, left_out


def _print(
    result: comparison.Comparison,
    records: Sequence[RunRecord],
    shown: Shown,
    output: Path,
    seeds: SeedComparison | None = None,
    further_seeds: Sequence[RunRecord] = (),
) -> None:
    known, missing = _background(records[0], shown)
    details = look_closer(
        result,
        records,
        known,
        pair=shown.pair,
        n_examples=shown.examples,
        missing=missing,
        left_out=shown.left_out,
        seeds=seeds,
        further_seeds=further_seeds,
    )
    written = write_comparison(result, output, details)
    printed = console()
    printed.print(comparison_table(result, width=printed.width))
    if seeds is not None and further_seeds:
        print(one_seed(seeds))
    for sentence in wording.queries_needed_for(result, shown.difference):
        print(sentence)
    for sentence in missing:
        print(f"not shown: {sentence}", file=sys.stderr)
    print(f"report: {written.page}")
    print(f"tables: {written.markdown} {written.table}")
    print(f"figures: {written.data}")


def _background(record: RunRecord, shown: Shown) -> tuple[Background | None, list[str]]:
    """Return what the log of the runs tells, or why it tells nothing: a report does without it."""
    try:
        log = log_at_hand(record, prepared=shown.prepared)
        split = split_of_run(record, log)
    except (DataError, RecordError) as error:
        if shown.prepared is not None:
            raise
        return None, [f"segments of items, popularity and examples need the prepared log, and {error}"]
    learned = learned_from(record, split)
    return background(split.test, learned, log.items, name_column=shown.item_name), []


def _print_folds(
    result: FoldedComparison, folds: Mapping[int, Sequence[RunRecord]], shown: Shown, output: Path
) -> None:
    for fold, one in result.folds.items():
        print(f"fold {fold}")
        _print(one, folds[fold], shown, output / f"fold-{fold}")
    write_json(output / "folds.json", result.to_json())
    console().print(folds_table(result))
    print(f"figures over the folds: {output / 'folds.json'}")
