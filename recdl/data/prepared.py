"""The prepared log: what preparation writes once and every run opens."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.table import Table

from recdl.data.interactions import Interactions
from recdl.data.tables import open_tables, table_parts
from recdl.data.timestamps import iso_text
from recdl.data.vocabulary import Vocabulary
from recdl.errors import RecordError
from recdl.storage import fingerprint

FORMAT_VERSION = 1
EARLIER = "earlier_fingerprints"
"""Key of a manifest: the fingerprints that the log had before users were taken out of it; no such key, if none."""
APPENDED = "appended_to"
"""Key of a manifest: the logs that this one grew from by appending, the oldest first.

Each by `fingerprint`, with its numbers of `users` and `items`: indices below these mean here what they did there.
"""
PIECES = "pieces"
"""Key of a manifest: what was appended, the oldest first, and what became of it."""
_BLOCK = 1 << 20

REASONS = {
    "missing_user": "without a user id",
    "missing_item": "without an item id",
    "excluded": "that data.exclude names",
    "bad_timestamp": "without a readable time",
    "bad_weight": "without a finite number for a weight",
    "outside_period": "before data.start, or at or after data.end",
    "behavior_not_kept": "of a behaviour that data.filters.behaviors leaves out",
    "forgotten": "of users who were forgotten",
    "duplicate": "exact duplicates (user, item, behaviour and time, and weight and session where there are such)",
    "few_events": "of users or items with too few events (k-core)",
    "few_users": "of items that too few users have (data.filters.min_item_users)",
}
"""Why preparation drops a row, in the order in which it looks."""


@dataclass(frozen=True, eq=False)
class PreparedLog:
    """An encoded log with its vocabularies, as it lies in its folder.

    Attributes:
        folder: Where it lies.
        interactions: The events, memory-mapped.
        users: Raw user ids by index.
        items: Raw item ids by index.
        manifest: Counts, settings and fingerprints, as in `manifest.json`.
        fingerprint: SHA-256 of the content (arrays and vocabularies); it does not depend on where the folder lies.
    """

    folder: Path
    interactions: Interactions
    users: Vocabulary
    items: Vocabulary
    manifest: dict[str, Any]
    fingerprint: str

    @classmethod
    def open(cls, folder: Path, *, written_now: bool = False) -> Self:
        """Open what `prepare` wrote, and check that it is still that.

        Args:
            folder: Where it lies.
            written_now: Whether this process has just written it, so that it need not be read once more.

        Raises:
            RecordError: If the folder is no prepared log, is half written or damaged, or of a newer format.
        """
        manifest = read_manifest(folder)
        try:
            users, items = Vocabulary.load(folder / "users.parquet"), Vocabulary.load(folder / "items.parquet")
            names = tuple(manifest["counts"]["events_by_behavior"])
            weights = manifest.get("behavior_weights")
            interactions = Interactions.load(
                folder,
                n_items=len(items),
                behavior_names=names,
                behavior_weights=None if weights is None else tuple(weights[name] for name in names),
                timed=bool(manifest.get("timed", True)),
                optional=tuple(manifest.get("optional_arrays", ())),
                tables=open_tables(folder, manifest, n_users=len(users), n_items=len(items)),
            )
            expected = manifest["fingerprint"]
        except KeyError as error:
            raise RecordError(f"{folder / 'manifest.json'} lacks {error}; {_way_out(folder)}") from error
        log = cls(folder, interactions, users, items, manifest, expected)
        if not written_now and content_fingerprint(interactions, users, items, log.tables()) != expected:
            raise RecordError(f"{folder} does not hold what its manifest says; {_way_out(folder)}")
        return log

    @property
    def user_table(self) -> pa.Table | None:
        """What is known of the users, row i for index i; None if nothing came with the log."""
        return self.interactions.user_table

    @property
    def item_table(self) -> pa.Table | None:
        """What is known of the items, row i for index i; None if nothing came with the log."""
        return self.interactions.item_table

    def tables(self) -> dict[str, pa.Table]:
        """Return the tables of users and items that came with the log, by name."""
        both = {"user_table": self.user_table, "item_table": self.item_table}
        return {key: table for key, table in both.items() if table is not None}

    def grown_from(self, fingerprint: str) -> tuple[int, int] | None:
        """Return how many users and items the log with a fingerprint had, if this one is it or grew from it.

        A user or item with an index below these is the same in both, and has in this log all the events that it
        had in that one.
        """
        if fingerprint == self.fingerprint:
            return len(self.users), len(self.items)
        for before in self.manifest.get(APPENDED, ()):
            if before["fingerprint"] == fingerprint:
                return int(before["users"]), int(before["items"])
        return None

    def summary(self) -> Table:
        """Return a table of what was read, why rows were dropped, and what is left."""
        counts = self.manifest["counts"]
        table = Table(title=f"prepared log {self.folder.name}", title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        table.add_row("rows read", f"{counts['rows_read']:,}")
        for reason, dropped in counts["dropped"].items():
            if dropped:
                table.add_row(f"dropped: {REASONS[reason]}", f"{dropped:,}")
        table.add_section()
        table.add_row("events", f"{counts['events']:,}")
        for behavior, events in counts["events_by_behavior"].items():
            table.add_row(f"  {behavior}", f"{events:,}")
        if counts.get("without_session"):
            table.add_row("  without a session id", f"{counts['without_session']:,}")
        table.add_row("users", f"{counts['users']:,}")
        table.add_row("items", f"{counts['items']:,}")
        if self.interactions.timed:
            table.add_row("from", counts["first"])
            table.add_row("to", counts["last"])
        for key, found in self.manifest.get("tables", {}).items():
            of = key.removesuffix("_table") + "s"
            table.add_section()
            table.add_row(f"{of} that the table of {of} lacks", f"{found['missing']:,}")
            table.add_row(f"rows of the table of {of} without events", f"{found['not_in_the_log']:,}")
            if found["without_id"]:
                table.add_row(f"rows of the table of {of} without an id", f"{found['without_id']:,}")
            for name, nulls in found["nulls"].items():
                table.add_row(f"  {name}: missing", f"{nulls:,}")
        return table


def event_counts(interactions: Interactions) -> dict[str, Any]:
    """Return what a manifest says of the events that are there: how many, of what, of how many, and when."""
    names = interactions.behavior_names
    events = np.zeros(len(names), np.int64)
    for start in range(0, interactions.n_events, _BLOCK):  # by the block: bincount makes int64 of what it counts
        events += np.bincount(interactions.behaviors[start : start + _BLOCK], minlength=len(events))
    sessions = interactions.sessions
    counts: dict[str, Any] = {
        "events": interactions.n_events,
        "events_by_behavior": {name: int(n) for name, n in zip(names, events, strict=True)},
        "users": interactions.n_users,
        "items": interactions.n_items,
        "first": iso_text(int(interactions.timestamps.min())),
        "last": iso_text(int(interactions.timestamps.max())),
    }
    if sessions is not None:
        counts["without_session"] = sum(
            int((sessions[start : start + _BLOCK] < 0).sum()) for start in range(0, len(sessions), _BLOCK)
        )
    return counts


def content_fingerprint(
    interactions: Interactions,
    users: Vocabulary,
    items: Vocabulary,
    tables: Mapping[str, pa.Table] | None = None,
) -> str:
    """Return SHA-256 of the events, the behaviour names and weights, both vocabularies, and the tables of them."""
    weights = interactions.behavior_weights
    optional = interactions.optional_arrays()
    return fingerprint(
        interactions.offsets,
        interactions.items,
        interactions.behaviors,
        interactions.timestamps,
        list(interactions.behavior_names),
        *_text_arrays(users),
        *_text_arrays(items),
        *([] if weights is None else [list(weights)]),
        *(part for name, array in optional.items() for part in (name, array)),
        *(part for key, table in sorted((tables or {}).items()) for part in (key, *table_parts(table))),
    )


def _text_arrays(vocabulary: Vocabulary) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return the ids as their UTF-8 lengths and bytes, without making a Python object of each."""
    ids = vocabulary.to_arrow()
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros(0, np.uint8)
    _, offset_buffer, text_buffer = ids.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    return np.diff(offsets), np.frombuffer(text_buffer, np.uint8)[offsets[0] : offsets[-1]]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what a prepared folder says of itself; its files are not looked at.

    Raises:
        RecordError: If the folder is no prepared log, or its manifest is damaged or of a newer format.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise RecordError(f"{folder} is no prepared log: it has no manifest.json; prepare the log first")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged ({error!r}); {_way_out(folder)}") from error
    if version != FORMAT_VERSION:
        raise RecordError(
            f"{folder} is of format {version}, this recdl reads format {FORMAT_VERSION}; {_way_out(folder)}"
        )
    return dict(manifest)


def known_fingerprints(folder: Path) -> list[str]:
    """Return the fingerprints that the log in a folder has had, the one that it has now last.

    Raises:
        RecordError: As `read_manifest` does.
    """
    manifest = read_manifest(folder)
    grown_from = [one["fingerprint"] for one in manifest.get(APPENDED, ())]
    return [*manifest.get(EARLIER, ()), *grown_from, manifest["fingerprint"]]


def _way_out(folder: Path) -> str:
    return f"delete {folder} and prepare the log again"
