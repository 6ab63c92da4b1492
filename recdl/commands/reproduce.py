"""Repeat a run from its record, and say what came out otherwise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recdl.commands.ingredients import fresh_folder, log_of_run, split_of_run
from recdl.commands.train import Trial, record_run
from recdl.errors import ConfigError
from recdl.evaluation.records import RunRecord, check_run_folder
from recdl.evaluation.reproduction import check_reproduced, compare_repetition
from recdl.schemas import ReproduceSettings
from recdl.signatures import checked_settings
from recdl.storage import write_json

_PREPARED = "recdl.data.prepared_source.PreparedSource"


def reproduce(config: Mapping[str, Any]) -> None:
    """Run a run again, into a folder of its own, and compare what came out.

    Args:
        config: As `recdl.config.compose("reproduce", ...)` gives it.

    Raises:
        RecdlError: If the run, its log or its split cannot be had again, or a metric differs by more than the
            tolerance; what differs is printed before.
    """
    settings = checked_settings(ReproduceSettings, config)
    then = RunRecord.open(Path(settings.run))
    identity = then.identity
    name = f"{identity.data.name}-{identity.model}-again"
    folder = Path(settings.run_dir) if settings.run_dir else fresh_folder(Path("runs"), name)
    if folder.resolve() == then.folder.resolve():
        raise ConfigError(f"run_dir={folder} is the run itself; choose another folder")
    check_run_folder(folder, overwrite=settings.overwrite)
    log = log_of_run(then, prepared=settings.prepared, progress=settings.progress)
    split_of_run(then, log)
    changes = {
        "run_dir": str(folder),
        "overwrite": settings.overwrite,
        "progress": settings.progress,
        # The very log that was checked, wherever the run had it from.
        "data": {"_target_": _PREPARED, "name": identity.data.name, "path": str(log.folder)},
    }
    tested = any(metric.startswith("test/") for metric in then.metrics)
    trial = None if tested else Trial(after_epoch=lambda _: None, keep_weights=True)
    try:
        now = record_run({**then.config, **changes}, trial=trial, trials=then.trials)
    except ConfigError as error:
        made_by = then.record["versions"]["recdl"]
        raise ConfigError(f"the settings of the run in {then.folder}, of recdl {made_by}: {error}") from error
    found = compare_repetition(then, now)
    write_json(folder / "reproduction.json", {"run": str(then.folder), "run_id": then.run_id, **found.to_json()})
    print(*found.lines(), sep="\n")
    print(f"run record: {folder}")
    check_reproduced(found, tolerance=settings.tolerance)
    print("reproduced, bit for bit" if found.exact else f"reproduced, within tolerance={settings.tolerance:g}")
