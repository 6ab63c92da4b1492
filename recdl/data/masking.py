"""Privacy in the plan: forgotten users leave it, ids become pseudonyms, times become coarse."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.forgotten import Forgotten
from recdl.data.privacy import Key, Kind, Privacy

if TYPE_CHECKING:
    import ibis

Fetch = Callable[["ibis.Table"], pa.Table]
Load = Callable[[Path], "ibis.Table"]
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Mask:
    """What is done to events before anything is numbered.

    Attributes:
        privacy: The settings.
        key: The key of the pseudonyms, None where none are asked for.
        forgotten: Users that never come back.
    """

    privacy: Privacy
    key: Key | None
    forgotten: Forgotten

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return self.key is None and not self.forgotten.codes and self.privacy.step is None

    def hides(self, kind: Kind) -> bool:
        """Whether ids of this kind become pseudonyms."""
        return kind in self.privacy.pseudonyms

    def shown(self, kind: Kind, ids: list[str]) -> list[str | None]:
        """Return what the prepared log knows each id as; None for a user who was forgotten, by id or pseudonym."""
        known = self.key.pseudonyms(kind, ids) if self.key is not None and self.hides(kind) else ids
        if kind == "item" or not self.forgotten.codes:
            return list(known)
        gone = self.forgotten.known(ids)
        if known is not ids:
            gone = [raw or coded for raw, coded in zip(gone, self.forgotten.known(known), strict=True)]
        return [None if left else one for left, one in zip(gone, known, strict=True)]


def masked_events(events: "ibis.Table", mask: Mask, scratch: Path, *, fetch: Fetch, load: Load) -> "ibis.Table":
    """Return events (`user, item, behavior, time`) as the mask shows them; `user` is null where it was forgotten.

    Only distinct ids pass through Python: they are as many as the vocabularies, which are held in memory anyway.

    Args:
        events: Events that have all ids.
        mask: What to do.
        scratch: A folder for the two tables of ids meanwhile.
        fetch: Returns a table of the engine that has the events.
        load: Reads a Parquet file of this machine as a table of that engine.
    """
    kinds: tuple[Kind, ...] = ("user", "item")
    for kind in kinds:
        if mask.hides(kind) or (kind == "user" and mask.forgotten.codes):
            events = masked_ids(
                events, kind, kind, mask, scratch / f"masked-{kind}.parquet", fetch=fetch, load=load
            )
    step = mask.privacy.step
    if step is None:
        return events
    rest = events.time % step  # of the sign of the time on some engines
    return events.mutate(time=events.time - (rest + step) % step)


def masked_ids(
    table: "ibis.Table", column: str, kind: Kind, mask: Mask, path: Path, *, fetch: Fetch, load: Load
) -> "ibis.Table":
    """Return a table with the ids of one column as the mask shows them; what is null stays null."""
    distinct = table.select(raw=table[column]).distinct()
    ids = fetch(distinct.filter(distinct.raw.notnull()))["raw"]
    schema = pa.schema({"raw": pa.string(), "shown": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(ids), _BLOCK):
            block = ids.slice(start, _BLOCK).to_pylist()
            writer.write_table(pa.table({"raw": block, "shown": mask.shown(kind, block)}, schema=schema))
    known = load(path)
    joined = table.left_join(known, table[column] == known.raw)
    return joined.select(**{name: known.shown if name == column else table[name] for name in table.columns})
