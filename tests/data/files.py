"""Raw logs in files, and prepared logs as lists of events."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sources import CsvLog, ParquetLog, Time

HEADER = "user_id,item_id,timestamp\n"
FUNNEL = {"view": ("pv", "click"), "purchase": ("buy",)}
Event = tuple[str, str, str, int]
"""User, item, behaviour, timestamp in microseconds."""


def csv_log(path: Path, text: str | bytes, **settings: Any) -> CsvLog:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CsvLog(**({"name": "log", "path": str(path), "time": Time("s")} | settings))


def prepared(tmp_path: Path, text: str | bytes, **settings: Any) -> PreparedLog:
    return prepare(csv_log(tmp_path / "log.csv", text, **settings), tmp_path / "prepared", progress=False)


def prepared_parquet(tmp_path: Path, columns: dict[str, Any], **settings: Any) -> PreparedLog:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns), path)
    log = ParquetLog(**({"name": "log", "path": str(path)} | settings))
    return prepare(log, tmp_path / "prepared", progress=False)


def events(log: PreparedLog) -> list[Event]:
    """The events in the order in which they lie."""
    inner = log.interactions
    names = inner.behavior_names
    users, items = log.users.ids(inner.users).tolist(), log.items.ids(inner.items).tolist()
    behaviors, times = inner.behaviors.tolist(), inner.timestamps.tolist()
    return [
        (user, item, names[behavior], time)
        for user, item, behavior, time in zip(users, items, behaviors, times, strict=True)
    ]


def dropped(log: PreparedLog) -> dict[str, int]:
    return {reason: n for reason, n in log.manifest["counts"]["dropped"].items() if n}


def left_behind(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []
