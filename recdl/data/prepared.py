"""The prepared log: what preparation writes once and every run opens."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from rich.table import Table

from recdl.data.interactions import Interactions
from recdl.data.vocabulary import Vocabulary
from recdl.errors import RecordError
from recdl.storage import fingerprint

FORMAT_VERSION = 1

REASONS = {
    "missing_user": "without a user id",
    "missing_item": "without an item id",
    "bad_timestamp": "without a readable time",
    "outside_period": "before data.start, or at or after data.end",
    "behavior_not_kept": "of a behaviour that data.filters.behaviors leaves out",
    "duplicate": "exact duplicates (user, item, behaviour and time)",
    "few_events": "of users or items with too few events (k-core)",
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
    def open(cls, folder: Path) -> Self:
        """Open what `prepare` wrote, and check that it is still that.

        Raises:
            RecordError: If the folder is no prepared log, is half written or damaged, or of a newer format.
        """
        manifest = _read_manifest(folder)
        try:
            users, items = Vocabulary.load(folder / "users.parquet"), Vocabulary.load(folder / "items.parquet")
            interactions = Interactions.load(
                folder, n_items=len(items), behavior_names=tuple(manifest["counts"]["events_by_behavior"])
            )
            expected = manifest["fingerprint"]
        except KeyError as error:
            raise RecordError(f"{folder / 'manifest.json'} lacks {error}; {_way_out(folder)}") from error
        if content_fingerprint(interactions, users, items) != expected:
            raise RecordError(f"{folder} does not hold what its manifest says; {_way_out(folder)}")
        return cls(folder, interactions, users, items, manifest, expected)

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
        table.add_row("users", f"{counts['users']:,}")
        table.add_row("items", f"{counts['items']:,}")
        table.add_row("from", counts["first"])
        table.add_row("to", counts["last"])
        return table


def content_fingerprint(interactions: Interactions, users: Vocabulary, items: Vocabulary) -> str:
    """Return SHA-256 of the events, the behaviour names and both vocabularies."""
    return fingerprint(
        interactions.offsets,
        interactions.items,
        interactions.behaviors,
        interactions.timestamps,
        list(interactions.behavior_names),
        *_text_arrays(users),
        *_text_arrays(items),
    )


def _text_arrays(vocabulary: Vocabulary) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return the ids as their UTF-8 lengths and bytes, without making a Python object of each."""
    ids = vocabulary.to_arrow()
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros(0, np.uint8)
    _, offset_buffer, text_buffer = ids.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    return np.diff(offsets), np.frombuffer(text_buffer, np.uint8)[offsets[0] : offsets[-1]]


def _read_manifest(folder: Path) -> dict[str, Any]:
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


def _way_out(folder: Path) -> str:
    return f"delete {folder} and prepare the log again"
