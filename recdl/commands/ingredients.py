"""What verbs share: the log and the split of a run, the items that may be recommended, fresh folders."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.commands.clock import stamp
from recdl.config import build, build_model
from recdl.data.interactions import Interactions
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.splits import Split, split_log
from recdl.errors import DataError, RecordError
from recdl.evaluation.protocol import CandidateRule
from recdl.evaluation.records import RunRecord
from recdl.models.protocol import Recommender, State

_USER = "user_id"


def fresh_folder(root: Path, name: str) -> Path:
    """Return a path below `root` where nothing lies yet: `<date>-<time>-<name>`, with a number if need be."""
    folder = root / f"{stamp()}-{name}"
    number = 2
    while folder.exists():
        folder = root / f"{stamp()}-{name}-{number}"
        number += 1
    return folder


def candidates(train: Interactions, rule: CandidateRule) -> npt.NDArray[np.bool_]:
    """Return (n_items,) bool, the items that any model may recommend: those with an event in train, or all."""
    if rule == "catalogue":
        return np.ones(train.n_items, np.bool_)
    mask = np.zeros(train.n_items, np.bool_)
    mask[train.items] = True
    return mask


def check_refit(split: Split) -> None:
    """Raise DataError if the validation part is no part of the log, so that it cannot be learned from."""
    if split.known is None:
        raise DataError(
            "refit: the events of validation are not in the log, only in a file of questions; set refit=false, or"
            " let validation be cut from the log (split.validation=null)"
        )


def learned_from(record: RunRecord, split: Split) -> Interactions:
    """Return what the model that a run has kept was fitted on."""
    if not record.config.get("refit", False):
        return split.train
    check_refit(split)
    assert split.known is not None, "it was checked"
    return split.known()


def find_prepared(root: Path, *, fingerprint: str) -> Path | None:
    """Return the folder below `root` that holds the prepared log with this fingerprint, if one does."""
    for manifest in sorted(root.glob("*/manifest.json")):
        try:
            if json.loads(manifest.read_text(encoding="utf-8")).get("fingerprint") == fingerprint:
                return manifest.parent
        except (OSError, ValueError, AttributeError):
            continue  # not ours to judge: another folder may be the one
    return None


def log_of_run(record: RunRecord, *, prepared: str | None, progress: bool) -> PreparedLog:
    """Open the log that a run was trained on; prepare it again, on the same engine, where it is gone.

    Args:
        record: The run.
        prepared: Folder of the prepared log; None looks where the run had it.
        progress: Whether to show what is being done.

    Raises:
        DataError: If the log is not what it was when the run was trained.
    """
    expected = record.identity.data.fingerprint
    root = Path(_of(record, "prepared_root"))
    folder = Path(prepared) if prepared is not None else find_prepared(root, fingerprint=expected)
    if folder is None:
        node = record.config.get("engine")  # a run of an earlier version has none
        engine = None if node is None else build(node, group="engine")
        log = prepare(build(_of(record, "data"), group="data"), root, engine=engine, progress=progress)
    else:
        log = PreparedLog.open(folder)
    if log.fingerprint != expected:
        raise DataError(
            f"the log in {log.folder} is not the one that the run in {record.folder} was trained on (fingerprint "
            f"{log.fingerprint[:12]}, not {expected[:12]}); give prepared=FOLDER of that one"
        )
    return log


def log_at_hand(record: RunRecord, *, prepared: str | None) -> PreparedLog:
    """Open the log that a run was trained on, if it lies prepared: see `log_of_run`, which prepares it again.

    Raises:
        DataError: If it does not, or is not what it was when the run was trained.
    """
    root = Path(_of(record, "prepared_root"))
    if prepared is None and find_prepared(root, fingerprint=record.identity.data.fingerprint) is None:
        raise DataError(f"it is not in {root}; give prepared=FOLDER of it, or go where it lies")
    return log_of_run(record, prepared=prepared, progress=False)


def split_of_run(record: RunRecord, log: PreparedLog) -> Split:
    """Split a run's log again, as it was split then.

    Raises:
        RecordError: If this version of recdl splits it otherwise.
    """
    split = split_log(build(_of(record, "split"), group="split"), log)
    expected = record.identity.split.fingerprint
    if split.fingerprint != expected:
        raise RecordError(
            f"the split of the run in {record.folder} cannot be made again with this version of recdl (its "
            f"fingerprint is {split.fingerprint[:12]}, not {expected[:12]}); run it again"
        )
    return split


def model_of_run(record: RunRecord, state: State | None = None) -> Recommender:
    """Build a run's model, with what it learned, or with another state of it."""
    trainer = build(_of(record, "trainer"), group="trainer")
    model: Recommender = build_model(
        _of(record, "model"), extras={"trainer": trainer, "seed": record.identity.seed}
    )
    return model.set_state(record.state() if state is None else state)


def read_users(path: Path) -> list[str]:
    """Return the column `user_id` of a CSV or Parquet file, as text.

    Raises:
        DataError: If the file cannot be read, or has no such column.
    """
    try:
        users = _parquet_users(path) if path.suffix.lower() == ".parquet" else _csv_users(path)
    except pa.ArrowException as error:
        raise DataError(f"{path} has no column {_USER!r} of ids as text or whole numbers: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    ids = [user for user in users if user is not None and user.strip()]
    if len(ids) < len(users):
        raise DataError(f"{path}: {len(users) - len(ids):,} rows have no {_USER}; remove them")
    return ids


def _parquet_users(path: Path) -> list[str | None]:
    ids = pq.read_table(path, columns=[_USER])[_USER]
    if not (pa.types.is_integer(ids.type) or pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        raise DataError(
            f"{path} has no column {_USER!r} of ids as text or whole numbers: it is of type {ids.type}"
        )
    found: list[str | None] = ids.cast(pa.string()).to_pylist()
    return found


def _csv_users(path: Path) -> list[str | None]:
    with path.open(encoding="utf-8-sig", newline="") as opened:
        rows = csv.DictReader(opened)
        if _USER not in (rows.fieldnames or ()):
            raise DataError(f"{path} has no column {_USER!r}; its columns are {rows.fieldnames}: rename one")
        return [row[_USER] for row in rows]


def settings_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to show of a configuration's node: all but its target."""
    return {name: value for name, value in node.items() if name != "_target_"}


def _of(record: RunRecord, key: str) -> Any:
    if key not in record.config:
        raise RecordError(f"{record.folder / 'config.yaml'} is damaged: it has no {key}; run it again")
    return record.config[key]
