"""From a raw log to a prepared one: one plan in Ibis, run in bounded memory on the engine of choice."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from recdl.data.attributes import encode_tables
from recdl.data.engine import writing_errors
from recdl.data.engines.embedded import Embedded
from recdl.data.engines.protocol import Engine, Workspace
from recdl.data.events import Audit, audit, kept_events, open_log, session_numbers
from recdl.data.forgotten import Forgotten
from recdl.data.interactions import Interactions
from recdl.data.masking import Mask, masked_events
from recdl.data.prepared import FORMAT_VERSION, PreparedLog, content_fingerprint, event_counts
from recdl.data.prepared_source import PreparedSource
from recdl.data.reading import Source, as_file, identity
from recdl.data.snapshots import in_files
from recdl.data.sources import FileLog, Filters
from recdl.data.tables import open_tables
from recdl.data.vocabulary import Vocabulary
from recdl.errors import DataError
from recdl.storage import array_file, fingerprint, whole_folder, write_json

if TYPE_CHECKING:
    import ibis

_VERSION = 2  # of the plan: raise it when the same input would be prepared differently
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
    if not folder.exists():
        with writing_errors(folder), whole_folder(folder) as partial:
            head = {"name": source.name, "key": key, **described}
            forgotten = Forgotten.open(root)
            _write(source, partial, head, engine, forgotten, stage)
            if Forgotten.open(root).codes != forgotten.codes:
                raise DataError(f"users were forgotten in {root} while the log was prepared; prepare it again")
    with stage("opening the prepared log"):
        prepared = PreparedLog.open(folder)
    console.print(prepared.summary())
    return prepared


def _silent(_: str) -> AbstractContextManager[None]:
    return nullcontext()


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
    with engine.workspace(scratch) as work:
        with stage(f"reading {opened.label}"), opened.errors():
            rows = work.read_events("rows", log, opened)
            found = audit(rows, log, opened, fetch=work.fetch, reader=work.reader)
        _check_left(found, opened.label)
        with stage("indexing users and items"):
            events = _masked(work, kept_events(rows, log, found), mask, scratch, found)
            encoded = _encode(work, events)
            work.drop("rows")
        kept = _count(work, encoded.events)
        found.dropped["duplicate"] = found.rows - sum(found.dropped.values()) - kept
        with stage("filtering"):
            encoded, found.dropped["few_users"] = _core(work, encoded, log.filters)
        found.dropped["few_events"] = kept - _count(work, encoded.events) - found.dropped["few_users"]
        with stage("sorting and writing"):
            _check_left(found, opened.label)
            interactions = _write_arrays(work, encoded, found.names, folder, _weights(log, found.names))
            users, items = _vocabulary(work, encoded.users), _vocabulary(work, encoded.items)
            users.save(folder / "users.parquet")
            items.save(folder / "items.parquet")
    with stage("encoding what is known of users and items"):
        known = encode_tables(log, mask, users=users, items=items, folder=folder, scratch=scratch)
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
    """Number users and items, and drop exact duplicates."""
    users = work.keep_numbered("users", kept.select(id=kept.user).distinct(), order="id")
    items = work.keep_numbered("items", kept.select(id=kept.item).distinct(), order="id")
    joined = kept.join(users, kept.user == users.id).join(items, kept.item == items.id)
    optional = {name: kept[name] for name in _optional(kept)}
    events = joined.select(user=users.index, item=items.index, behavior=kept.behavior, time=kept.time, **optional)
    if "session" in optional:
        events = events.mutate(session=session_numbers(events))
    return _Encoded(work.keep("events", events.distinct()), users, items)


def _optional(events: "ibis.Table") -> list[str]:
    return [name for name in _OPTIONAL if name in events.columns]


def _core(work: Workspace, encoded: _Encoded, filters: Filters) -> tuple[_Encoded, int]:
    """Keep users and items with enough events, and items with enough users, until that holds for what is left.

    Returns:
        What is left, numbered anew, and the events that fell for their item's few users alone.
    """
    limits = {"user": filters.min_user_events, "item": filters.min_item_events}
    events, names, n_few_users = encoded.events, ["events"], 0
    while True:
        core = events
        for key, limit in limits.items():
            few = _few(work, events, key, limit, name=f"few_{key}_{len(names)}")
            core = core if few is None else core.anti_join(few, key)
        if core is events:  # only now, so that who falls for few events is counted there
            few = _few(work, events, "item", filters.min_item_users, name=f"few_users_{len(names)}", of="user")
            if few is None:
                break
            core = core.anti_join(few, "item")
            n_few_users += _count(work, events) - _count(work, core)
        names.append(f"core_{len(names)}")
        events = work.keep(names[-1], core)
        work.drop(names[-2])
    if len(names) == 1:
        return encoded, n_few_users
    users = work.keep_numbered(
        "users_left", _left(encoded.users, events.select(index=events.user)), order="before"
    )
    items = work.keep_numbered(
        "items_left", _left(encoded.items, events.select(index=events.item)), order="before"
    )
    joined = events.join(users, events.user == users.before).join(items, events.item == items.before)
    same = {name: events[name] for name in ("behavior", "time", *_optional(events))}
    renumbered = joined.select(user=users.index, item=items.index, **same)
    return _Encoded(renumbered, users, items), n_few_users


def _few(
    work: Workspace, events: "ibis.Table", key: str, limit: int, *, name: str, of: str | None = None
) -> "ibis.Table | None":
    """Return the users or items with fewer events, or fewer distinct values of `of`, than `limit`, if any."""
    if limit <= 1:
        return None
    sizes = events.group_by(key).agg(n=events.count() if of is None else events[of].nunique())
    few = work.keep(name, sizes.filter(sizes.n < limit).select(key))
    return few if _count(work, few) else None


def _left(vocabulary: "ibis.Table", used: "ibis.Table") -> "ibis.Table":
    """Return the part of a vocabulary that is used: `id`, and the index `before`."""
    left = vocabulary.semi_join(used.distinct(), "index")
    return left.select("id", before=left.index)


def _check_left(found: Audit, label: str) -> None:
    if sum(found.dropped.values()) < found.rows:
        return
    reasons = ", ".join(f"{reason} {dropped:,}" for reason, dropped in found.dropped.items() if dropped)
    raise DataError(
        f"{label}: nothing is left of {found.rows:,} rows; dropped: {reasons}. "
        "Loosen data.filters, data.start or data.end"
    )


def _vocabulary(work: Workspace, table: "ibis.Table") -> Vocabulary:
    return Vocabulary(work.fetch(table.order_by("index").select("id"))["id"].combine_chunks())


def _write_arrays(
    work: Workspace,
    encoded: _Encoded,
    names: tuple[str, ...],
    folder: Path,
    weights: tuple[float, ...] | None,
) -> Interactions:
    """Stream the events, sorted by all they hold, so that the order of the input is nothing, into `.npy` files."""
    events, n_users = encoded.events, _count(work, encoded.users)
    sizes = work.fetch(events.group_by("user").agg(n=events.count()).order_by("user"))["n"].to_numpy()
    assert len(sizes) == n_users, "every user has an event"
    offsets = np.zeros(n_users + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    np.save(folder / "offsets.npy", offsets)
    length = int(offsets[-1])
    optional = {name: _OPTIONAL[name] for name in _optional(events)}
    arrays = _ARRAYS | optional
    ordered = events.order_by(["user", "time", "behavior", "item", *optional]).select(*arrays)
    with ExitStack() as opened:
        appends = {
            column: opened.enter_context(array_file(folder / f"{name}.npy", dtype, length))
            for column, (name, dtype) in arrays.items()
        }
        for batch in work.batches(ordered, rows=_BATCH):
            for column, append in appends.items():
                append(batch[column].to_numpy())
    return Interactions.load(
        folder,
        n_items=_count(work, encoded.items),
        behavior_names=names,
        behavior_weights=weights,
        optional=[name for name, _ in optional.values()],
    )
