"""The folder a model is shipped in: weights, vocabularies and a manifest that vouches for both.

A bundle holds no event of the log and nothing that executes. It is written whole or not at all, and read back
before it takes its place. Whatever is read from it later is checked against the manifest first.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import recdl
from recdl.data.prepared import PreparedLog
from recdl.data.vocabulary import Vocabulary
from recdl.errors import ConfigError, DataError, RecordError
from recdl.evaluation.records import RunRecord
from recdl.models.protocol import State
from recdl.serving.card import model_card
from recdl.serving.checkpoints import ModelCheckpoint
from recdl.serving.manifest import CARD, FORMAT, FORMAT_VERSION, MANIFEST, read_manifest, sealed
from recdl.storage import file_fingerprint, whole_file, whole_folder, write_json, write_text

if TYPE_CHECKING:
    from recdl.serving.onnx_model import OnnxModel

WEIGHTS, USERS, ITEMS, CANDIDATES = "weights.safetensors", "users.parquet", "items.parquet", "candidates.parquet"
ONNX = "model.onnx"
_PARTS = ("test/", "validation/")
_SETTINGS = ("trainer", "refit")
"""Beside the model's own; those of the data may name a path."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A shipped model, opened.

    Attributes:
        manifest: What the model is, where it comes from and what it scored (`manifest.json`).
        state: What the model learned, for `set_state`.
        users: Raw ids of the users the model was trained on.
        items: Raw ids of the catalogue.
        candidates: (n_items,) bool, the items that may be recommended: those that the run ranked.
    """

    manifest: dict[str, Any]
    state: State
    users: Vocabulary
    items: Vocabulary
    candidates: npt.NDArray[np.bool_]

    @property
    def model(self) -> dict[str, Any]:
        """The node the model is built from: `_target_` and its settings."""
        node: dict[str, Any] = self.manifest["model"]
        return node

    @property
    def seed(self) -> int:
        """The seed of the run, which the model is built with as it was then."""
        return int(self.manifest["run"]["seed"])

    @property
    def behavior_names(self) -> tuple[str, ...]:
        """The behaviours the model knows, the least committed first."""
        return tuple(self.manifest["behaviors"])

    @property
    def exclude_history(self) -> bool:
        """Whether the model was evaluated with the items of a query's own history taken out."""
        return bool(self.manifest["exclude_history"])

    def check_log(self, log: PreparedLog) -> None:
        """Check that `log` is the one the model was trained on, so that indices mean the same in both.

        Raises:
            DataError: If it is another log, or has changed since.
        """
        data = self.manifest["run"]["data"]
        if log.fingerprint != data["fingerprint"]:
            raise DataError(
                f"the prepared log in {log.folder} is not the one the bundle was trained on ({data['name']}, "
                f"fingerprint {data['fingerprint'][:12]}; this one has {log.fingerprint[:12]}); give that one, "
                "or give the histories in a file"
            )


def check_bundle_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Check that a bundle may be written to `folder`: it is new, empty, or a bundle that may be overwritten.

    Raises:
        ConfigError: If something else lies there, or a bundle that `overwrite` does not release.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"bundle={folder} is a file; choose another folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not _is_bundle(folder):
        raise ConfigError(f"bundle={folder} holds files that are no recdl bundle; choose another folder")
    if not overwrite:
        raise ConfigError(f"bundle={folder} holds a bundle; choose another folder, or give overwrite=true")


def write_bundle(
    folder: Path,
    record: RunRecord,
    log: PreparedLog,
    *,
    candidates: npt.NDArray[np.bool_],
    checkpoint: ModelCheckpoint | None = None,
    onnx: "OnnxModel | None" = None,
    overwrite: bool = False,
) -> Bundle:
    """Write the model of a finished run as a bundle, and return the bundle as it reads.

    Args:
        folder: Where to; whole or absent. An earlier bundle is replaced only once the new one is whole.
        record: The run.
        log: The prepared log the run was trained on.
        candidates: (n_items,) bool, the items that the run ranked.
        checkpoint: What is written in place of what the run kept; None: that.
        onnx: The model as ONNX, to be a part of the bundle.
        overwrite: Whether a bundle at `folder` may be replaced.

    Raises:
        ConfigError: If `folder` is taken.
        DataError: If `log` is not the log of the run.
        RecordError: If the record of the run is damaged.
    """
    check_bundle_folder(folder, overwrite=overwrite)
    folder = folder.resolve()  # "." has no name to put beside it, and a link is to stay one
    assert candidates.dtype == np.bool_ and candidates.shape == (len(log.items),), "one flag an item of the log"
    content = _content(record, log, checkpoint, n_candidates=int(candidates.sum()))
    if onnx is not None:
        content["onnx"] = dict(onnx.about)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    try:
        with whole_folder(folder) as temporary:
            _write_arrays(temporary, record.state() if checkpoint is None else checkpoint.state, log, candidates)
            if onnx is not None:
                (temporary / ONNX).write_bytes(onnx.content)
            manifest = sealed({**content, "files": _files(temporary)})
            write_json(temporary / MANIFEST, manifest)
            write_text(temporary / CARD, model_card(manifest))
            bundle = read_bundle(temporary)
            if folder.exists():
                check_bundle_folder(folder, overwrite=overwrite)
                folder.rename(aside)
    except BaseException:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    if read_manifest(folder)["checksum"] != manifest["checksum"]:
        raise ConfigError(f"another process wrote bundle={folder} at the same time; choose another folder")
    return bundle


def read_bundle(folder: Path) -> Bundle:
    """Open a bundle, having checked every file of it; nothing in it is executed.

    Raises:
        RecordError: If there is none, it is damaged or was changed, or a later recdl wrote it.
    """
    manifest = read_manifest(folder)
    for name in (WEIGHTS, USERS, ITEMS, CANDIDATES, *([ONNX] if manifest.get("onnx") else [])):
        if name not in manifest["files"]:
            raise RecordError(f"{folder / MANIFEST}: files.{name}: is missing; export the bundle again")
    for name, expected in manifest["files"].items():
        _check_file(folder / name, expected)
    users = _load_vocabulary(folder / USERS, n_ids=manifest["n_users"])
    items = _load_vocabulary(folder / ITEMS, n_ids=manifest["n_items"])
    candidates = _load_candidates(folder / CANDIDATES, n_items=len(items))
    return Bundle(manifest, _load_state(folder / WEIGHTS), users, items, candidates)


def _content(
    record: RunRecord, log: PreparedLog, checkpoint: ModelCheckpoint | None, *, n_candidates: int
) -> dict[str, Any]:
    """Return the manifest but for its files: no raw id, no path, and nothing of the machine it was trained on."""
    identity = record.identity
    if log.fingerprint != identity.data.fingerprint:
        raise DataError(
            f"the run in {record.folder} was trained on another log than the one prepared in {log.folder}: "
            f"fingerprint {identity.data.fingerprint[:12]}, not {log.fingerprint[:12]}; give the log of the run"
        )
    try:
        model, exclude_history = record.config["model"], record.config["evaluation"]["exclude_history"]
        versions, finished, run_id = (record.record[key] for key in ("versions", "finished", "run_id"))
    except (KeyError, TypeError) as error:
        raise RecordError(f"the record of the run in {record.folder} is incomplete: it lacks {error}") from error
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "recdl_version": recdl.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model,
        "n_users": len(log.users),
        "n_items": len(log.items),
        "n_candidates": n_candidates,
        "behaviors": list(log.interactions.behavior_names),
        "exclude_history": exclude_history,
        "run": {
            "run_id": run_id,
            "finished": finished,
            "model": identity.model,
            "seed": identity.seed,
            # Only here without its settings: those may name a path.
            "data": {"name": identity.data.name, "fingerprint": identity.data.fingerprint, "settings": {}},
            "split": _plain(identity.split),
            "protocol": _plain(identity.protocol),
            "metric_version": identity.metric_version,
            **_figures(record, checkpoint),
            "versions": versions,
            "git": record.record.get("git"),
            "settings": {name: record.config[name] for name in _SETTINGS if name in record.config},
            "trials": record.trials,
            "checkpoint": None if checkpoint is None else checkpoint.name,
        },
    }


def _figures(record: RunRecord, checkpoint: ModelCheckpoint | None) -> dict[str, Any]:
    """Return the metrics and their intervals: of a checkpoint what its epoch had on validation, which is all."""
    if checkpoint is not None:
        return {"metrics": dict(checkpoint.metrics), "intervals": {}}
    return {
        "metrics": {name: value for name, value in record.metrics.items() if name.startswith(_PARTS)},
        "intervals": {name: list(ends) for name, ends in record.intervals.items()},
    }


def _plain(ingredient: Any) -> dict[str, Any]:
    return {
        "name": ingredient.name,
        "fingerprint": ingredient.fingerprint,
        "settings": dict(ingredient.settings),
    }


def _write_arrays(folder: Path, state: State, log: PreparedLog, candidates: npt.NDArray[np.bool_]) -> None:
    save_file({name: np.asarray(array, order="C") for name, array in state.items()}, folder / WEIGHTS)
    log.users.save(folder / USERS)
    log.items.save(folder / ITEMS)
    with whole_file(folder / CANDIDATES) as temporary:
        pq.write_table(pa.table({"candidate": candidates}), temporary)


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.name: {"sha256": file_fingerprint(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }


def _is_bundle(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def _check_file(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise RecordError(f"{path} is missing, though {MANIFEST} names it; copy or export the bundle again")
    if path.stat().st_size != expected["bytes"] or file_fingerprint(path) != expected["sha256"]:
        raise RecordError(
            f"{path} is damaged or was changed: it is not the file that {MANIFEST} names; "
            "copy or export the bundle again"
        )


def _load_state(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        arrays: dict[str, npt.NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError, KeyError) as error:
        raise RecordError(f"{path} is no readable safetensors file ({error}); export the bundle again") from error
    return arrays


def _load_vocabulary(path: Path, *, n_ids: int) -> Vocabulary:
    try:
        vocabulary = Vocabulary.load(path)
    except AssertionError as error:
        raise RecordError(f"{path} is no vocabulary ({error}); export the bundle again") from error
    if len(vocabulary) != n_ids:
        raise RecordError(f"{path} holds {len(vocabulary)} ids, but {MANIFEST} says {n_ids}")
    return vocabulary


def _load_candidates(path: Path, *, n_items: int) -> npt.NDArray[np.bool_]:
    try:
        column = pq.read_table(path, columns=["candidate"])["candidate"].combine_chunks()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise RecordError(
            f"{path} is no readable list of candidates ({error}); export the bundle again"
        ) from error
    if len(column) != n_items or column.null_count or not pa.types.is_boolean(column.type):
        raise RecordError(f"{path} must hold a boolean for each of the {n_items} items; export the bundle again")
    return np.asarray(column.to_numpy(zero_copy_only=False), np.bool_)
