"""Add a later piece of log to a prepared one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recdl.config import build
from recdl.data import appending
from recdl.data.pieces import later_piece
from recdl.data.prepared import PreparedLog
from recdl.schemas import AppendSettings
from recdl.signatures import checked_settings


def append(config: Mapping[str, Any]) -> None:
    """Append to a prepared log, and print the folder of the new one: the old one's where nothing is new.

    Args:
        config: As `recdl.config.compose("append", ...)` gives it.

    Raises:
        RecdlError: If the piece cannot be appended; the log is as it was then, and nothing else is left.
    """
    settings = checked_settings(AppendSettings, config)
    engine = build(settings.engine, group="engine")
    log = PreparedLog.open(Path(settings.prepared))
    grown = appending.append(
        log,
        later_piece(log, settings.data),
        new_behaviors=settings.new_behaviors,
        engine=engine,
        progress=settings.progress,
    )
    print(grown.folder)
