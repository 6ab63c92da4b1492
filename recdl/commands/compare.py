"""Compare runs: a table, intervals, a paired test, a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recdl.commands.ingredients import fresh_folder
from recdl.commands.recording import console
from recdl.config import CompareSettings
from recdl.evaluation import comparison
from recdl.evaluation.folds import FoldedComparison, by_fold, compare_folds, folds_table
from recdl.evaluation.records import RunRecord
from recdl.evaluation.report import comparison_table, write_comparison
from recdl.signatures import checked_settings
from recdl.storage import write_json


def compare(config: Mapping[str, Any]) -> None:
    """Print a comparison of finished runs, and write it as JSON and as a page.

    Args:
        config: As `recdl.config.compose("compare", ...)` gives it.

    Raises:
        RecdlError: If a run is not whole, or the runs may not be compared.
    """
    settings = checked_settings(CompareSettings, config)
    records = [RunRecord.open(Path(run)) for run in settings.runs]
    output = Path(settings.output) if settings.output else fresh_folder(Path("runs"), "comparison")
    print_comparison(records, reference=settings.reference, metrics=settings.metrics, output=output)


def print_comparison(
    records: Sequence[RunRecord], *, reference: str | None, metrics: Sequence[str] | None, output: Path
) -> None:
    """Compare, print the table, and write the report into `output`; of several folds, for each, and their means.

    Raises:
        DataError: If the runs may not be compared.
    """
    folds = by_fold(records)
    if folds is not None:
        _print_folds(compare_folds(folds, reference=reference, metrics=metrics), output)
        return
    _print(comparison.compare(records, reference=reference, metrics=metrics), output)


def _print(result: comparison.Comparison, output: Path) -> None:
    data, page = write_comparison(result, output)
    shown = console()
    shown.print(comparison_table(result, width=shown.width))
    print(f"report: {page}")
    print(f"figures: {data}")


def _print_folds(result: FoldedComparison, output: Path) -> None:
    for fold, one in result.folds.items():
        print(f"fold {fold}")
        _print(one, output / f"fold-{fold}")
    write_json(output / "folds.json", result.to_json())
    console().print(folds_table(result))
    print(f"figures over the folds: {output / 'folds.json'}")
