"""Search for the settings of a model that are best on validation, train once with them, and test that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recdl.commands.recording import print_summary
from recdl.commands.searched import print_search
from recdl.commands.searching import (
    check_same,
    check_space,
    check_trainer,
    held,
    search,
    shared_settings,
    trial_point,
)
from recdl.commands.train import record_run
from recdl.config import build
from recdl.data.preparation import prepare
from recdl.errors import RecordError
from recdl.evaluation.records import RunRecord
from recdl.schemas import SweepSettings
from recdl.search.space import parse_space
from recdl.search.trials import TrialResult
from recdl.signatures import checked_settings
from recdl.storage import fingerprint


def sweep(config: Mapping[str, Any]) -> None:
    """Search, or go on with the search in the folder, then fit the best once, and show what came out.

    Args:
        config: As `recdl.config.compose("sweep", ...)` gives it.

    Raises:
        RecdlError: If the space is not one of this model, the folder is taken, or no trial came to anything.
    """
    settings = checked_settings(SweepSettings, config)
    dimensions = parse_space(settings.sweep.space)
    check_trainer(config)
    check_space(config, dimensions)
    folder = Path(settings.run_dir) if settings.run_dir else _folder(config, settings)
    with held(folder, overwrite=settings.overwrite):
        shared = shared_settings(config, settings.sweep)
        check_same(folder, shared)
        log = prepare(
            build(settings.data, group="data"),
            Path(settings.prepared_root),
            engine=build(settings.engine, group="engine"),
            progress=settings.progress,
        )
        check_same(folder, shared, log=log.fingerprint)
        result, best = search(config, settings.sweep, dimensions, folder)
        record = _final(config, folder, best, n_trials=len(result.trials), data=log.fingerprint)
    print_search(result, folder, final=record)
    print_summary(record)


def _final(config: Mapping[str, Any], folder: Path, best: TrialResult, *, n_trials: int, data: str) -> RunRecord:
    """Fit the best setting once and test it, unless that was done."""
    point = trial_point(config, best.settings, folder / "best", progress=bool(config["progress"]))
    try:
        record = RunRecord.open(folder / "best")
        same = all(record.config.get(key) == point[key] for key in ("model", "refit", "seed"))
        if same and record.identity.data.fingerprint == data and record.trials == n_trials:
            return record
    except RecordError:
        pass  # there is none yet, or one that was cut off
    print(f"training once with the settings of trial {best.number}, for test", flush=True)
    return record_run(point, trials=n_trials)


def _folder(config: Mapping[str, Any], settings: SweepSettings) -> Path:
    key = fingerprint(shared_settings(config, settings.sweep))
    return Path("runs", f"sweep-{config['data']['name']}-{settings.names.get('sweep', 'own')}-{key[:12]}")
