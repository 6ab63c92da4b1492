"""The configuration of a run that was cut off: what it was started with, and nothing else."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recdl.errors import ConfigError, RecordError

_KEY = "resume"
_FREE = ("progress", "trainer.progress_bar")
"""What changes nothing that a run comes to."""


def asked_to_resume(overrides: Sequence[str]) -> str | None:
    """Return the folder that `resume=FOLDER` names among the overrides of a command line, if it is there."""
    given = [override.partition("=")[2] for override in overrides if override.partition("=")[0] == _KEY]
    return given[-1] if given and given[-1] not in ("", "null") else None


def resumed_config(folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the configuration that a run was started with, to go on with it.

    What else the command line says must be what the run was started with, but for what is shown of progress.

    Raises:
        ConfigError: If there is no such run, it is finished, or an override differs; the differences are named.
        RecordError: If the run is damaged.
    """
    from recdl.evaluation.unfinished import UnfinishedRun  # not before it is known that a run is asked for

    config = UnfinishedRun.open(folder).config
    if "model" not in config:
        raise ConfigError(f"resume={folder}: is a run that trains nothing; start it again")
    differing = []
    for override in overrides:
        key, given = _parsed(override)
        if key == _KEY or key.startswith("hydra"):
            continue
        if key in _FREE:
            _put(config, key, given)
            continue
        if key == "run_dir" and Path(str(given)).resolve() == folder.resolve():
            continue
        then = _value(config, key)
        if then != given:
            differing.append(f"{key} is {then!r} in the run, {given!r} here")
    if differing:
        raise ConfigError(
            f"resume={folder}: a run goes on with the settings that it was started with: {'; '.join(differing)}."
            " Leave them out, or start a run of its own with them"
        )
    return {**config, _KEY: str(folder), "run_dir": str(folder), "overwrite": False}


@contextmanager
def telling_how_to_go_on(folder: Path) -> Iterator[None]:
    """Say how a run can be gone on with, where it is stopped by a signal, a full disk or the like."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, OSError, RecordError):
        print(f"the run is cut off; train.py resume={folder} goes on with it", file=sys.stderr)
        raise


def _parsed(override: str) -> tuple[str, Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
        key = parsed.key_or_group.replace("/", ".")
        return key, None if parsed.is_delete() else parsed.value()
    except HydraException as error:
        raise ConfigError(f"{override}: is no override such as key=value: {error}") from error


def _value(config: dict[str, Any], key: str) -> Any:
    """Return what a run has at a key; of a group, the name of the file that was chosen."""
    value: Any = config.get("names", {}).get(key, config)
    if value is not config:
        return value
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def _put(config: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        config = config[part]
    config[last] = value
    if key == "progress" and "trainer" in config:
        config["trainer"]["progress_bar"] = value
