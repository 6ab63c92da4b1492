"""Compare runs: a table, intervals, a paired test, a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recdl.commands.ingredients import fresh_folder
from recdl.commands.recording import console
from recdl.config import CompareSettings
from recdl.evaluation import comparison
from recdl.evaluation.records import RunRecord
from recdl.evaluation.report import comparison_table, write_comparison
from recdl.signatures import checked_settings


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
    """Compare, print the table, and write the report into `output`.

    Raises:
        DataError: If the runs may not be compared.
    """
    result = comparison.compare(records, reference=reference, metrics=metrics)
    data, page = write_comparison(result, output)
    shown = console()
    shown.print(comparison_table(result, width=shown.width))
    print(f"report: {page}")
    print(f"figures: {data}")
