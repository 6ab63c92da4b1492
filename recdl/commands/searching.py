"""A search for the settings of a model: its folder, its trials, and what they come to."""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recdl.commands.trials import Running, Told, listen, start_trial, stop
from recdl.config import build, build_model, check
from recdl.errors import ConfigError, DataError, RecordError
from recdl.search.settings import SearchSettings
from recdl.search.space import Dimension, Value, check_keys, settings_at, with_settings
from recdl.search.study import STUDY, Proposal, Study
from recdl.search.trials import SearchResult, TrialResult, failures_in_a_row
from recdl.storage import write_json

_CONFIG, _LOCK = "sweep.json", "sweep.lock"
_SHARED = ("data", "split", "evaluation", "trainer", "model", "refit", "seed")
"""What all trials have in common, but for the settings that are searched over."""


def check_space(config: Mapping[str, Any], dimensions: Sequence[Dimension]) -> None:
    """Check, before any work, that every edge of the space is a setting that the run takes.

    Raises:
        ConfigError: If one is not; it names the key.
    """
    check_keys(dimensions, config)
    for dimension in dimensions:
        for value in dimension.edges:
            point = with_settings(config, {dimension.key: value})
            try:
                check(point["model"], group="model")
                check(point["trainer"], group="trainer")
                trainer = build(point["trainer"], group="trainer")
                build_model(point["model"], extras={"trainer": trainer, "seed": config["seed"]})
            except ConfigError as error:
                raise ConfigError(f"sweep.space.{dimension.key} holds {value!r}: {error}") from error


def check_trainer(config: Mapping[str, Any]) -> None:
    """Check that what trials are told apart by is evaluated, and that a trial is one process.

    Raises:
        ConfigError: If not.
    """
    for name in ("devices", "nodes"):
        if config["trainer"][name] > 1:
            raise ConfigError(
                f"trainer.{name}={config['trainer'][name]}: a trial is one process; set sweep.workers"
            )
    monitor, cutoffs = str(config["trainer"]["monitor"]), config["evaluation"].get("cutoffs", [])
    cutoff = monitor.rpartition("@")[2]
    if cutoff not in {str(one) for one in cutoffs}:
        raise ConfigError(
            f"trainer.monitor={monitor} is not evaluated with evaluation.cutoffs={cutoffs}, so that trials cannot"
            " be told apart by it; add its cutoff, or choose another monitor"
        )


def shared_settings(config: Mapping[str, Any], settings: SearchSettings) -> dict[str, Any]:
    """Return what all trials of a search have in common, which a search that goes on must have too."""
    shared = {key: config[key] for key in _SHARED} | {"sweep": dict(settings.decisive())}
    shared["trainer"] = {key: value for key, value in shared["trainer"].items() if key != "progress_bar"}
    return shared


@contextmanager
def held(folder: Path, *, overwrite: bool) -> Iterator[None]:
    """Take the folder for this process alone.

    Raises:
        ConfigError: If another process has it, or it holds something else.
    """
    from filelock import FileLock, Timeout

    if folder.is_file():
        raise ConfigError(f"run_dir={folder} is a file; choose another run_dir")
    theirs = folder.is_dir() and {path.name for path in folder.iterdir()} - {_LOCK, STUDY}
    if theirs and not (folder / _CONFIG).is_file():
        raise ConfigError(f"run_dir={folder} holds files that are no sweep; choose another run_dir")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            if overwrite:
                for path in folder.iterdir():
                    if path.name != _LOCK:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield
    except Timeout as error:
        raise ConfigError(
            f"another process is searching in {folder}; wait for it, or choose another run_dir"
        ) from error


def check_same(folder: Path, shared: Mapping[str, Any], *, log: str | None = None) -> None:
    """Check that the search in the folder, if there is one, is of these settings and log; else write them down.

    Raises:
        ConfigError: If settings differ; it names them.
        DataError: If the log does.
    """
    path = folder / _CONFIG
    if path.exists():
        earlier = _read(path)
        differing = _differing(earlier["settings"], shared)
        if differing:
            raise ConfigError(
                f"the search in {folder} has other settings ({'; '.join(differing)}); give these, or another"
                " run_dir, or overwrite=true to start anew"
            )
        if log not in (None, earlier["log"]):
            raise DataError(
                f"the search in {folder} is of another log (fingerprint {earlier['log'][:12]}, not {log[:12]}): it"
                " has changed since; give another run_dir, or overwrite=true to start anew"
            )
    elif log is not None:
        write_json(path, {"format_version": 1, "log": log, "settings": shared})


def search(
    config: Mapping[str, Any], settings: SearchSettings, dimensions: Sequence[Dimension], folder: Path
) -> tuple[SearchResult, TrialResult]:
    """Run the trials that a folder lacks, and return them all, and the best.

    Args:
        config: Of `train`, with the settings of the model's own file.
        settings: How to search.
        dimensions: What over.
        folder: That is held, and whose search is of these settings.

    Raises:
        RecordError: If no trial was finished, or too many failed in a row.
    """
    study = Study.open(
        folder,
        settings,
        dimensions,
        metric=config["trainer"]["monitor"],
        defaults=settings_at(config, dimensions),
        seed=config["seed"],
    )
    _run_trials(study, config, folder, settings)
    result = study.result()
    if result.best is None:
        raise RecordError(f"no trial of the search in {folder} was finished; {_reason(result)}")
    return result, result.best


def trial_point(
    config: Mapping[str, Any], settings: Mapping[str, Value], run_dir: Path, *, progress: bool
) -> dict[str, Any]:
    """Return the configuration of `train` for some settings of the space."""
    point = with_settings({key: value for key, value in config.items() if key != "sweep"}, settings)
    point |= {"run_dir": str(run_dir), "overwrite": True, "start_from": [], "progress": progress}
    point["trainer"]["progress_bar"] = progress and point["trainer"]["progress_bar"]
    return point


def _run_trials(study: Study, config: Mapping[str, Any], folder: Path, settings: SearchSettings) -> None:
    """Run trials until there are `total`, as many at a time as there are workers."""
    running: dict[int, Running] = {}
    earlier = len(study.result().trials)
    if 0 < earlier < settings.total:
        print(f"going on after {earlier} of {settings.total} trials in {folder}", flush=True)
    try:
        while True:
            while len(running) < settings.workers and (proposal := study.next()) is not None:
                running[proposal.number] = _started(proposal, config, folder, settings)
            if not running:
                return
            for one, told in listen(running, on_epoch=study.report):
                del running[one.number]
                _note(study, one, told)
                if not settings.keep_weights:
                    shutil.rmtree(_trial_folder(folder, one.number) / "checkpoints", ignore_errors=True)
                print(_line(study.result(), one.number, settings.total), flush=True)
            result = study.result()
            if failures_in_a_row(result.trials) >= settings.max_failures:
                raise RecordError(
                    f"the last {settings.max_failures} trials failed, so the search stops; {_reason(result)};"
                    f" what they printed lies in {folder / 'logs'}"
                )
    except (KeyboardInterrupt, SystemExit):
        ended = len(study.result().trials)
        print(f"{ended} of {settings.total} trials are kept; the same command goes on", file=sys.stderr)
        raise
    finally:
        stop(running)


def _started(proposal: Proposal, config: Mapping[str, Any], folder: Path, settings: SearchSettings) -> Running:
    point = trial_point(config, proposal.settings, _trial_folder(folder, proposal.number), progress=False)
    log = folder / "logs" / f"{proposal.number:04}.txt"
    return start_trial(proposal.number, point, log=log, keep_weights=settings.keep_weights)


def _note(study: Study, one: Running, told: Told) -> None:
    """Note in the study how a trial ended."""
    if told.kind == "finished":
        study.finish(one.number, told.value)
    elif told.kind == "pruned":
        study.prune(one.number)
    else:
        study.fail(one.number, told.reason)


def _line(result: SearchResult, number: int, total: int) -> str:
    """Say what a trial came to, and where the search stands."""
    last = next(trial for trial in result.trials if trial.number == number)
    best = result.best
    came_to = {
        "finished": f"{result.metric} {last.value or 0.0:.4f}",
        "pruned": f"ended after {len(last.epochs)} epochs",
        "failed": f"failed: {last.reason}",
    }
    stands = "" if best is None else f"; best {best.value:.4f} (trial {best.number})"
    return f"trial {last.number}: {came_to[last.outcome]}{stands}; {len(result.trials)} of {total}"


def _trial_folder(folder: Path, number: int) -> Path:
    return folder / "trials" / f"{number:04}"


def _reason(result: SearchResult) -> str:
    failed = [trial for trial in result.trials if trial.outcome == "failed"]
    return f"trial {failed[-1].number} failed: {failed[-1].reason}" if failed else "none failed"


def _read(path: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert {"log", "settings"} <= set(read)
    except (OSError, ValueError, AssertionError, TypeError) as error:
        raise RecordError(f"{path} is damaged ({error}); start anew with overwrite=true") from error
    return read


def _differing(earlier: Any, now: Any, key: str = "") -> list[str]:
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        names = dict.fromkeys([*earlier, *now])
        return [
            line
            for name in names
            for line in _differing(earlier.get(name), now.get(name), f"{key}.{name}" if key else name)
        ]
    same = json.dumps(earlier) == json.dumps(now)  # a tuple here is a list there
    return [] if same else [f"{key}={earlier}, not {now}"]
