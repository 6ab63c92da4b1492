"""Show what the points of a grid (`train --multirun`) came to, and name the best by validation."""

from collections.abc import Sequence
from pathlib import Path

from recdl.commands.recording import console, deciding_metric
from recdl.errors import DataError, RecordError
from recdl.evaluation.comparison import best_by_validation
from recdl.evaluation.labels import without_seed
from recdl.evaluation.records import RunRecord
from recdl.evaluation.report import sweep_table


def report_sweep(folder: Path) -> None:
    """Print the finished points of a sweep, the best by validation first.

    Raises:
        RecordError: If no point was finished.
    """
    records = finished_points(folder)
    if not records:
        raise RecordError(f"no point of the sweep in {folder} was finished")
    note_trials(records)
    metric = deciding_metric(records[0])
    try:
        table, best = sweep_table(records, metric), best_by_validation(records, metric)
    except DataError as error:  # a sweep over data, splits or protocols has no best point
        print(f"\nthe {len(records)} runs in {folder} have no best one: {error}")
        return
    print()
    console().print(table)
    print(f"best by validation {metric}: {best.folder}")


def check_finished(folder: Path, n_points: int) -> None:
    """Check that every point of a sweep was finished, of one whose points ran in other processes.

    Raises:
        RecordError: If fewer were.
    """
    n_finished = len(finished_points(folder))
    if n_finished < n_points:
        raise RecordError(
            f"{n_points - n_finished} of {n_points} points of the sweep in {folder} were not finished; what they"
            " printed is where the launcher keeps it (.submitit in that folder, or Ray's own logs)"
        )


def note_trials(records: Sequence[RunRecord]) -> None:
    """Write into each run how many settings of its model the sweep has tried; seeds are no settings."""
    tried: dict[str, set[str]] = {}
    for record in records:
        tried.setdefault(record.identity.model, set()).add(without_seed(record))
    for record in records:
        record.write_trials(max(len(tried[record.identity.model]), record.trials))


def finished_points(folder: Path) -> list[RunRecord]:
    """Return the whole records of a sweep's points, in the order of the points; cut-off ones are left out."""
    found = []
    for point in sorted(folder.glob("*/record.json"), key=lambda path: (len(path.parent.name), path.parent.name)):
        try:
            found.append(RunRecord.open(point.parent))
        except RecordError:
            continue
    return found
