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
from recdl.data.targets import SequenceTargets, TargetFinder
from recdl.errors import DataError

N_GAPS = 33
"""Bins of time between two events; 0 where there is none, or it is not known."""

_BATCHES_PER_POOL = 64
_MICROSECONDS = 10**6
_NEXT_ITEM = SequenceTargets()
NO_BEHAVIOR = -100
"""In place of the behaviour of the next event where there is none: what torch's cross-entropy leaves out."""


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
    """Windows of histories, right-padded: what is asked at a position is known of what follows its input.

    Attributes:
        items: (batch, length) int64; `n_items` is padding, `n_items + 1` the start of a history.
        behaviors: (batch, length) int64; `n_behaviors` at padding and start.
        gaps: (batch, length) int64, the bin of the time since the event before; 0 at padding and start.
        targets: (batch, length) int64; the item that is asked for, 0 where none is and where sets are.
        mask: (batch, length) bool; whether anything is asked for, never at padding.
        weights: (n,) float32, of what is asked for at the places of `mask`; None: all weigh alike.
        basket_items: (m,) int64, the items that are asked for at the places of `mask`, one place after the other;
            None: `targets` says them.
        basket_counts: (n,) int64, how many at each, at least 1.
        next_behaviors: (batch, length) int64, the behaviour of the very next event, `NO_BEHAVIOR` at padding;
            None: it is not asked for.
    """

    items: torch.Tensor
    behaviors: torch.Tensor
    gaps: torch.Tensor
    targets: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor | None = None
    basket_items: torch.Tensor | None = None
    basket_counts: torch.Tensor | None = None
    next_behaviors: torch.Tensor | None = None

    @property
    def events(self) -> Events:
        """What the network reads."""
        return Events(self.items, self.behaviors, self.gaps)

    def total_weight(self) -> torch.Tensor:
        """Return the float32 weight of all that is asked for, as a mean over it divides by."""
        if self.weights is not None and self.basket_counts is None:
            return self.weights.sum()
        return self.mask.sum().float()  # sets weigh alike

    def take(self, rows: torch.Tensor) -> "SequenceBatch":
        """Return the windows of int64 `rows` (n,), rising."""
        chosen = torch.zeros(len(self.items), dtype=torch.bool, device=self.items.device)
        chosen[rows] = True
        asked = chosen.repeat_interleave(self.mask.sum(1))
        counts, items = self.basket_counts, self.basket_items
        return SequenceBatch(
            items=self.items[rows],
            behaviors=self.behaviors[rows],
            gaps=self.gaps[rows],
            targets=self.targets[rows],
            mask=self.mask[rows],
            weights=None if self.weights is None else self.weights[asked],
            basket_items=None if counts is None or items is None else items[asked.repeat_interleave(counts)],
            basket_counts=None if counts is None else counts[asked],
            next_behaviors=None if self.next_behaviors is None else self.next_behaviors[rows],
        )


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

    @property
    def padding(self) -> tuple[int, int, int]:
        """Item, behaviour and gap of what is no event."""
        return self.n_items, self.n_behaviors, 0

    def starts(self, n: int) -> Events:
        """Return the starts of `n` histories, (n, 1)."""
        return Events(*(torch.full((n, 1), value) for value in (self.start, self.n_behaviors, 0)))

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
        columns = np.arange(lengths.max(initial=0))
        # Column c holds event ends - lengths + c; the one before the first event of a history is the start.
        positions = (queries.ends - lengths)[:, None] + columns
        return self.read(queries, positions, queries.starts, columns < lengths[:, None])

    def _check_behaviors(self, behaviors: npt.NDArray[np.int8]) -> None:
        wrong = behaviors[(behaviors < 0) | (behaviors >= self.n_behaviors)]
        if len(wrong):
            raise DataError(
                f"a history holds behavior {wrong[0]}, but the model was fitted on a log of"
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
    """One epoch of windows of at most `max_length` events to be predicted, in each of which every event is once.

    The first event of a user is predicted from a start token, the first of a later window from the event before
    it. Windows of like length share a batch, so that little is padded; batches come in random order, and the last,
    smaller one is kept. What a batch holds depends on `seed`, `epoch` and its place alone, so that an epoch can be
    gone on with from `first`. Windows are cut from the flat arrays when needed, and never stored.

    Args:
        log: The train events.
        batch_size: Windows a batch.
        max_length: Events a window predicts at most.
        seed: Of the shuffle.
        targets: What is predicted. Windows without a target are left out, and ends of windows.
        crop: Share of the windows of two events or more that are cut in two, at a place drawn anew each epoch, so
            that what follows is learned from less history.
        bucketed: Whether windows of like length share a batch; without, only padding and the order differ.

    Raises:
        ConfigError: If the log lacks a behaviour of the targets.
        DataError: If the log has no event, or none that is a target.
    """

    def __init__(
        self,
        log: Interactions,
        *,
        batch_size: int,
        max_length: int,
        seed: int,
        targets: SequenceTargets = _NEXT_ITEM,
        crop: float = 0.0,
        bucketed: bool = True,
    ) -> None:
        if not log.n_events:
            raise DataError("the train part has no event to learn from; use a longer log or a later cut")
        self._log = log
        self._space = EventSpace.of(log)
        self._targets = targets
        self._finder = TargetFinder(log, targets)
        self._windows = _windows(log.offsets, max_length, self._finder)
        self._n_crops = round(crop * int((self._windows.lengths > 1).sum()))
        self._batch_size = batch_size
        self._seed = seed
        self._bucket = bucketed
        self.epoch = 0
        self.first = 0

    @property
    def n_windows(self) -> int:
        """Windows an epoch."""
        return len(self._windows.starts) + self._n_crops

    @property
    def n_events(self) -> int:
        """Events an epoch asks for."""
        return int(self._windows.lengths.sum())

    def __len__(self) -> int:
        return -(-self.n_windows // self._batch_size)

    def __iter__(self) -> Iterator[SequenceBatch]:
        generator = np.random.default_rng((self._seed, self.epoch))
        windows = self._cropped(generator) if self._n_crops else self._windows
        for rows in self._batches(windows.lengths, generator)[self.first :]:
            yield self._cut(windows.take(rows))

    def _cropped(self, generator: np.random.Generator) -> "_Windows":
        windows = self._windows
        cut = generator.choice(np.flatnonzero(windows.lengths > 1), self._n_crops, replace=False)
        tails, lengths = windows.take(cut), windows.lengths.copy()
        lengths[cut] = generator.integers(1, tails.lengths)
        tails = tails._replace(starts=tails.starts + lengths[cut], lengths=tails.lengths - lengths[cut])
        heads = windows._replace(lengths=lengths)
        return _Windows(*(np.concatenate(both) for both in zip(heads, tails, strict=True)))

    def _batches(
        self, lengths: npt.NDArray[np.int64], generator: np.random.Generator
    ) -> list[npt.NDArray[np.int64]]:
        order = generator.permutation(self.n_windows)
        pool = self._batch_size * _BATCHES_PER_POOL
        batches: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(order), pool):
            rows = order[start : start + pool]
            if self._bucket:
                rows = rows[np.argsort(lengths[rows], kind="stable")]
            batches += np.split(rows, range(self._batch_size, len(rows), self._batch_size))
        return [batches[place] for place in generator.permutation(len(batches))]

    def _cut(self, windows: "_Windows") -> SequenceBatch:
        columns = np.arange(windows.lengths.max())
        within = columns < windows.lengths[:, None]
        positions = windows.starts[:, None] + columns
        events = self._space.read(self._log, positions - 1, windows.user_starts, within)
        after = positions[within]
        starts = np.repeat(windows.user_starts, windows.lengths)
        ends = np.repeat(windows.user_ends, windows.lengths)
        found = self._finder.find(after, starts, ends)
        asked = found >= 0
        mask, targets = within, np.zeros(within.shape, np.int64)
        if not asked.all():
            mask = within.copy()
            mask[within] = asked
        batch = SequenceBatch(*events, torch.from_numpy(targets), torch.from_numpy(mask))
        if self._targets.baskets:
            baskets = self._finder.baskets(found[asked], ends[asked])
            batch = batch._replace(
                basket_items=torch.from_numpy(baskets.items.astype(np.int64)),
                basket_counts=torch.from_numpy(baskets.counts),
            )
        else:
            targets[mask] = self._log.items[found[asked]]
        if self._targets.weights is not None:
            batch = batch._replace(weights=torch.from_numpy(self._finder.weights(found[asked])))
        if self._targets.behavior_weight:
            behaviors = np.full(within.shape, NO_BEHAVIOR, np.int64)
            behaviors[within] = self._log.behaviors[after]
            batch = batch._replace(next_behaviors=torch.from_numpy(behaviors))
        return batch


class _Windows(NamedTuple):
    """Windows, all (n,) int64: where the events to be predicted begin, how many they are, the user's events."""

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    user_starts: npt.NDArray[np.int64]
    user_ends: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "_Windows":
        return _Windows(*(column[rows] for column in self))


def _windows(offsets: npt.NDArray[np.int64], max_length: int, finder: TargetFinder) -> _Windows:
    """Cut each user's events into windows, as far as there are targets."""
    counts = np.diff(offsets)
    windows = -(-counts // max_length)
    user = np.repeat(np.arange(len(counts)), windows)
    nth = np.arange(windows.sum()) - np.repeat(np.cumsum(windows) - windows, windows)
    starts, user_ends = offsets[user] + nth * max_length, offsets[user + 1]
    ends = finder.read_to(starts, np.minimum(starts + max_length, user_ends), user_ends)
    found = _Windows(starts, ends - starts, offsets[user], user_ends)
    return found if (ends > starts).all() else found.take(ends > starts)
