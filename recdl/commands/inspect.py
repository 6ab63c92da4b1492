"""Say what a log is like and what is wrong with it, before training."""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from recdl.commands.ingredients import fresh_folder
from recdl.commands.recording import console
from recdl.config import build
from recdl.data.diagnosis.diagnose import Diagnosis, diagnose
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.evaluation.inspection import findings_table, write_inspection
from recdl.schemas import InspectSettings
from recdl.signatures import checked_settings
from recdl.storage import whole_file


def inspect(config: Mapping[str, Any]) -> None:
    """Print what was found in a log, and write it as JSON and as a page.

    Args:
        config: As `recdl.config.compose("inspect", ...)` gives it.

    Raises:
        RecdlError: If the log cannot be prepared. That it cannot be split is a finding.
    """
    settings = checked_settings(InspectSettings, config)
    source, splitter = build(settings.data, group="data"), build(settings.split, group="split")
    engine = build(settings.engine, group="engine")
    log = prepare(source, Path(settings.prepared_root), engine=engine, progress=settings.progress)
    shown = Console(stderr=True)
    diagnosis = diagnose(
        log,
        splitter,
        order_events=settings.order_events,
        seed=settings.seed,
        now=time.time_ns() // 1000,
        **({"stage": shown.status} if settings.progress and shown.is_terminal else {}),
    )
    output = Path(settings.output) if settings.output else fresh_folder(Path("runs"), "inspection")
    data, page = write_inspection(diagnosis, output)
    console().print(findings_table(diagnosis))
    if settings.suspects is not None:
        _write_suspects(diagnosis, log, Path(settings.suspects))
        print(f"suspects: {settings.suspects}")
    print(f"report: {page}")
    print(f"figures: {data}")


def _write_suspects(diagnosis: Diagnosis, log: PreparedLog, path: Path) -> None:
    """Write the raw ids of bot-like users, one a line below the heading `user_id`."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(["user_id"])
        writer.writerows([user] for user in log.users.ids(diagnosis.bots.suspects))
