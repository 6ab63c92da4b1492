"""The events of a later piece of log, in the numbers of the log that they go into."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.engines.protocol import Workspace
from recdl.data.merging import Part, Placed
from recdl.data.prepared import PreparedLog
from recdl.data.shop import BEHAVIORS
from recdl.data.sources import MAX_BEHAVIORS
from recdl.data.vocabulary import Vocabulary
from recdl.errors import DataError

if TYPE_CHECKING:
    import ibis

_BATCH = 1 << 20
_ARRAYS = {"user": "users", "item": "items", "behavior": "behaviors", "time": "timestamps", "weight": "weights"}


@dataclass(frozen=True, eq=False)
class Encoded:
    """What a piece adds to a log.

    Attributes:
        placed: The events that the log lacks.
        users: Ids of all users by index, the new ones at the end.
        items: Ids of all items, likewise.
        names: All behaviours by code, likewise.
        n_given: Events of the piece.
        n_duplicates: Of them, those that it holds twice, or the log already.
    """

    placed: Placed
    users: Vocabulary
    items: Vocabulary
    names: tuple[str, ...]
    n_given: int
    n_duplicates: int


def encode_events(
    work: Workspace, events: "ibis.Table", log: PreparedLog, names: tuple[str, ...], scratch: Path
) -> Encoded:
    """Give events the numbers of a log, new ids the numbers after those, and find the events' places in it.

    Args:
        work: What holds the events.
        events: `user, item` (text), `behavior` (a code of `names`), `time`, and `weight` where the log has one.
        log: The log.
        names: The behaviours by code: those of the log, and new ones.
        scratch: A folder for what does not fit into memory.
    """
    users, new_users = _numbered(work, events, "user", log.users, scratch)
    items, new_items = _numbered(work, events, "item", log.items, scratch)
    ranked = work.keep_numbered("ranked_items", items, order="id")
    ranks = work.fetch(ranked.order_by("place").select("index"))["index"].to_numpy().astype(np.int32)
    joined = events.join(users, events.user == users.id).join(ranked, events.item == ranked.id)
    further = {name: events[name] for name in ("behavior", "time", "weight") if name in events.columns}
    numbered = joined.select(user=users.place, item=ranked.place, rank=ranked.index, **further)
    encoded = work.keep("encoded", numbered.distinct())
    placed = Placed.among(log.interactions, _parts(work, encoded), ranks, scratch)
    n_given = count(work, events)
    return Encoded(
        placed=placed,
        users=_extended(log.users, new_users),
        items=_extended(log.items, new_items),
        names=names,
        n_given=n_given,
        n_duplicates=n_given - placed.n_events,
    )


def no_events(log: PreparedLog, scratch: Path) -> Encoded:
    """Return what a piece without a row adds."""
    placed = Placed.among(log.interactions, (), np.zeros(0, np.int32), scratch)
    return Encoded(placed, log.users, log.items, log.interactions.behavior_names, n_given=0, n_duplicates=0)


def count(work: Workspace, table: "ibis.Table") -> int:
    """Return the number of rows."""
    return int(work.fetch(table.aggregate(n=table.count()))["n"][0].as_py())


@dataclass(frozen=True)
class NamedBehaviors:
    """What the behaviours of a piece are in a log.

    Attributes:
        names: All behaviours by code: those of the log, then new ones.
        codes: The code among them of each code of the piece that is kept.
    """

    names: tuple[str, ...]
    codes: dict[int, int]

    @classmethod
    def of(
        cls,
        work: Workspace,
        events: "ibis.Table",
        log: PreparedLog,
        *,
        found: tuple[str, ...],
        allowed: tuple[str, ...],
        only_known: bool,
    ) -> Self:
        """Settle the behaviours.

        Args:
            work: What holds the events.
            events: The piece's events, with codes of `found`.
            log: The log.
            found: The behaviours of the piece.
            allowed: Behaviours that the log may get, in their order.
            only_known: Whether events of others are dropped, as in a log of which some behaviours were kept.

        Raises:
            DataError: If an event is of a behaviour that the log lacks and may not get, or there are too many.
        """
        sizes = work.fetch(events.group_by("behavior").agg(n=events.count())).to_pylist()
        n_events = {found[one["behavior"]]: one["n"] for one in sizes}
        known = log.interactions.behavior_names
        new = [name for name in dict.fromkeys(allowed) if name in n_events and name not in known]
        names = (*known, *new)
        unknown = sorted(set(n_events) - set(names))
        if unknown and not only_known:
            shown = ", ".join(f"{name!r} ({n_events[name]:,} events)" for name in unknown[:10])
            raise DataError(
                f"the piece has behaviours that the log lacks: {shown}; the log has {', '.join(known)}. To put "
                f"them at the end of its funnel, name them: 'new_behaviors=[{','.join(unknown[:10])}]'"
            )
        if len(names) > MAX_BEHAVIORS:
            raise DataError(f"the log would have {len(names)} behaviours; {MAX_BEHAVIORS} can be told apart")
        return cls(names, {code: names.index(name) for code, name in enumerate(found) if name in names})

    def recoded(self, events: "ibis.Table") -> "ibis.Table":
        """Return the events that are kept, with the log's codes."""
        import ibis

        if not self.codes:
            return events.limit(0)
        cases = [(events.behavior == code, ibis.literal(new)) for code, new in self.codes.items()]
        known = events.mutate(behavior=ibis.cases(*cases, else_=-1).cast("int8"))
        return known.filter(known.behavior >= 0)


def mapped_behaviors(log: PreparedLog) -> dict[str, tuple[str, ...]]:
    """Return the raw values of each behaviour that the log's settings name; none, where its rows name them."""
    if log.manifest["source"] == "ShopLog":
        return {name: (name,) for name in BEHAVIORS}
    return {name: tuple(raw) for name, raw in log.manifest["settings"].get("behaviors") or ()}


def _numbered(
    work: Workspace, events: "ibis.Table", kind: Literal["user", "item"], vocabulary: Vocabulary, scratch: Path
) -> "tuple[ibis.Table, pa.ChunkedArray]":
    """Return `id, place` of all users or items, and the ids of the new ones, sorted as their places are."""
    path = scratch / f"known-{kind}s.parquet"
    places = pa.array(np.arange(len(vocabulary), dtype=np.int32))
    pq.write_table(pa.table({"id": vocabulary.to_arrow(), "place": places}), path)
    known = work.load(path)
    ids = events.select(id=events[kind]).distinct()
    new = work.keep_numbered(f"new_{kind}s", ids.anti_join(known, "id"), order="id")
    added = new.select(id=new.id, place=(new.index + len(vocabulary)).cast("int32"))
    ids_of_new = work.fetch(new.order_by("index").select("id"))["id"]
    return known.select("id", "place").union(added), ids_of_new


def _extended(vocabulary: Vocabulary, new: pa.ChunkedArray) -> Vocabulary:
    return Vocabulary(pa.concat_arrays([vocabulary.to_arrow(), new.combine_chunks().cast(pa.large_string())]))


def _parts(work: Workspace, encoded: "ibis.Table") -> Iterator[Part]:
    """Stream events in the order in which a log holds them."""
    optional = [name for name in ("weight",) if name in encoded.columns]
    ordered = encoded.order_by(["user", "time", "behavior", "rank", *optional]).drop("rank")
    for batch in work.batches(ordered, rows=_BATCH):
        yield {_ARRAYS[name]: _array(batch[name]) for name in ordered.columns}


def _array(column: pa.Array) -> npt.NDArray[np.generic]:
    return np.asarray(column.to_numpy(zero_copy_only=False))
