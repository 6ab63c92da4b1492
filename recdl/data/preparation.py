"""From a raw log to a prepared one: one plan in Ibis, run in bounded memory on the engine of choice."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console

from recdl.data.attributes import encode_tables
from recdl.data.core import left_without
from recdl.data.engine import writing_errors
from recdl.data.engines.embedded import Embedded
from recdl.data.engines.protocol import Engine, Workspace
from recdl.data.events import Audit, OpenedLog, audit, kept_events, open_log, session_numbers
from recdl.data.forgotten import Forgotten
from recdl.data.interactions import Interactions
from recdl.data.leftovers import remove_leftovers
from recdl.data.masking import Mask, masked_events
from recdl.data.plain import PlainLog, read_plain
from recdl.data.prepared import FORMAT_VERSION, PreparedLog, content_fingerprint, event_counts
from recdl.data.prepared_source import PreparedSource
from recdl.data.reading import Source, as_file, identity
from recdl.data.rewriting import write_arrays
from recdl.data.snapshots import in_files
from recdl.data.sources import FileLog, Filters
from recdl.data.tables import open_tables
from recdl.data.vocabulary import Vocabulary
from recdl.errors import DataError
from recdl.storage import array_file, fingerprint, whole_folder, write_json

if TYPE_CHECKING:
    import ibis

_VERSION = 3  # of the plan: raise it when the same input would be prepared differently
_BATCH = 1 << 20
_Columns = dict[str, tuple[str, type[np.generic]]]  # what an event's columns become: arrays' names and types
_ARRAYS: _Columns = {
    "item": ("items", np.int32),
    "behavior": ("behaviors", np.int8),
    "time": ("timestamps", np.int64),
}
_OPTIONAL: _Columns = {
    "weight": ("weights", np.float32),
    "session": ("sessions", np.int32),
}  # a log may lack these
Stage = Callable[[str], AbstractContextManager[Any]]


def prepare(
    source: Source | PreparedSource, root: Path, *, engine: Engine | None = None, progress: bool = True
) -> PreparedLog:
    """Prepare a log into a folder below `root`, or open it if that was done before.

    The folder is named after the source and a fingerprint of its settings and of the input's content. What is in
    it does not depend on the engine.

    Args:
        source: Where the log comes from and how to read it; one that is prepared already is only opened.
        root: The folder that holds prepared logs.
        engine: What the plan runs on; None: `Embedded()`.
        progress: Whether to show on stderr what is being done (in a terminal) and what was dropped.

    Raises:
        ConfigError: If a package that the source or the engine needs is missing.
        DataError: If the log cannot be read, or nothing of it is left.
        RecordError: If the folder exists and is damaged.
    """
    if isinstance(source, PreparedSource):
        prepared = PreparedLog.open(Path(source.path).expanduser())
        Console(stderr=True, quiet=not progress).print(prepared.summary())
        return prepared
    with in_files(source, root) as log:
        return _prepare(log, root, engine or Embedded(), progress)


def _prepare(source: Source, root: Path, engine: Engine, progress: bool) -> PreparedLog:
    console = Console(stderr=True, quiet=not progress)
    stage = console.status if progress and console.is_terminal else _silent
    with stage("looking at the input"):
        described = {"preparation_version": _VERSION, **identity(source, progress=progress)}
        key = fingerprint(described)
        folder = root / f"{source.name}-{key[:12]}"
    missing = not folder.exists()
    if missing:
        removed = remove_leftovers(root).removed if root.is_dir() else 0
        if removed:
            console.print(f"removed from {root}: what {removed} preparations that were killed had left")
        with writing_errors(folder), whole_folder(folder) as partial:
            head = {"name": source.name, "key": key, **described}
            forgotten = Forgotten.open(root)
            _write(source, partial, head, engine, forgotten, stage)
            if Forgotten.open(root).codes != forgotten.codes:
                raise DataError(f"users were forgotten in {root} while the log was prepared; prepare it again")
    with stage("opening the prepared log"):
        prepared = PreparedLog.open(folder, written_now=missing)
    console.print(prepared.summary())
    return prepared


def _silent(_: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, eq=False)
class _Whole:
    """A log before the filters, and the ids of its users and items by index."""

    interactions: Interactions
    users: pa.Array
    items: pa.Array
    found: Audit


@dataclass(frozen=True)
class _Encoded:
    """Events as `user, item, behavior, time` (integers), and `id, index` of users and items.

    Events have the columns of `_OPTIONAL` too that the log has.
    """

    events: "ibis.Table"
    users: "ibis.Table"
    items: "ibis.Table"


def _write(
    source: Source, folder: Path, head: dict[str, Any], engine: Engine, forgotten: Forgotten, stage: Stage
) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    with stage("opening the input"):
        log = as_file(source, scratch)
        opened = open_log(log, scratch)
        mask = Mask(log.privacy, log.privacy.key(), forgotten)
    with stage(f"reading {opened.label}"):
        plain = read_plain(log, opened, memory=engine.memory) if mask.idle else None
    whole = None if plain is None else _sorted_here(plain, log, opened.label, folder, stage)
    if whole is None:
        del plain
        with engine.workspace(scratch) as work:
            whole = _planned(work, log, opened, mask, folder, stage)
    found = whole.found
    with stage("filtering"):
        interactions, with_users, with_items = _filtered(whole.interactions, folder, log.filters, found)
        _check_left(found, opened.label)
        users, items = _left(whole.users, with_users), _left(whole.items, with_items)
    users.save(folder / "users.parquet")
    items.save(folder / "items.parquet")
    with stage("encoding what is known of users and items"):
        known = encode_tables(
            log, mask, reader=engine.reader, users=users, items=items, folder=folder, scratch=scratch
        )
    shutil.rmtree(scratch)
    counts = {"rows_read": found.rows, "dropped": found.dropped, **event_counts(interactions)}
    manifest = {"format_version": FORMAT_VERSION, **head, "counts": counts, "tables": known}
    if not log.timed:
        manifest["timed"] = False
    if interactions.optional_arrays():
        manifest["optional_arrays"] = list(interactions.optional_arrays())
    if interactions.behavior_weights is not None:
        manifest["behavior_weights"] = dict(zip(found.names, interactions.behavior_weights, strict=True))
    tables = open_tables(folder, manifest, n_users=len(users), n_items=len(items))
    content = content_fingerprint(interactions, users, items, tables)
    write_json(folder / "manifest.json", manifest | {"fingerprint": content})


def _sorted_here(plain: PlainLog, log: FileLog, label: str, folder: Path, stage: Stage) -> _Whole | None:
    """Sort in memory what was read without an engine, and write it, unless it has yet to be filtered.

    Returns:
        None if that takes more memory than the system gives.
    """
    from recdl.data.sorting import sort_events  # it compiles, which is not to be waited for where it is not needed

    found = plain.found
    _check_left(found, label)
    with stage("sorting and writing"):
        try:
            grouped = sort_events(plain.pieces, plain.lengths)
        except MemoryError:
            return None
        interactions = Interactions(
            **grouped._asdict(),
            n_items=len(plain.items),
            behavior_names=found.names,
            behavior_weights=_weights(log, found.names),
        )
        if not log.filters.limited:
            interactions.save(folder)
        found.dropped["duplicate"] = int(plain.lengths.sum()) - interactions.n_events
    return _Whole(interactions, plain.users, plain.items, found)


def _planned(work: Workspace, log: FileLog, opened: OpenedLog, mask: Mask, folder: Path, stage: Stage) -> _Whole:
    """Run the plan on an engine, and write what it gives into a folder."""
    with stage(f"reading {opened.label}"), opened.errors():
        rows = work.read_events("rows", log, opened)
        found = audit(rows, log, opened, fetch=work.fetch, reader=work.reader)
    _check_left(found, opened.label)
    with stage("indexing users and items"):
        events = _masked(work, kept_events(rows, log, found), mask, folder / "scratch", found)
        encoded = _encode(work, events)
        work.drop("rows")
    with stage("sorting and writing"):
        kept = found.rows - sum(found.dropped.values())
        target = folder / "scratch" / "whole" if log.filters.limited else folder
        interactions = _write_arrays(work, encoded, found.names, target, _weights(log, found.names))
        found.dropped["duplicate"] = kept - interactions.n_events
        work.drop("events")  # the ids come in one piece each, and need the room
        users, items = _ids(work, encoded.users), _ids(work, encoded.items)
    return _Whole(interactions, users, items, found)


def _weights(log: FileLog, names: tuple[str, ...]) -> tuple[float, ...] | None:
    """Return what an event of each behaviour counts; None if nothing was said of it."""
    given = log.behavior_weights
    for name in given or ():
        if name not in names and log.named_behaviors is None:
            raise DataError(f"data.behavior_weights: the log has no behaviour {name!r}; it has {', '.join(names)}")
    return None if given is None else tuple(float(given.get(name, 1.0)) for name in names)


def _count(work: Workspace, table: "ibis.Table") -> int:
    return int(work.fetch(table.aggregate(n=table.count()))["n"][0].as_py())


def _masked(work: Workspace, kept: "ibis.Table", mask: Mask, scratch: Path, found: Audit) -> "ibis.Table":
    """Hide what is to be hidden, and drop and count the events of forgotten users."""
    if mask.idle:
        return kept
    masked = work.keep("masked", masked_events(kept, mask, scratch, fetch=work.fetch, load=work.load))
    if mask.forgotten.codes:
        found.dropped["forgotten"] = _count(work, masked.filter(masked.user.isnull()))
        _check_left(found, "the log")
    return masked.filter(masked.user.notnull())


def _encode(work: Workspace, kept: "ibis.Table") -> _Encoded:
    """Number users and items."""
    users = work.keep_numbered("users", kept.select(id=kept.user).distinct(), order="id")
    items = work.keep_numbered("items", kept.select(id=kept.item).distinct(), order="id")
    joined = kept.join(users, kept.user == users.id).join(items, kept.item == items.id)
    optional = {name: kept[name] for name in _optional(kept)}
    events = joined.select(user=users.index, item=items.index, behavior=kept.behavior, time=kept.time, **optional)
    if "session" in optional:
        events = events.mutate(session=session_numbers(events))
    return _Encoded(work.keep("events", events), users, items)


def _optional(events: "ibis.Table") -> list[str]:
    return [name for name in _OPTIONAL if name in events.columns]


def _filtered(
    whole: Interactions, folder: Path, filters: Filters, found: Audit
) -> tuple[Interactions, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Write what passes the filters into a folder, and count the rest; return it, and which users and items.

    Where there are no limits, `whole` lies in the folder already.
    """
    if not filters.limited:
        return whole, np.ones(whole.n_users, np.bool_), np.ones(whole.n_items, np.bool_)
    left = left_without(whole, np.zeros(whole.n_users, np.bool_), filters)
    found.dropped.update(few_events=left.few_events, few_users=left.few_users)
    part = write_arrays(whole, folder, left) if left.users.any() else whole
    return part, left.users, left.items


def _check_left(found: Audit, label: str) -> None:
    if sum(found.dropped.values()) < found.rows:
        return
    reasons = ", ".join(f"{reason} {dropped:,}" for reason, dropped in found.dropped.items() if dropped)
    way_out = "Loosen data.filters, data.start or data.end"
    if max(found.dropped, key=lambda reason: found.dropped[reason]) == "bad_timestamp":
        way_out = "State how the times are written: data.time.format"
    raise DataError(f"{label}: nothing is left of {found.rows:,} rows; dropped: {reasons}. {way_out}")


def _ids(work: Workspace, table: "ibis.Table") -> pa.Array:
    return work.fetch(table.order_by("index").select("id"))["id"].combine_chunks()


def _left(ids: pa.Array, left: npt.NDArray[np.bool_]) -> Vocabulary:
    return Vocabulary(ids if left.all() else ids.filter(pa.array(left)))


def _write_arrays(
    work: Workspace,
    encoded: _Encoded,
    names: tuple[str, ...],
    folder: Path,
    weights: tuple[float, ...] | None,
) -> Interactions:
    """Stream the events, without exact duplicates, into `.npy` files.

    They are sorted by all they hold, so that the order of the input is nothing, and duplicates are neighbours: the
    engine need not look for them.
    """
    folder.mkdir(exist_ok=True)
    events, n_users = encoded.events, _count(work, encoded.users)
    optional = {name: _OPTIONAL[name] for name in _optional(events)}
    arrays = _ARRAYS | optional
    ordered = events.order_by(["user", "time", "behavior", "item", *optional]).select("user", *arrays)
    sizes = np.zeros(n_users, np.int64)
    with ExitStack() as opened:
        appends = {
            column: opened.enter_context(array_file(folder / f"{name}.npy", dtype))
            for column, (name, dtype) in arrays.items()
        }
        for batch in _distinct(work.batches(ordered, rows=_BATCH)):
            first, last = batch["user"][[0, -1]]
            sizes[first : last + 1] += np.bincount(batch["user"] - first)
            for column, append in appends.items():
                append(batch[column])
    assert sizes.all(), "every user has an event"
    np.save(folder / "offsets.npy", np.append(0, np.cumsum(sizes)))
    return Interactions.load(
        folder,
        n_items=_count(work, encoded.items),
        behavior_names=names,
        behavior_weights=weights,
        optional=[name for name, _ in optional.values()],
    )


def _distinct(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Leave out of sorted rows those that are as the row before, be that in the batch before."""
    last: dict[str, Any] = {}
    for batch in batches:
        if not len(batch):
            continue
        columns = {name: batch[name].to_numpy() for name in batch.schema.names}
        same = np.ones(len(batch), np.bool_)
        same[0] = bool(last)
        for name, column in columns.items():
            same[1:] &= column[1:] == column[:-1]
            same[0] &= bool(last) and column[0] == last[name]
        last = {name: column[-1] for name, column in columns.items()}
        if same.any():
            columns = {name: column[~same] for name, column in columns.items()}
        if len(columns["user"]):
            yield columns
