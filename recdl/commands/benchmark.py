"""Train several models on one log, and compare them."""

import multiprocessing
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recdl
from recdl.commands.application import INTERRUPTED, added_folder, complain, exit_with_status
from recdl.commands.compare import Shown, print_comparison
from recdl.commands.train import record_run
from recdl.config import BenchmarkSettings, build, compose
from recdl.data.preparation import prepare
from recdl.errors import ConfigError, RecdlError, RecordError
from recdl.evaluation.records import RunRecord
from recdl.signatures import checked_settings
from recdl.storage import fingerprint

_SHARED = ("data", "split", "trainer", "tracking", "evaluation", "refit", "seed")


def benchmark(config: Mapping[str, Any]) -> None:
    """Train each of `models`, compare those that were finished, and say where everything lies.

    Runs that are whole, of the same settings, data and version, are used again.

    Args:
        config: As `recdl.config.compose("benchmark", ...)` gives it.

    Raises:
        RecdlError: If a model could not be trained; the others are compared before.
    """
    settings = checked_settings(BenchmarkSettings, config)
    if len(set(settings.models)) < len(settings.models):
        raise ConfigError(f"models: names one twice: {', '.join(settings.models)}")
    folder = Path(settings.run_dir) if settings.run_dir else _folder(config)
    points = {name: _point(config, name, folder / name) for name in settings.models}
    log = prepare(
        build(settings.data, group="data"),
        Path(settings.prepared_root),
        engine=build(settings.engine, group="engine"),
        progress=settings.progress,
    )
    records, failed = [], []
    for name, point in points.items():
        record = None if settings.overwrite else _finished(folder / name, point, data=log.fingerprint)
        try:
            print(f"{name}: {'training' if record is None else 'finished before, used again'}", flush=True)
            records.append(record or _train_apart(point))
        except RecdlError as error:
            complain(error)
            failed.append(name)
        except (KeyboardInterrupt, SystemExit):
            if records:
                kept = ", ".join(record.identity.model for record in records)
                print(f"finished, and used again by the same command: {kept} (in {folder})", file=sys.stderr)
            raise
    if records:
        print_comparison(records, Shown(), folder / "comparison")
        print(f"runs: {folder}")
    if failed:
        raise RecordError(f"no run of {', '.join(failed)}, see above; the others are kept and used again")


def _folder(config: Mapping[str, Any]) -> Path:
    key = fingerprint({name: config[name] for name in _SHARED})
    return Path("runs", f"benchmark-{config['data']['name']}-{key[:12]}")


def _point(config: Mapping[str, Any], model: str, folder: Path) -> dict[str, Any]:
    """Return the configuration of `train` for one of the models."""
    node = compose("train", [f"model={model}"], folder=added_folder())["model"]
    own = {
        "model": node,
        "names": {**config["names"], "model": model},
        "start_from": [],
        "run_dir": str(folder),
        "overwrite": True,
        "progress": False,  # the log is prepared, and was shown, already
    }
    return {**{key: value for key, value in config.items() if key != "models"}, **own}


def _finished(folder: Path, point: Mapping[str, Any], *, data: str) -> RunRecord | None:
    try:
        record = RunRecord.open(folder)
    except RecordError:
        return None
    keys = (*_SHARED, "model")
    same = (
        all(record.config.get(key) == point[key] for key in keys)
        and record.identity.data.fingerprint == data
        and record.record["versions"]["recdl"] == recdl.__version__
    )
    return record if same else None


def _train_apart(point: Mapping[str, Any]) -> RunRecord:
    """Train in a process of its own: its memory is the model's alone, in the record and on the machine."""
    process = multiprocessing.get_context("spawn").Process(target=_train_here, args=(point,))
    process.start()
    try:
        process.join()
    finally:
        process.terminate()  # interrupted, nothing is to go on behind the user's back
        process.join()
    if process.exitcode == INTERRUPTED:
        raise KeyboardInterrupt
    if process.exitcode:
        status = f"its process ended with status {process.exitcode}; was there memory enough?"
        reason = "see above" if process.exitcode == 1 else status
        raise RecordError(f"{point['names']['model']} was not trained: {reason}")
    return RunRecord.open(Path(point["run_dir"]))


def _train_here(point: Mapping[str, Any]) -> None:
    exit_with_status(lambda: record_run(point))
