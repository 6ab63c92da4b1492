"""Windows of histories, cut from the flat arrays: what a network that reads event by event is fed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from recdl.data.interactions import Interactions
from recdl.data.matrix import check_items
from recdl.data.queries import Queries, ragged_positions
from recdl.errors import DataError

N_GAPS = 33
"""Bins of time between two events; 0 where there is none, or it is not known."""

_BATCHES_PER_POOL = 64
_MICROSECONDS = 10**6


class Events(NamedTuple):
    """What is known of each event of right-padded histories.

    Attributes:
        items: (batch, length) int64; `n_items` is padding, `n_items + 1` the start of a history.
        behaviors: (batch, length) int64; `n_behaviors` at padding and start.
        gaps: (batch, length) int64, the bin of the time since the event before; 0 at padding and start.
    """

    items: torch.Tensor
    behaviors: torch.Tensor
    gaps: torch.Tensor

    def to(self, device: torch.device) -> "Events":
        """Return the same on a device."""
        return Events(*(column.to(device) for column in self))


class SequenceBatch(NamedTuple):
    """Windows of histories, right-padded: each position's target is the event after its input.

    Attributes:
        items: (batch, length) int64; `n_items` is padding, `n_items + 1` the start of a history.
        behaviors: (batch, length) int64; `n_behaviors` at padding and start.
        gaps: (batch, length) int64, the bin of the time since the event before; 0 at padding and start.
        targets: (batch, length) int64; the next item, 0 at padding.
        mask: (batch, length) bool; false at padding.
    """

    items: torch.Tensor
    behaviors: torch.Tensor
    gaps: torch.Tensor
    targets: torch.Tensor
    mask: torch.Tensor

    @property
    def events(self) -> Events:
        """What the network reads."""
        return Events(self.items, self.behaviors, self.gaps)


@dataclass(frozen=True)
class EventSpace:
    """What events can be.

    Attributes:
        n_items: Size of the catalogue.
        n_behaviors: Number of behaviours.
        timed: Whether times are moments; else no gap is known.
    """

    n_items: int
    n_behaviors: int
    timed: bool

    @classmethod
    def of(cls, log: Interactions) -> Self:
        """Return what the events of a log can be."""
        return cls(log.n_items, len(log.behavior_names), log.timed)

    @property
    def start(self) -> int:
        """The item that stands before the first event of a history."""
        return self.n_items + 1

    def read(
        self,
        source: "FlatEvents",
        positions: npt.NDArray[np.int64],
        firsts: npt.NDArray[np.int64],
        mask: npt.NDArray[np.bool_],
    ) -> Events:
        """Cut events from flat arrays.

        Args:
            source: The flat arrays.
            positions: (batch, length) int64, where each event lies; anything at padding.
            firsts: (batch,) int64, where each history begins; what lies before it is its start.
            mask: (batch, length) bool, false at padding.
        """
        known = mask & (positions >= firsts[:, None])
        where = positions[known]
        items = np.where(mask, self.start, self.n_items)
        behaviors = np.full(mask.shape, self.n_behaviors)
        items[known] = source.items[where]
        behaviors[known] = source.behaviors[where]
        gaps = np.zeros(mask.shape, np.int64)
        if self.timed:
            preceded = mask & (positions > firsts[:, None])
            where = positions[preceded]
            gaps[preceded] = gap_bins(source.timestamps[where - 1], source.timestamps[where])
        return Events(torch.from_numpy(items), torch.from_numpy(behaviors), torch.from_numpy(gaps))

    def latest(self, queries: Queries, lengths: npt.NDArray[np.int64]) -> Events:
        """Return the latest `lengths` (n_queries,) inputs of each history, its start counted as one.

        Raises:
            DataError: If a history holds an item outside the catalogue, or a behaviour that the log did not have.
        """
        seen = ragged_positions(np.maximum(queries.starts, queries.ends - lengths), queries.ends)
        check_items(queries.items[seen], self.n_items)
        self._check_behaviors(queries.behaviors[seen])
        columns = np.arange(lengths.max())
        # Column c holds event ends - lengths + c; the one before the first event of a history is the start.
        positions = (queries.ends - lengths)[:, None] + columns
        return self.read(queries, positions, queries.starts, columns < lengths[:, None])

    def _check_behaviors(self, behaviors: npt.NDArray[np.int8]) -> None:
        if len(behaviors) and behaviors.max() >= self.n_behaviors:
            raise DataError(
                f"a history holds behavior {behaviors.max()}, but the model was fitted on a log of"
                f" {self.n_behaviors} behaviors"
            )


class FlatEvents(Protocol):
    """What a log and queries have in common."""

    @property
    def items(self) -> npt.NDArray[np.int32]:
        """Flat int32."""
        ...

    @property
    def behaviors(self) -> npt.NDArray[np.int8]:
        """Flat int8."""
        ...

    @property
    def timestamps(self) -> npt.NDArray[np.int64]:
        """Flat int64, microseconds."""
        ...


def gap_bins(before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bin of the time between pairs of events, each bin twice as wide as the one below it.

    Bin 1 is less than a second, bin b from 2^(b - 1) - 1 to less than 2^b - 1 seconds, the last whatever is
    longer; time that runs backwards counts as none passed. Bin 0, unknown, is what two times of 0 have, since 0 is
    what a history without times holds.

    Args:
        before: (n,) int64, microseconds since 1970-01-01 UTC, of the events before.
        after: (n,) int64, of the events.

    Returns:
        (n,) int64, below `N_GAPS`.
    """
    seconds = np.maximum(after - before, 0) // _MICROSECONDS
    bins = np.minimum(np.frexp(seconds + 1.0)[1].astype(np.int64), N_GAPS - 1)
    return np.where((before == 0) & (after == 0), 0, bins)


class SequenceBatches:
    """One epoch of windows of at most `max_length` targets, in which every train event is a target exactly once.

    The first event of a user is predicted from a start token, the first of a later window from the event before
    it. Windows of like length share a batch, so that little is padded; batches come in random order, and the last,
    smaller one is kept. What an epoch holds depends on `seed` and `epoch` alone. Windows are cut from the flat
    arrays when needed, and never stored.

    Args:
        log: The train events.
        batch_size: Windows a batch.
        max_length: Targets a window at most.
        seed: Of the shuffle.
        bucketed: Whether windows of like length share a batch; without, only padding and the order differ.

    Raises:
        DataError: If the log has no event.
    """

    def __init__(
        self, log: Interactions, *, batch_size: int, max_length: int, seed: int, bucketed: bool = True
    ) -> None:
        if not log.n_events:
            raise DataError("the train part has no event to learn from; use a longer log or a later cut")
        self._log = log
        self._space = EventSpace.of(log)
        self._starts, self._lengths, self._firsts = _windows(log.offsets, max_length)
        self._batch_size = batch_size
        self._seed = seed
        self._bucket = bucketed
        self.epoch = 0

    @property
    def n_windows(self) -> int:
        """Windows an epoch."""
        return len(self._starts)

    def __len__(self) -> int:
        return -(-self.n_windows // self._batch_size)

    def __iter__(self) -> Iterator[SequenceBatch]:
        generator = np.random.default_rng((self._seed, self.epoch))
        for rows in self._batches(generator):
            yield self._cut(rows)

    def _batches(self, generator: np.random.Generator) -> list[npt.NDArray[np.int64]]:
        order = generator.permutation(self.n_windows)
        pool = self._batch_size * _BATCHES_PER_POOL
        batches: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(order), pool):
            rows = order[start : start + pool]
            if self._bucket:
                rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            batches += np.split(rows, range(self._batch_size, len(rows), self._batch_size))
        return [batches[place] for place in generator.permutation(len(batches))]

    def _cut(self, rows: npt.NDArray[np.int64]) -> SequenceBatch:
        lengths = self._lengths[rows]
        columns = np.arange(lengths.max())
        mask = columns < lengths[:, None]
        positions = self._starts[rows][:, None] + columns
        events = self._space.read(self._log, positions - 1, self._firsts[rows], mask)
        targets = np.zeros(mask.shape, np.int64)
        targets[mask] = self._log.items[positions[mask]]
        return SequenceBatch(*events, torch.from_numpy(targets), torch.from_numpy(mask))


def _windows(
    offsets: npt.NDArray[np.int64], max_length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cut each user's events into windows; return the (int64) first position, length and user's begin of each."""
    counts = np.diff(offsets)
    windows = -(-counts // max_length)
    user = np.repeat(np.arange(len(counts)), windows)
    nth = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
    starts = offsets[user] + nth * max_length
    return starts, np.minimum(max_length, offsets[user + 1] - starts), offsets[user]
