"""A prepared log written anew from another, and put in its place."""

import ctypes
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.core import Left, Mask, blocks, kept_events
from recdl.data.interactions import Interactions
from recdl.data.prepared import PreparedLog, content_fingerprint, event_counts
from recdl.data.tables import open_table, open_tables
from recdl.data.vocabulary import Vocabulary
from recdl.storage import array_file, write_json
from recdl.threads import in_threads

_ROWS = 1 << 16  # of a table at a time, and in a group of its file, as preparation writes them
_HERE, _EXCHANGE = -100, 2  # of Linux's renameat2: relative to the working folder; swap the two

UNFINISHED, WHOLE, REPLACED = "rewriting", "rewritten", "replaced"
"""Endings of the hidden folders beside a log: one being filled, one that is whole, the one that it replaced."""


def write_part(log: PreparedLog, folder: Path, left: Left, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Write the part of a log that is left into an empty folder, as preparation would have written it.

    Users and items are numbered anew in the same order, and so are sorted as they were. Memory holds the
    vocabularies and a block of events.

    Args:
        log: The log.
        folder: An empty folder.
        left: What is left of the log; at least one event.
        changes: What the manifest says in place of what it said, or beside it. The counts that follow from the
            content are set anyway.

    Returns:
        The manifest, which was written last.
    """
    interactions = write_arrays(log.interactions, folder, left)
    users = _write_vocabulary(log.users, left.users, folder / "users.parquet")
    items = _write_vocabulary(log.items, left.items, folder / "items.parquet")
    kept = {"user_table": left.users, "item_table": left.items}
    known = dict(log.manifest.get("tables", {}))
    for key in known:
        _write_table(log.folder / f"{key}.parquet", kept[key], folder / f"{key}.parquet")
        known[key] = _table_counts(log, key, kept[key], open_table(folder, key, rows=int(kept[key].sum())))
    manifest = {**log.manifest, **changes, "tables": known}
    manifest["counts"] = {**manifest["counts"], **event_counts(interactions)}
    tables = open_tables(folder, manifest, n_users=len(users), n_items=len(items))
    manifest["fingerprint"] = content_fingerprint(interactions, users, items, tables)
    write_json(folder / "manifest.json", manifest)
    return manifest


def write_arrays(log: Interactions, folder: Path, left: Left) -> Interactions:
    """Write the events that are left into a folder, users and items numbered anew in the same order."""
    numbers = (np.cumsum(left.items) - 1).astype(np.int32)
    offsets = np.zeros(len(left.lengths) + 1, np.int64)
    np.cumsum(left.lengths, out=offsets[1:])
    np.save(folder / "offsets.npy", offsets)
    arrays: dict[str, npt.NDArray[Any]] = {
        name: getattr(log, name) for name in ("items", "behaviors", "timestamps")
    }
    arrays |= log.optional_arrays()
    with ExitStack() as opened:
        appends = {
            name: opened.enter_context(array_file(folder / f"{name}.npy", array.dtype.type, int(offsets[-1])))
            for name, array in arrays.items()
        }
        names, sizes = list(arrays), np.array([array.itemsize for array in arrays.values()], np.float64)
        for block in blocks(log):
            kept = kept_events(log, left.users, left.items, block)

            def write(first: int, last: int, events: slice = block[1], kept: Mask = kept) -> None:
                for name in names[first:last]:
                    part = arrays[name][events][kept]
                    appends[name](numbers[part] if name == "items" else part)

            in_threads(write, sizes)
    return Interactions.load(
        folder,
        n_items=int(left.items.sum()),
        behavior_names=log.behavior_names,
        behavior_weights=log.behavior_weights,
        timed=log.timed,
        optional=list(log.optional_arrays()),
    )


def _write_vocabulary(vocabulary: Vocabulary, kept: Mask, path: Path) -> Vocabulary:
    written = Vocabulary(vocabulary.to_arrow().filter(pa.array(kept)))
    written.save(path)
    return written


def _write_table(source: Path, kept: Mask, path: Path) -> None:
    """Copy the rows of a table that are kept, in groups of the size that preparation writes."""
    with pq.ParquetFile(source, memory_map=True) as opened:
        schema = opened.schema_arrow
        with pq.ParquetWriter(path, schema) as writer:
            waiting, start = pa.Table.from_batches([], schema), 0
            for batch in opened.iter_batches(batch_size=_ROWS):
                rows = batch.filter(pa.array(kept[start : start + len(batch)]))
                start += len(batch)
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([rows], schema)])
                if len(waiting) >= _ROWS:
                    writer.write_table(waiting.slice(0, _ROWS))
                    waiting = waiting.slice(_ROWS)
            if len(waiting):
                writer.write_table(waiting)


def _table_counts(log: PreparedLog, key: str, kept: Mask, written: pa.Table) -> dict[str, Any]:
    """Return what the manifest says of a table, for the rows that are left.

    A row with nothing in it counts as one that the table lacked, as it does when the log is prepared.
    """
    before: dict[str, Any] = log.manifest["tables"][key]
    table = log.tables()[key]
    gone = pa.array(~kept)
    empty = np.ones(int((~kept).sum()), np.bool_)
    for name in table.column_names:
        empty &= np.asarray(pa.chunked_array(table[name]).filter(gone).is_null())
    lacked = min(int(empty.sum()), before["missing"])
    return {
        **before,
        "not_in_the_log": before["not_in_the_log"] + len(empty) - lacked,
        "missing": before["missing"] - lacked,
        "nulls": {name: written[name].null_count for name in written.column_names},
    }


def hidden(folder: Path, ending: str) -> Path:
    """Return the hidden folder beside `folder` with one of this module's endings."""
    return folder.with_name(f".{folder.name}.{ending}")


def replace_folder(folder: Path) -> None:
    """Put the whole new folder beside `folder`, filled under the ending UNFINISHED, in its place.

    Whoever opens the log meanwhile finds the old one or the new one where the system can exchange two folders in
    one step (Linux does). Elsewhere there is a moment in which it finds none; what a process that is killed then
    leaves, `finish_replacing` puts right.
    """
    whole = hidden(folder, WHOLE)
    for path in hidden(folder, UNFINISHED).iterdir():  # the old folder goes: the new one must be on the disk
        with path.open("rb") as written:
            os.fsync(written.fileno())
    hidden(folder, UNFINISHED).rename(whole)
    if not _exchange(whole, folder):
        folder.rename(hidden(folder, REPLACED))
        whole.rename(folder)
    finish_replacing(folder)


def finish_replacing(folder: Path) -> None:
    """Finish, or undo, what a process left that was ended while it wrote `folder` anew.

    Afterwards the folder is the old one or the new one, whole, and nothing lies beside it.
    """
    for ending in (WHOLE, REPLACED):
        if not folder.exists() and hidden(folder, ending).exists():
            hidden(folder, ending).rename(folder)
    for ending in (UNFINISHED, WHOLE, REPLACED):
        if hidden(folder, ending).exists():
            shutil.rmtree(hidden(folder, ending))


def unfinished(root: Path) -> list[Path]:
    """Return the folders below a root whose rewriting was cut off, be they there or not."""
    ends = tuple(f".{ending}" for ending in (UNFINISHED, WHOLE, REPLACED))
    found = {path.name[1:].rpartition(".")[0] for path in root.glob(".*") if path.name.endswith(ends)}
    return [root / name for name in sorted(found)]


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; return False, having done nothing, where that cannot be."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:  # a C library of before 2018
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)
