"""Train several models on one log, and compare them."""

import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import recdl
from recdl.commands.application import INTERRUPTED, added_folder, complain, exit_with_status
from recdl.commands.compare import Shown, print_comparison
from recdl.commands.together import check_alone
from recdl.commands.train import record_run
from recdl.config import build, compose
from recdl.data.preparation import prepare
from recdl.errors import ConfigError, RecdlError, RecordError
from recdl.evaluation.details import LeftOut
from recdl.evaluation.records import RunRecord
from recdl.schemas import BenchmarkSettings
from recdl.signatures import checked_settings
from recdl.storage import fingerprint

_SHARED = ("data", "split", "tracking", "evaluation", "refit", "seed")
_OWN = ("model", "trainer")
_MANY = ("models", "overrides", "trials")


def benchmark(config: Mapping[str, Any]) -> None:
    """Train each of `models`, compare those that were finished, and say where everything lies.

    Runs that are whole, of the same settings, data and version, are used again. What kept a model from being
    trained stands in the report.

    Args:
        config: As `recdl.config.compose("benchmark", ...)` gives it.

    Raises:
        RecdlError: If a model could not be trained; the others are compared before.
    """
    settings = checked_settings(BenchmarkSettings, config)
    _check_names(settings)
    check_alone(build(settings.trainer, group="trainer", extras={"folder": None, "tracking": None}))
    folder = Path(settings.run_dir) if settings.run_dir else _folder(config)
    points = {
        name: _point(config, name, (settings.overrides or {}).get(name, ()), folder / name)
        for name in settings.models
    }
    log = prepare(
        build(settings.data, group="data"),
        Path(settings.prepared_root),
        engine=build(settings.engine, group="engine"),
        progress=settings.progress,
    )
    records: list[RunRecord] = []
    failed: list[LeftOut] = []
    for name, point in points.items():
        record = None if settings.overwrite else _finished(folder / name, point, data=log.fingerprint)
        try:
            print(f"{name}: {'training' if record is None else 'finished before, used again'}", flush=True)
            records.append(record or _train_apart(point))
            _note_trials(records[-1], (settings.trials or {}).get(name, 1))
        except RecdlError as error:
            complain(error)
            failed.append(LeftOut(name, str(error)))
        except (KeyboardInterrupt, SystemExit):
            if records:
                kept = ", ".join(record.identity.model for record in records)
                print(f"finished, and used again by the same command: {kept} (in {folder})", file=sys.stderr)
            raise
    if records:
        print_comparison(records, Shown(left_out=failed), folder / "comparison")
        print(f"runs: {folder}")
    if failed:
        names = ", ".join(one.name for one in failed)
        raise RecordError(f"no run of {names}, see above; the others are kept and used again")


def _check_names(settings: BenchmarkSettings) -> None:
    if len(set(settings.models)) < len(settings.models):
        raise ConfigError(f"models: names one twice: {', '.join(settings.models)}")
    own, tried = settings.overrides or {}, settings.trials or {}
    for key, named in (("overrides", own), ("trials", tried)):
        for name in named:
            if name not in settings.models:
                raise ConfigError(f"{key}.{name}: is none of models={','.join(settings.models)}")
    for name, trials in tried.items():
        if trials < 1:
            raise ConfigError(f"trials.{name}: must be at least 1, not {trials}")
    for name, overrides in own.items():
        for override in overrides:
            if not _is_own(override):
                raise ConfigError(
                    f"overrides.{name}: {override} would set this run apart from the others; only settings of"
                    " model and trainer may differ"
                )


def _is_own(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == group or key.startswith((f"{group}.", f"{group}@")) for group in _OWN) and key != "trainer"


def _folder(config: Mapping[str, Any]) -> Path:
    key = fingerprint({name: config[name] for name in (*_SHARED, "trainer")})
    return Path("runs", f"benchmark-{config['data']['name']}-{key[:12]}")


def _point(config: Mapping[str, Any], name: str, overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return the configuration of `train` for one of the models."""
    named = [] if any(override.startswith("model=") for override in overrides) else [f"model={name}"]
    composed = compose("train", [*named, *overrides], folder=added_folder())
    trainer = [override.partition("=")[0].lstrip("+") for override in overrides]
    changed = {key.split(".")[1] for key in trainer if key.startswith("trainer.")}
    own = {
        "model": composed["model"],
        "trainer": {**config["trainer"], **{key: composed["trainer"][key] for key in changed}},
        "names": {**config["names"], "model": name},
        "start_from": [],
        "run_dir": str(folder),
        "overwrite": True,
        "progress": False,  # the log is prepared, and was shown, already
    }
    return {**{key: value for key, value in config.items() if key not in _MANY}, **own}


def _note_trials(record: RunRecord, trials: int) -> None:
    if record.trials != trials:
        record.write_trials(trials)


def _finished(folder: Path, point: Mapping[str, Any], *, data: str) -> RunRecord | None:
    try:
        record = RunRecord.open(folder)
    except RecordError:
        return None
    same = (
        all(record.config.get(key) == point[key] for key in (*_SHARED, *_OWN))
        and record.identity.data.fingerprint == data
        and record.record["versions"]["recdl"] == recdl.__version__
    )
    return record if same else None


def _train_apart(point: Mapping[str, Any]) -> RunRecord:
    """Train in a process of its own: its memory is the model's alone, in the record and on the machine."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train_here, args=(point, sender))
    process.start()
    sender.close()  # the other end is the process's own: it closes when the process ends
    try:
        process.join()
    finally:
        process.terminate()  # interrupted, nothing is to go on behind the user's back
        process.join()
    if process.exitcode == INTERRUPTED:
        raise KeyboardInterrupt
    if process.exitcode:
        raise RecordError(f"{point['names']['model']} was not trained: {_reason(receiver, process.exitcode)}")
    return RunRecord.open(Path(point["run_dir"]))


def _reason(receiver: Connection, status: int) -> str:
    """Return what went wrong in a process that has ended, as it said itself if it could."""
    try:
        if receiver.poll():
            return str(receiver.recv())
    except EOFError:  # it ended without a word
        pass
    return "see above" if status == 1 else f"its process ended with status {status}; was there memory enough?"


def _train_here(point: Mapping[str, Any], sender: Connection) -> None:
    def work() -> None:
        try:
            record_run(point)
        except (RecdlError, OSError) as error:
            sender.send(str(error))
            raise SystemExit(1) from error  # told by the process that waits

    exit_with_status(work)
