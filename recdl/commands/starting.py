"""Finished runs that a model starts from."""

from collections.abc import Sequence
from pathlib import Path

from recdl.commands.ingredients import model_of_run
from recdl.data.prepared import PreparedLog
from recdl.data.splits import Split
from recdl.errors import ConfigError, DataError
from recdl.evaluation.records import RunRecord
from recdl.models.protocol import Recommender, Startable


def open_starts(folders: Sequence[str], model: Recommender) -> list[RunRecord]:
    """Open the records of the runs that `model` is to start from.

    Raises:
        ConfigError: If such a model starts from nothing, or a run is named twice.
        RecordError: If a run is not there or not whole.
    """
    if folders and not isinstance(model, Startable):
        raise ConfigError(f"start_from: a {type(model).__name__} starts from nothing; remove it")
    if len({Path(folder).resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"start_from: names a run twice: {', '.join(folders)}")
    return [RunRecord.open(Path(folder)) for folder in folders]


def start(model: Recommender, records: Sequence[RunRecord], log: PreparedLog, split: Split) -> None:
    """Let `model` start from what runs on the same train part have learned.

    Raises:
        ConfigError: If the model cannot start from one of them.
        DataError: If a run is of another log or split, or has learned what validation asks for.
    """
    if not records:
        return
    for record in records:
        _check(record, log, split)
    assert isinstance(model, Startable), "it was checked"
    model.start_from({f"start_from={record.folder}": model_of_run(record) for record in records})


def _check(record: RunRecord, log: PreparedLog, split: Split) -> None:
    ours = {"log": log.fingerprint, "split": split.fingerprint}
    theirs = {"log": record.identity.data.fingerprint, "split": record.identity.split.fingerprint}
    for kind, fingerprint in ours.items():
        if theirs[kind] != fingerprint:
            raise DataError(
                f"start_from: the run in {record.folder} is of another {kind} (its fingerprint is"
                f" {theirs[kind][:12]}, not {fingerprint[:12]}), so that its users and items, or its knowledge"
                " of them, differs; name a run of the same data and split"
            )
    if record.config.get("refit", False):
        raise DataError(
            f"start_from: the run in {record.folder} has learned the answers of validation (refit=true), by which"
            " this run is stopped; name a run with refit=false"
        )
