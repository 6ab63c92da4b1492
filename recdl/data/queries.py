"""Whom to score, what is known of them at that moment, and what they did next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.vocabulary import UNKNOWN


def ragged_positions(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Concatenate the ranges [starts[i], ends[i]) into one int64 array of positions."""
    lengths = ends - starts
    firsts = np.cumsum(lengths) - lengths
    positions: npt.NDArray[np.int64] = np.arange(lengths.sum(), dtype=np.int64)
    positions += np.repeat(starts - firsts, lengths)
    return positions


@dataclass(frozen=True, eq=False)
class Queries:
    """Users (or unknown visitors), each with the history known at the moment of the query.

    The history of query `q` is positions `starts[q]` to `ends[q]` of the flat arrays, oldest event first. The flat
    arrays are shared with the log (and may be memory-mapped): a query costs two integers, however long its
    history.

    Attributes:
        users: (n_queries,) int32, user index, or `UNKNOWN` (-1) for a visitor the model was not trained on.
        starts: (n_queries,) int64.
        ends: (n_queries,) int64, `ends >= starts`; an empty history is allowed.
        items: flat int32; `UNKNOWN` never occurs: unknown items are left out when a history is made.
        behaviors: flat int8.
        timestamps: flat int64, microseconds since 1970-01-01 UTC.
        weights: flat float32, the log's number for each event; None where there is none.
    """

    users: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    behaviors: npt.NDArray[np.int8]
    timestamps: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        assert len(self.users) == len(self.starts) == len(self.ends), "users, starts and ends differ in length"
        assert self.users.dtype == np.int32 and (self.users >= UNKNOWN).all(), "a user index is below -1"
        assert (self.starts <= self.ends).all(), "a history ends before it starts"
        assert not len(self.ends) or (self.starts.min() >= 0 and self.ends.max() <= len(self.items)), (
            "a history lies outside the events"
        )

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: slice | npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "Queries":
        return replace(self, users=self.users[rows], starts=self.starts[rows], ends=self.ends[rows])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_queries,) int64, events in each history."""
        return self.ends - self.starts

    def history_items(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Return every history as (query row, item) pairs: int64 rows, not falling, and int32 item indices."""
        rows = np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)
        return rows, np.asarray(self.items[ragged_positions(self.starts, self.ends)])

    def history_weights(self) -> npt.NDArray[np.float32]:
        """Return the log's number for each event of `history_items`; there must be such numbers."""
        assert self.weights is not None, "a log without weights"
        return np.asarray(self.weights[ragged_positions(self.starts, self.ends)])

    @classmethod
    def at_end(cls, log: Interactions, users: npt.NDArray[np.int32] | None = None) -> "Queries":
        """Ask for `users` (all by default) with everything `log` holds of them as history."""
        chosen = np.arange(log.n_users, dtype=np.int32) if users is None else users
        assert (chosen >= 0).all(), "an unknown user has no history in the log"
        return cls.of_log(log, chosen, log.offsets[chosen], log.offsets[chosen + 1])

    @classmethod
    def of_log(
        cls,
        log: Interactions,
        users: npt.NDArray[np.int32],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
    ) -> "Queries":
        """Ask for `users` with the events of `log` from `starts` to `ends` as histories."""
        return cls(users, starts, ends, log.items, log.behaviors, log.timestamps, log.weights)

    @classmethod
    def anonymous(
        cls,
        histories: Sequence[Sequence[int]],
        behaviors: Sequence[Sequence[int]] | None = None,
        timestamps: Sequence[Sequence[int]] | None = None,
    ) -> "Queries":
        """Ask for unknown visitors with the given item histories (oldest first).

        Args:
            histories: Item indices.
            behaviors: Codes of their behaviours; None: all 0.
            timestamps: Microseconds since 1970-01-01 UTC; None: all 0, which is not known.
        """
        lengths = np.array([len(history) for history in histories], np.int64)
        ends = np.cumsum(lengths)
        items = np.array([item for history in histories for item in history], np.int32)
        codes, times = np.zeros(len(items), np.int8), np.zeros(len(items), np.int64)
        if behaviors is not None:
            codes[:] = [code for history in behaviors for code in history]
        if timestamps is not None:
            times[:] = [time for history in timestamps for time in history]
        users = np.full(len(lengths), UNKNOWN, np.int32)
        return cls(users, ends - lengths, ends, items, codes, times)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The items that each query ranks, where a protocol gives them; no other item competes.

    Attributes:
        offsets: (n_queries + 1,) int64; those of query `q` are at `offsets[q]` to `offsets[q + 1]` of `items`.
        items: Flat int32 item indices, rising within a query: none twice, none unknown.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        assert self.offsets[0] == 0 and self.offsets[-1] == len(self.items), "offsets must span the candidates"
        assert (np.diff(self.offsets) >= 0).all(), "offsets must not fall"
        rises = np.diff(self.items) > 0
        inner = self.offsets[1:-1]
        rises[inner[(inner > 0) & (inner < len(self.items))] - 1] = True
        assert rises.all() and self.items.min(initial=0) >= 0, "candidates must be distinct, rising and known"

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(n_queries,) int64, candidates of each query."""
        return np.diff(self.offsets)

    def take(self, rows: npt.NDArray[np.integer]) -> "Candidates":
        """Return the candidates of the queries in `rows` (n,)."""
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        return Candidates(offsets, self.items[ragged_positions(starts, ends)])


@dataclass(frozen=True, eq=False)
class QuerySet:
    """Queries and, for each, the distinct items that answer it.

    Attributes:
        queries: n queries.
        target_offsets: (n + 1,) int64; the answers to query `q` are at `target_offsets[q]` to `[q + 1]`.
        target_items: flat int32 item indices; at least one a query, none twice in a query, rising within a query.
            `UNKNOWN` (-1), as often as need be, is an item that the log does not hold: a miss for every model.
        clusters: (n,) int32, who stands behind each query, where that is not `queries.users`: the user of a
            session. Queries of one value >= 0 are not independent, and intervals say so.
        candidates: What each query ranks, where that is given; None ranks all items that may be recommended.
        target_weights: (n_targets,) float32, the log's number for the event (the last of several) of each target;
            None where there is none.
        target_behaviors: (n_targets,) int8, the behaviour of each target's event, of several the furthest along
            the funnel; None where it is not known.
    """

    queries: Queries
    target_offsets: npt.NDArray[np.int64]
    target_items: npt.NDArray[np.int32]
    clusters: npt.NDArray[np.int32] | None = None
    candidates: Candidates | None = None
    target_weights: npt.NDArray[np.float32] | None = None
    target_behaviors: npt.NDArray[np.int8] | None = None

    def __post_init__(self) -> None:
        assert self.clusters is None or len(self.clusters) == len(self.queries), "one cluster a query"
        assert len(self.target_offsets) == len(self.queries) + 1, "one range of targets a query"
        assert self.target_offsets[0] == 0 and self.target_offsets[-1] == len(self.target_items), (
            "offsets must span the targets"
        )
        assert (np.diff(self.target_offsets) > 0).all(), "a query without target"
        both = np.maximum(self.target_items[1:], self.target_items[:-1])
        rises = (np.diff(self.target_items) > 0) | (both == UNKNOWN)
        rises[self.target_offsets[1:-1] - 1] = True
        assert rises.all(), "the targets of a query must be distinct and rising"
        assert self.target_items.min(initial=0) >= UNKNOWN, "a target is below -1"
        numbers = self.target_weights
        assert numbers is None or len(numbers) == len(self.target_items), "a number for each target, or none"
        codes = self.target_behaviors
        assert codes is None or len(codes) == len(self.target_items), "a behaviour for each target, or none"
        given = self.candidates
        assert given is None or len(given.offsets) == len(self.target_offsets), "one range of candidates a query"

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def people(self) -> npt.NDArray[np.int32]:
        """(n,) int32, by what intervals are clustered; each -1 is someone of their own."""
        return self.queries.users if self.clusters is None else self.clusters

    @property
    def target_counts(self) -> npt.NDArray[np.int64]:
        """(n,) int64, targets of each query, at least 1."""
        return np.diff(self.target_offsets)

    def take(self, rows: npt.NDArray[np.integer]) -> "QuerySet":
        """Return the queries in `rows` (n,), with their targets."""
        starts, ends = self.target_offsets[rows], self.target_offsets[rows + 1]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(ends - starts, out=offsets[1:])
        clusters = None if self.clusters is None else self.clusters[rows]
        places = ragged_positions(starts, ends)
        candidates = None if self.candidates is None else self.candidates.take(rows)
        weights = None if self.target_weights is None else self.target_weights[places]
        codes = None if self.target_behaviors is None else self.target_behaviors[places]
        return QuerySet(
            self.queries[rows], offsets, self.target_items[places], clusters, candidates, weights, codes
        )
