"""Show what the points of a sweep came to, and name the best by validation."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from recdl.commands.train import deciding_metric
from recdl.errors import DataError, RecordError
from recdl.evaluation.comparison import best_by_validation, validation_metric
from recdl.evaluation.labels import run_labels
from recdl.evaluation.records import RunRecord


def report_sweep(folder: Path) -> None:
    """Print the finished points of a sweep, the best by validation first.

    Raises:
        RecordError: If no point was finished.
    """
    records = finished_points(folder)
    if not records:
        raise RecordError(f"no point of the sweep in {folder} was finished")
    metric = deciding_metric(records[0])
    table = Table(title=f"sweep in {folder}", title_justify="left")
    for column in ("run", "model", f"validation {metric}", f"test {metric}", "fit"):
        table.add_column(column, justify="left" if column in ("run", "model") else "right", overflow="fold")
    labels = dict(zip((record.folder for record in records), run_labels(records), strict=True))
    for record in sorted(records, key=lambda record: -validation_metric(record, metric)):
        table.add_row(
            record.folder.name,
            labels[record.folder],
            f"{validation_metric(record, metric):.4f}",
            f"{record.metrics[f'test/{metric}']:.4f}",
            f"{record.metrics['time/fit_seconds']:.1f} s",
        )
    print()
    Console().print(table)
    try:
        best = best_by_validation(records, metric)
    except DataError as error:  # a sweep over data or splits has no best point
        print(f"no best run: {error}")
    else:
        print(f"best by validation {metric}: {best.folder}")


def finished_points(folder: Path) -> list[RunRecord]:
    """Return the whole records of a sweep's points, in the order of the points; cut-off ones are left out."""
    found = []
    for point in sorted(folder.glob("*/record.json"), key=lambda path: (len(path.parent.name), path.parent.name)):
        try:
            found.append(RunRecord.open(point.parent))
        except RecordError:
            continue
    return found
