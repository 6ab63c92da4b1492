"""The folder a run leaves: what was run, on what, what came out, and what the model learned."""

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recdl.errors import ConfigError, RecordError
from recdl.evaluation import provenance
from recdl.evaluation.identity import RunIdentity, read_identity
from recdl.evaluation.lists import write_lists
from recdl.evaluation.locks import LOCK, lock_folder
from recdl.evaluation.record_values import number, plain, read_config, read_json, read_mapping
from recdl.models.protocol import State
from recdl.storage import file_fingerprint, fingerprint, whole_file, write_json, write_text

if TYPE_CHECKING:
    from recdl.evaluation.evaluate import Evaluation

FORMAT_VERSION = 1
"""Version of the folder's layout. It rises when an earlier recdl could no longer read it."""

STARTED, RECORD, CONFIG = "started.json", "record.json", "config.yaml"
_METRICS, _INTERVALS, _SPLIT, _CURVE = "metrics.json", "intervals.json", "split.json", "learning_curve.json"
_TRIALS = "trials.json"
_STATE = Path("model", "state.safetensors")


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A finished run.

    Attributes:
        folder: Where it lies.
        record: Run id, identity, library versions, hardware, command line, git state, times (`record.json`).
        metrics: Flat: "test/ndcg@10", "validation/ndcg@10", "time/fit_seconds", "model/n_parameters", ...
        config: The resolved config.
        identity: What the run is a run of.
    """

    folder: Path
    record: dict[str, Any]
    metrics: dict[str, float]
    config: dict[str, Any]
    identity: RunIdentity

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the record of a finished run.

        Raises:
            RecordError: If there is no run at `folder`, it was cut off, is damaged, or a later recdl wrote it.
        """
        if not folder.is_dir():
            raise RecordError(f"there is no run at {folder}: no such folder")
        if not (folder / RECORD).is_file():
            if not (folder / STARTED).is_file():
                raise RecordError(f"{folder} is not the folder of a run: it holds no {RECORD}")
            raise RecordError(
                f"the run in {folder} was cut off, or is still going: it has a {STARTED} but no {RECORD}; "
                f"wait for it, go on with it (train.py resume={folder}), or run it again with run_dir={folder} "
                "overwrite=true"
            )
        record = read_mapping(folder / RECORD)
        if record.get("format_version") != FORMAT_VERSION:
            raise RecordError(
                f"{folder / RECORD} has format version {record.get('format_version')!r}, but this recdl reads "
                f"version {FORMAT_VERSION}; open it with the recdl that wrote it"
            )
        identity = read_identity(folder / RECORD, record)
        return cls(folder, record, read_mapping(folder / _METRICS), read_config(folder / CONFIG), identity)

    @property
    def run_id(self) -> str:
        """Tells this run from every other, wherever its folder is moved or copied to."""
        run_id: str = self.record["run_id"]
        return run_id

    @property
    def trials(self) -> int:
        """Settings that were tried before those of this run were chosen, its own among them; 1 is untuned."""
        path = self.folder / _TRIALS
        return int(read_mapping(path)["trials"] if path.is_file() else self.record.get("trials") or 1)

    def write_trials(self, trials: int) -> None:
        """Note how many settings were tried, once a sweep that this run is a point of has ended."""
        write_json(self.folder / _TRIALS, {"trials": trials})

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Confidence interval of each metric that has one."""
        return {name: (low, high) for name, (low, high) in read_mapping(self.folder / _INTERVALS).items()}

    @property
    def split_report(self) -> dict[str, Any]:
        """What the split's parts hold, whom they leave cold and what they leak."""
        return read_mapping(self.folder / _SPLIT)

    @property
    def learning_curve(self) -> list[dict[str, Any]]:
        """One mapping an epoch; empty for a model that learns in one go."""
        curve: list[dict[str, Any]] = read_json(self.folder / _CURVE)
        return curve

    def groups(self, part: str = "test") -> dict[str, Any]:
        """Return figures by group of users and items, and the gaps between groups; empty if there are none."""
        path = self.folder / "groups" / f"{part}.json"
        return read_mapping(path) if path.is_file() else {}

    def per_query(self, part: str = "test", *, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return one row a query of `part` ("test" or "validation"), metrics in float32; all columns by default.

        Raises:
            RecordError: If the table is missing or damaged.
        """
        path = self._per_query_path(part)
        try:
            return pd.read_parquet(path, engine="pyarrow", columns=None if columns is None else list(columns))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise RecordError(f"{path} is missing or damaged ({error}); run it again") from error

    def per_query_columns(self, part: str = "test") -> list[str]:
        """Return the names of the columns of `per_query(part)`.

        Raises:
            RecordError: If the table is missing or damaged.
        """
        path = self._per_query_path(part)
        try:
            return list(pq.read_schema(path).names)
        except (OSError, pa.ArrowException) as error:
            raise RecordError(f"{path} is missing or damaged ({error}); run it again") from error

    def _per_query_path(self, part: str) -> Path:
        path = self.folder / "per_query" / f"{part}.parquet"
        if not path.exists() and not any(name.startswith(f"{part}/") for name in self.metrics):
            raise RecordError(
                f"the run in {self.folder} was never asked for {part}: it is a trial of a search, which compares"
                " by validation (compare.py sweep=...); name runs that were"
            )
        return path

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return what the model learned.

        Raises:
            RecordError: If the file is missing or damaged.
        """
        path = self.folder / _STATE
        try:
            arrays: dict[str, npt.NDArray[Any]] = load_file(path)
            written = self.record.get("state_sha256")
            if written is not None and file_fingerprint(path) != written:
                raise RecordError(f"{path} is not what the run wrote: its checksum is another; run it again")
        except (OSError, SafetensorError) as error:
            raise RecordError(f"{path} is missing or damaged ({error}); run it again") from error
        return arrays


def check_run_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Check that a run may start in `folder`: it is new, empty, or an earlier run that may be overwritten.

    Raises:
        ConfigError: If something else lies there, or a run that `overwrite` does not release.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"run_dir={folder} is a file; choose another run_dir")
    if not any(folder.iterdir()):
        return
    if not (folder / STARTED).is_file():
        raise ConfigError(f"run_dir={folder} holds files that are no recdl run; choose another run_dir")
    if not overwrite:
        state = "holds a finished run" if (folder / RECORD).is_file() else "holds a run that did not finish (yet)"
        raise ConfigError(
            f"run_dir={folder} {state}; choose another run_dir, or give overwrite=true to replace it"
            + ("" if (folder / RECORD).is_file() else f", or resume={folder} alone to go on with it")
        )


class RunWriter:
    """Fills the folder of a run that is under way. `start` makes one."""

    def __init__(self, folder: Path, started: dict[str, Any]) -> None:
        self.folder = folder
        self._lock = lock_folder(folder)
        self._started = started
        self._clock = time.monotonic()
        self._metrics: dict[str, float] = {}
        self._intervals: dict[str, list[float]] = {}
        self._learned: dict[str, str] = {}

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        config: Mapping[str, Any],
        identity: RunIdentity,
        overwrite: bool = False,
        trials: int | None = None,
        trains: bool = True,
    ) -> Self:
        """Take `folder` for a run and write down what is about to be run.

        An earlier run is removed only once the new one has started; `config` holds plain, resolved values;
        `trials` is how many settings were tried on validation to come to these, where that is known. A run that
        does not train is not gone on with.

        Raises:
            ConfigError: If `folder` is taken, be it by a process that is starting a run in it at this moment, or
                is at work in it, whatever `overwrite` says.
        """
        check_run_folder(folder, overwrite=overwrite)
        if (folder / LOCK).exists():
            lock_folder(folder).release()
        text = OmegaConf.to_yaml(OmegaConf.create(plain(config)))
        started = {
            "format_version": FORMAT_VERSION,
            "run_id": uuid.uuid4().hex,
            "identity": plain(identity),
            "trials": trials,
            "trains": trains,
            "command": provenance.command_line(),
            "git": provenance.git_state(Path.cwd()),
            "versions": provenance.versions(),
            "config_fingerprint": fingerprint(text),
            "started": _now(),
        }
        earlier = _set_aside(folder) if overwrite else None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _create(folder / STARTED, started)
            write_text(folder / CONFIG, text)
        except BaseException:
            _put_back(earlier, folder, run_id=started["run_id"])
            raise
        if earlier is not None:
            shutil.rmtree(earlier)
        return cls(folder, started)

    @classmethod
    def go_on(cls, folder: Path, started: Mapping[str, Any]) -> Self:
        """Take over the folder of a run that was cut off, and note that it is gone on with.

        Args:
            folder: The folder.
            started: What was written down when it started.

        Raises:
            ConfigError: If a process is still at work in it.
        """
        writer = cls(folder, dict(started))
        again = {"at": _now(), "command": provenance.command_line()}
        writer._started["resumed"] = [*started.get("resumed", []), again]
        write_json(folder / STARTED, writer._started)
        return writer

    def write_evaluation(self, part: str, evaluation: "Evaluation") -> None:
        """Write the metrics, intervals, lists and per-query results of one part ("test" or "validation")."""
        self._check_folder()
        self._metrics |= {f"{part}/{name}": number(name, value) for name, value in evaluation.metrics.items()}
        self._intervals |= {
            f"{part}/{name}": [number(name, end) for end in ends] for name, ends in evaluation.intervals.items()
        }
        table = evaluation.per_query
        narrow = {name: np.float32 for name in table.columns if table[name].dtype == np.float64}
        with whole_file(self.folder / "per_query" / f"{part}.parquet") as temporary:
            table.astype(narrow).to_parquet(temporary, engine="pyarrow", compression="zstd", index=False)
        write_lists(self.folder, part, evaluation.lists)
        if evaluation.groups:
            write_json(self.folder / "groups" / f"{part}.json", plain(evaluation.groups))

    def write_state(self, state: State, *, learned: bool = True) -> None:
        """Write what the model learned, of any dtype but text and objects; an empty mapping is a state too.

        Args:
            state: Named arrays.
            learned: Whether their size says something of the model: not where they are lists from a file.
        """
        self._check_folder()
        # Not np.ascontiguousarray, which would make a scalar a row.
        arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
        with whole_file(self.folder / _STATE) as temporary:
            save_file(arrays, temporary)
        self._learned = {"state_sha256": file_fingerprint(self.folder / _STATE)}
        if not learned:
            return
        self._metrics["model/n_parameters"] = sum(a.size for a in arrays.values() if a.dtype.kind == "f")
        self._metrics["model/state_bytes"] = sum(a.nbytes for a in arrays.values())

    def write_split_report(self, report: Mapping[str, Any]) -> None:
        """Write what the split's parts hold and leak."""
        self._check_folder()
        write_json(self.folder / _SPLIT, plain(report))

    def finish(
        self,
        *,
        fit_seconds: float | None,
        learning_curve: Sequence[Mapping[str, Any]] = (),
        metrics: Mapping[str, float] | None = None,
    ) -> RunRecord:
        """Write the rest, `record.json` last of all, and open the record.

        Args:
            fit_seconds: Wall time of `fit`; None of what was not fitted here.
            learning_curve: One mapping an epoch.
            metrics: Further figures for `metrics.json`, such as "time/test_seconds".
        """
        self._check_folder()
        wall_seconds = time.monotonic() - self._clock
        self._metrics["time/wall_seconds"] = wall_seconds
        if fit_seconds is not None:
            self._metrics["time/fit_seconds"] = float(fit_seconds)
        self._metrics |= {name: number(name, value) for name, value in (metrics or {}).items()}
        write_json(self.folder / _METRICS, self._metrics)
        write_json(self.folder / _INTERVALS, self._intervals)
        write_json(self.folder / _CURVE, plain(list(learning_curve)))
        if not (self.folder / _SPLIT).exists():
            write_json(self.folder / _SPLIT, {})
        finished = {
            "hardware": provenance.hardware(),
            "peak_memory": provenance.peak_memory(),
            "wall_seconds": wall_seconds,
            "finished": _now(),
        }
        self._check_folder()
        write_json(self.folder / RECORD, self._started | finished | self._learned)
        (self.folder / LOCK).unlink(missing_ok=True)
        self._lock.release()
        return RunRecord.open(self.folder)

    def _check_folder(self) -> None:
        """Refuse to write into a folder that another run has taken over since: the record would mix two runs."""
        try:
            run_id = read_mapping(self.folder / STARTED).get("run_id")
        except RecordError:
            run_id = None
        if run_id != self._started["run_id"]:
            raise RecordError(f"{self.folder} was removed or taken over by another run; this run cannot go on")


def _create(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that must not be there yet: of two processes only one succeeds."""
    try:
        with path.open("x", encoding="utf-8") as opened:
            opened.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    except FileExistsError:
        raise ConfigError(f"another run is being started in {path.parent}; choose another run_dir") from None


def _set_aside(folder: Path) -> Path | None:
    if not (folder / STARTED).exists():
        return None
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return aside


def _put_back(earlier: Path | None, folder: Path, *, run_id: str) -> None:
    """Undo a start that failed: take away what it made (never another process's) and restore the earlier run."""
    try:
        ours = read_mapping(folder / STARTED).get("run_id") == run_id
    except RecordError:
        ours = False
    if ours:
        shutil.rmtree(folder, ignore_errors=True)
    if earlier is not None and not (folder / STARTED).exists():
        if folder.is_dir():
            folder.rmdir()
        earlier.rename(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
