"""A later piece of log added to a prepared one: what was numbered keeps its number, what is new comes after it."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from recdl.data.appended_events import Encoded, NamedBehaviors, count, encode_events, mapped_behaviors, no_events
from recdl.data.appended_tables import same_table, write_table
from recdl.data.attributes import Reader, encode_tables
from recdl.data.core import Left, left_without
from recdl.data.engine import writing_errors
from recdl.data.engines.embedded import Embedded
from recdl.data.engines.protocol import Engine, Workspace
from recdl.data.events import Audit, audit, kept_events, open_log
from recdl.data.forgotten import Forgotten
from recdl.data.interactions import Interactions
from recdl.data.masking import Mask, masked_events
from recdl.data.merging import write_merged
from recdl.data.prepared import APPENDED, PIECES, REASONS, PreparedLog, content_fingerprint, event_counts
from recdl.data.privacy import Privacy
from recdl.data.reading import Source, as_file, identity, tables
from recdl.data.rewriting import write_part
from recdl.data.snapshots import in_files
from recdl.data.sources import EventLog, FileLog, Filters
from recdl.data.tables import open_table, open_tables
from recdl.errors import DataError
from recdl.storage import fingerprint, whole_folder, write_json

_VERSION = 1  # of appending: raise it when the same log and piece would give another log
_BLOCK = 1 << 16
Stage = Callable[[str], AbstractContextManager[Any]]


def append(
    log: PreparedLog,
    piece: Source,
    *,
    new_behaviors: tuple[str, ...] = (),
    engine: Engine | None = None,
    progress: bool = True,
) -> PreparedLog:
    """Add a later piece to a prepared log, as a log of its own beside it, or open it if that was done before.

    Users and items that the log has keep their indices; those that are new come after them, in the order of their
    ids. Events go in by user and time, wherever that is, and those that the log has are dropped. The limits of the
    log's filters then hold of the log and the piece together; what is in the log passes them, and stays.

    Args:
        log: The prepared log; it stays as it is.
        piece: Where the piece comes from, and how to read it: as `recdl.data.pieces.later_piece` has it, or a
            source of one's own with the same privacy.
        new_behaviors: Behaviours that the log lacks and that are let in, at the end of the funnel; those that
            `piece.behaviors` names are so, too.
        engine: What the piece is read on; None: `Embedded()`.
        progress: Whether to show on stderr what is being done (in a terminal) and what came of it.

    Returns:
        The new log, beside the old one; `log` itself where the piece holds nothing that it lacks.

    Raises:
        ConfigError: If a package or a key is missing.
        DataError: If the piece cannot be read, or does not go with the log.
        RecordError: If the new log's folder exists and is damaged.
    """
    console = Console(stderr=True, quiet=not progress)
    stage = console.status if progress and console.is_terminal else _silent
    root = log.folder.parent
    with in_files(piece, root) as found:
        with stage("looking at the input"):
            source = _fitting(found, log)
            described = identity(source, progress=progress)
            told = {"appending_version": _VERSION, "to": [log.fingerprint, log.manifest["key"]]}
            key = fingerprint(told | described | {"new_behaviors": list(new_behaviors)})
            folder = root / f"{log.manifest['name']}-{key[:12]}"
        if not folder.exists():
            forgotten = _forgotten(log)
            try:
                with writing_errors(folder), whole_folder(folder) as partial:
                    job = _Job(log, partial, stage, {"key": key, "input": described["input"]})
                    job.write(source, engine or Embedded(), forgotten, new_behaviors)
                    if Forgotten.open(root).codes != forgotten.codes:
                        raise DataError(
                            f"users were forgotten in {root} while the log was appended to; do it again"
                        )
            except _NothingNewError as nothing:
                console.print(_summary(nothing.piece, f"nothing new for {log.folder.name}"))
                return log
    with stage("opening the new log"):
        grown = PreparedLog.open(folder)
    console.print(_summary(grown.manifest[PIECES][-1], f"appended to {log.folder.name}"))
    console.print(grown.summary())
    return grown


def _silent(_: str) -> AbstractContextManager[None]:
    return nullcontext()


class _NothingNewError(Exception):
    """The piece holds nothing that the log lacks: nothing is written."""

    def __init__(self, piece: Mapping[str, Any]) -> None:
        super().__init__()
        self.piece = piece


def _privacy(source: Source) -> Privacy:
    return source.privacy if isinstance(source, EventLog) else Privacy()


def _fitting(source: Source, log: PreparedLog) -> Source:
    """Return the piece's source without filters: the log's hold, and of the whole.

    Raises:
        DataError: If the piece would be read otherwise than the log was, in what cannot be mended later.
    """
    if not (log.interactions.timed and getattr(source, "timed", True)):
        raise DataError(
            f"the log in {log.folder}, or the piece, has an order and no times, so that nothing says where the "
            "piece goes; prepare all of it anew"
        )
    if _privacy(source).described() != log.manifest["settings"].get("privacy", {}):
        raise DataError(
            f"the log in {log.folder} was prepared with other settings of data.privacy, or another key, so that "
            "ids or times would not be comparable; give the same"
        )
    weighted = isinstance(source, EventLog) and source.columns.weight is not None
    if weighted != (log.interactions.weights is not None):
        raise DataError(
            "data.columns.weight: of the log and the piece, one has a number for each event and the other has not"
        )
    weights = _weights(log)
    for name, weight in (getattr(source, "behavior_weights", None) or {}).items():
        if weights.get(name, weight) != weight:
            raise DataError(
                f"data.behavior_weights.{name}: {weight}, but in the log in {log.folder} it is {weights[name]}, "
                "which a piece cannot change"
            )
    others = sorted(set(log.interactions.optional_arrays()) - {"weights"})
    if others:
        raise DataError(
            f"a log with {', '.join(others)} cannot be appended to, since their ids are not kept; prepare it anew"
        )
    if source.filters not in (_filters(log), Filters()):
        raise DataError(f"data.filters: the log in {log.folder} was prepared with others; leave them as they are")
    return replace(source, filters=Filters())


def _weights(log: PreparedLog) -> dict[str, float]:
    """Return what an event of each behaviour counts in the log."""
    names = log.interactions.behavior_names
    return dict(zip(names, log.interactions.behavior_weights or (1.0,) * len(names), strict=True))


def _filters(log: PreparedLog) -> Filters:
    settings = dict(log.manifest["settings"]["filters"])
    behaviors = settings.pop("behaviors")
    return Filters(**settings, behaviors=None if behaviors is None else tuple(behaviors))


def _forgotten(log: PreparedLog) -> Forgotten:
    """Return the list of the log's root, after a look whether the log holds any of them.

    Raises:
        DataError: If it does.
    """
    forgotten = Forgotten.open(log.folder.parent)
    ids = log.users.to_arrow()
    for start in range(0, len(ids) if forgotten.codes else 0, _BLOCK):
        if any(forgotten.known(ids.slice(start, _BLOCK).to_pylist())):
            raise DataError(
                f"the log in {log.folder} holds users who were forgotten there; take them out of it first, by "
                "forgetting them again"
            )
    return forgotten


def _nothing_left(found: Audit, label: str) -> DataError:
    reasons = ", ".join(f"{reason} {dropped:,}" for reason, dropped in found.dropped.items() if dropped)
    return DataError(
        f"{label}: nothing is left of {found.rows:,} rows; dropped: {reasons}. Where that is the period, which is "
        "the log's unless another is stated, state data.start or data.end"
    )


@dataclass(frozen=True)
class _Job:
    """One piece on its way into one log.

    Attributes:
        log: The log.
        folder: Where the new log goes.
        stage: Shows what is being done.
        head: What the manifest says of the new log's `key` and of the piece's `input`.
    """

    log: PreparedLog
    folder: Path
    stage: Stage
    head: Mapping[str, Any]

    def write(self, source: Source, engine: Engine, forgotten: Forgotten, new_behaviors: tuple[str, ...]) -> None:
        """Write the new log.

        Raises:
            _NothingNewError: If it would be the old one.
        """
        scratch = self.folder / "scratch"
        scratch.mkdir()
        file, privacy = as_file(source, scratch), _privacy(source)
        mask = Mask(privacy, privacy.key(), forgotten)
        with engine.workspace(scratch) as work:
            found, encoded = self._encode(work, file, mask, new_behaviors)
        filters = _filters(self.log)
        target = scratch / "merged" if filters.limited else self.folder
        target.mkdir(exist_ok=True)
        with self.stage("encoding what is known of users and items"):
            known, changed = self._tables(file, mask, encoded, target, engine.reader)
        piece = {"input": self.head["input"], "rows_read": found.rows, "dropped": dict(found.dropped)}
        if not (encoded.placed.n_events or changed):
            raise _NothingNewError(piece)
        with self.stage("writing"):
            events = self._merge(encoded, target, file.behavior_weights or {})
            n_users, n_items = len(encoded.users), len(encoded.items)
            opened = open_tables(target, {"tables": known}, n_users=n_users, n_items=n_items)
            merged = replace(events, **opened)
            left = left_without(merged, np.zeros(merged.n_users, np.bool_), filters) if filters.limited else None
            piece |= _added(encoded, self.log, left, found.dropped)
            if not (piece["events"] or changed):
                raise _NothingNewError(piece)
            manifest = self._manifest(encoded, merged, file, piece) | {"tables": known}
            whole = PreparedLog(target, merged, encoded.users, encoded.items, manifest, fingerprint="")
            if left is None:
                content = content_fingerprint(merged, encoded.users, encoded.items, whole.tables())
                write_json(self.folder / "manifest.json", manifest | {"fingerprint": content})
            else:
                write_part(whole, self.folder, left, {})
        shutil.rmtree(scratch)

    def _encode(
        self, work: Workspace, file: FileLog, mask: Mask, new_behaviors: tuple[str, ...]
    ) -> tuple[Audit, Encoded]:
        """Read the piece, and give its events the numbers of the log."""
        scratch = self.folder / "scratch"
        opened = open_log(file, scratch)
        with self.stage(f"reading {opened.label}"), opened.errors():
            rows = work.read_events("rows", file, opened)
            if not count(work, rows):
                return Audit(0, dict.fromkeys(REASONS, 0), {}, ()), no_events(self.log, scratch)
            found = audit(rows, file, opened, fetch=work.fetch, reader=work.reader)
        with self.stage("finding users and items"):
            if sum(found.dropped.values()) == found.rows:
                raise _nothing_left(found, opened.label)
            events = kept_events(rows, file, found)
            if not mask.idle:
                masked = masked_events(events, mask, scratch, fetch=work.fetch, load=work.load)
                events = work.keep("masked", masked)
                found.dropped["forgotten"] = count(work, events.filter(events.user.isnull()))
                events = events.filter(events.user.notnull())
            n_known = found.rows - sum(found.dropped.values())
            mapped = [name for name in file.behaviors or () if name not in mapped_behaviors(self.log)]
            named = NamedBehaviors.of(
                work,
                events,
                self.log,
                found=found.names,
                allowed=(*new_behaviors, *mapped),
                only_known=_filters(self.log).behaviors is not None,
            )
            encoded = encode_events(work, named.recoded(events), self.log, named.names, scratch)
        found.dropped["behavior_not_kept"] += n_known - encoded.n_given
        found.dropped["duplicate"] = encoded.n_duplicates
        return found, encoded

    def _tables(
        self, file: FileLog, mask: Mask, encoded: Encoded, target: Path, reader: Reader
    ) -> tuple[dict[str, dict[str, Any]], bool]:
        """Write the tables of users and items anew; return what the manifest says of them, and if they changed."""
        scratch = self.folder / "scratch"
        given = tables(file)
        for key in given:
            if key not in self.log.tables():
                raise DataError(f"data.{key}: the log has no such table; prepare all of it anew to have one")
        brought = scratch / "brought"
        brought.mkdir()
        counts = encode_tables(
            file, mask, reader=reader, users=encoded.users, items=encoded.items, folder=brought, scratch=scratch
        )
        known, changed = {}, False
        for key, old in self.log.tables().items():
            rows = len(encoded.users if key == "user_table" else encoded.items)
            new = open_table(brought, key, rows=rows) if key in given else None
            known[key] = write_table(
                old,
                new,
                target / f"{key}.parquet",
                rows=rows,
                key=key,
                counts={"before": self.log.manifest["tables"][key], "said": counts.get(key, {})},
            )
            changed |= rows == len(old) and not same_table(target, old, key)
        return known, changed

    def _merge(self, encoded: Encoded, target: Path, said: Mapping[str, float]) -> Interactions:
        """Write the arrays and vocabularies; what was `said` of behaviours that the log has was checked."""
        old = self.log.interactions
        weights = {name: float(said.get(name, 1.0)) for name in encoded.names}
        merged = write_merged(
            old,
            encoded.placed,
            target,
            n_users=len(encoded.users),
            n_items=len(encoded.items),
            behaviors=weights | _weights(self.log),
        )
        encoded.users.save(target / "users.parquet")
        encoded.items.save(target / "items.parquet")
        return merged

    def _manifest(
        self, encoded: Encoded, merged: Interactions, file: FileLog, piece: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what the new log says of itself, but for its tables and its fingerprint."""
        before, log = self.log.manifest, self.log
        reasons = {
            reason: before["counts"]["dropped"].get(reason, 0) + piece["dropped"].get(reason, 0)
            for reason in REASONS
        }
        counts = {"rows_read": before["counts"]["rows_read"] + piece["rows_read"], "dropped": reasons}
        parent = {"fingerprint": log.fingerprint, "users": len(log.users), "items": len(log.items)}
        manifest = {
            **before,
            "key": self.head["key"],
            "settings": _settings(log, file),
            "counts": counts | event_counts(merged),
            APPENDED: [*before.get(APPENDED, ()), parent],
            PIECES: [*before.get(PIECES, ()), dict(piece)],
        }
        if merged.behavior_weights is not None:
            manifest["behavior_weights"] = dict(zip(encoded.names, merged.behavior_weights, strict=True))
        return manifest


def _added(encoded: Encoded, log: PreparedLog, left: Left | None, dropped: Mapping[str, int]) -> dict[str, Any]:
    """Return what a piece adds to a log: events (`late`: older than what its user had), users and items."""
    placed = encoded.placed
    kept = np.ones(placed.n_events, np.bool_)
    n_users, n_items, all_dropped = len(encoded.users), len(encoded.items), dict(dropped)
    if left is not None:
        assert left.users[: len(log.users)].all() and left.items[: len(log.items)].all(), "what passed still does"
        kept = left.users[placed.arrays["users"]] & left.items[placed.arrays["items"]]
        n_users, n_items = int(left.users.sum()), int(left.items.sum())
        all_dropped |= {"few_events": left.few_events, "few_users": left.few_users}
    return {
        "dropped": all_dropped,
        "events": int(kept.sum()),
        "late": int(placed.late[kept].sum()),
        "users": n_users - len(log.users),
        "items": n_items - len(log.items),
    }


def _settings(log: PreparedLog, file: FileLog) -> dict[str, Any]:
    """Return the log's settings, with the raw values of behaviours that the piece added."""
    settings = dict(log.manifest["settings"])
    if file.behaviors is None or "behaviors" not in settings:
        return settings
    known = {name: list(raw) for name, raw in mapped_behaviors(log).items()}
    if not known:
        known = {name: [name] for name in log.interactions.behavior_names}
    taken = {value for raw in known.values() for value in raw}
    further = {name: [value for value in raw if value not in taken] for name, raw in file.behaviors.items()}
    if any(further.values()):
        merged = {name: [*known.get(name, []), *further.get(name, [])] for name in (*known, *further)}
        settings["behaviors"] = [[name, raw] for name, raw in merged.items()]  # pairs, since their order counts
    return settings


def _summary(piece: Mapping[str, Any], title: str) -> Table:
    """Return a table of what became of a piece."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows read", f"{piece['rows_read']:,}")
    for reason in REASONS:
        if piece["dropped"].get(reason):
            table.add_row(f"dropped: {REASONS[reason]}", f"{piece['dropped'][reason]:,}")
    table.add_section()
    rows = {"events": "new events", "late": "  older than what their user had", "users": "new users"}
    for name, shown in (rows | {"items": "new items"}).items():
        table.add_row(shown, f"{piece.get(name, 0):,}")
    return table
