"""Prepared logs to which a later piece is added."""

from pathlib import Path
from typing import Any

from recdl.data.appending import append
from recdl.data.inputs import Piece
from recdl.data.pieces import later_piece
from recdl.data.prepared import PreparedLog
from tests.data.files import HEADER, events

FULL = "user_id,item_id,timestamp,behavior,weight\n"
SECRET = "a key of more than sixteen bytes"
OLD = HEADER + "ann,x,1\nbob,y,2\nann,y,5\n"
NEW = HEADER + "abe,x,4\nann,a,3\nann,y,5\nbob,z,7\n"


def appended(log: PreparedLog, text: str, **said: Any) -> PreparedLog:
    """Append a piece in CSV to a log that was prepared from CSV."""
    path = log.folder.parent.parent / "piece.csv"
    path.write_text(text)
    new_behaviors = said.pop("new_behaviors", ())
    piece = later_piece(log, Piece(path=str(path), **said))
    return append(log, piece, new_behaviors=new_behaviors, progress=False)


def by_user(log: PreparedLog) -> dict[str, list[tuple[Any, ...]]]:
    """The events of each user in their order, by raw ids, with weights."""
    weights = log.interactions.weights
    numbers = [None] * log.interactions.n_events if weights is None else weights.tolist()
    found: dict[str, list[tuple[Any, ...]]] = {}
    for (user, *event), weight in zip(events(log), numbers, strict=True):
        found.setdefault(user, []).append((*event, weight))
    return found


def ids(log: PreparedLog) -> tuple[list[str], list[str]]:
    return log.users.to_arrow().to_pylist(), log.items.to_arrow().to_pylist()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
