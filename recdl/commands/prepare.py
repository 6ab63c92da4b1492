"""Turn a log of events into the form that models are trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recdl.config import build
from recdl.data import preparation
from recdl.schemas import PrepareSettings
from recdl.signatures import checked_settings


def prepare(config: Mapping[str, Any]) -> None:
    """Prepare a log, or find it prepared already, and print the folder it lies in.

    Args:
        config: As `recdl.config.compose("prepare", ...)` gives it.

    Raises:
        RecdlError: If the log cannot be prepared; nothing is left then.
    """
    settings = checked_settings(PrepareSettings, config)
    source = build(settings.data, group="data")
    log = preparation.prepare(
        source,
        Path(settings.prepared_root),
        engine=build(settings.engine, group="engine"),
        progress=settings.progress,
    )
    print(log.folder)
