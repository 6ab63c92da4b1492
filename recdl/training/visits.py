"""Histories that grow, scored after each event without being read again from their start."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from recdl.data.queries import Queries
from recdl.data.windows import Events, EventSpace, gap_bins
from recdl.errors import DataError
from recdl.models.networks.events import RecurrentNetwork, RecurrentState
from recdl.training.networks import device_of
from recdl.training.sequence_module import HistoryNetwork

_EVENTS_AT_ONCE = 1 << 14


@dataclass(frozen=True, eq=False)
class Visits:
    """What is kept of some histories to go on from. It is never changed: one that is gone on from can be again.

    Attributes:
        window: The latest inputs of each history, (n, length) and right-padded, the start counted as one.
        lengths: (n,) int64, how many there are.
        n_inputs: (n,) int64, inputs so far, also those that the window no longer holds.
        last_times: (n,) int64, microseconds, of the latest event; 0 before the first.
        outputs: (n, d), what the network says after the latest input.
        state: What a recurrent network keeps, worth something only where the window still holds all inputs; None
            for any other network.
    """

    window: Events
    lengths: npt.NDArray[np.int64]
    n_inputs: npt.NDArray[np.int64]
    last_times: npt.NDArray[np.int64]
    outputs: torch.Tensor
    state: RecurrentState | None

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: npt.NDArray[np.integer] | slice) -> "Visits":
        """Return some of the visits."""
        return Visits(
            Events(*(column[rows] for column in self.window)),
            self.lengths[rows],
            self.n_inputs[rows],
            self.last_times[rows],
            self.outputs[rows],
            None if self.state is None else self.state.take(rows),
        )

    @classmethod
    def join(cls, parts: Sequence["Visits"]) -> "Visits":
        """Return the visits of all parts, which one model has begun, in their order: to go on with all at once."""
        assert parts, "there is nothing to join"
        width = max(part.window.items.shape[1] for part in parts)
        windows = zip(*(_wider(part.window, width) for part in parts), strict=True)
        states = [part.state for part in parts if part.state is not None]
        return cls(
            Events(*(torch.cat(columns) for columns in windows)),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.n_inputs for part in parts]),
            np.concatenate([part.last_times for part in parts]),
            torch.cat([part.outputs for part in parts]),
            RecurrentState.join(states) if states else None,
        )


class VisitReader:
    """Begins visits, goes on with them and scores them; the scores are those of the whole history read at once.

    A network that is no recurrent one reads the window again for each new event. A recurrent one reads the event
    alone, from its state, until the history is longer than the window: from then on the window begins with another
    event each time, and it is read again. So an event costs a window at most, however long the history.

    Args:
        network: A trained `HistoryNetwork`.
        space: What events can be.
        max_length: Inputs of a history that the network sees at most.
    """

    def __init__(self, network: nn.Module, space: EventSpace, *, max_length: int) -> None:
        self._network = cast(HistoryNetwork, network)
        self._recurrent = network if isinstance(network, RecurrentNetwork) else None
        self._space = space
        self._max_length = max_length
        self._device = device_of(network)

    @torch.inference_mode()
    def begin(self, histories: Queries) -> Visits:
        """Return visits with the given histories; who asks does not matter.

        Raises:
            DataError: If a history holds an item outside the catalogue, or a behaviour that the log did not have.
        """
        start, state = self._space.starts(1), None
        if self._recurrent is not None:
            outputs, state = self._recurrent.read(start.to(self._device))
        else:
            outputs = self._network(start.to(self._device))
        one = np.ones(1, np.int64)
        nobody = Visits(start, one, one, np.zeros(1, np.int64), outputs[:, 0], state)
        return self.advance(nobody.take(np.zeros(len(histories), np.int64)), histories)

    @torch.inference_mode()
    def advance(self, visits: Visits, events: Queries) -> Visits:
        """Return the visits after more events: row q of `events` is what visit q does next, often nothing.

        Raises:
            DataError: As `begin` does; or if there are not as many rows as visits.
        """
        if len(events) != len(visits):
            raise DataError(
                f"{len(events)} rows of events for {len(visits)} visits; give one each, empty"
                " where nothing happened"
            )
        new, counts = self._new_inputs(visits, events)
        window, lengths = self._moved(visits, new, counts)
        n_inputs = visits.n_inputs + events.lengths
        some = counts > 0
        last_times = visits.last_times.copy()
        last_times[some] = events.timestamps[events.ends[some] - 1]
        outputs, state = visits.outputs.clone(), visits.state
        again = some
        if self._recurrent is not None and state is not None:
            again = some & (n_inputs > self._max_length)
            state = state.take(slice(None))
            for rows in _of_one_length(np.flatnonzero(some & ~again), counts):
                part = Events(*(column[rows, : counts[rows[0]]] for column in new))
                said, after = self._recurrent.read(part.to(self._device), state.take(rows))
                outputs[rows] = said[:, -1]
                state.put(rows, after)
        for rows in in_parts(np.flatnonzero(again), lengths):
            part = Events(*(column[rows, : lengths[rows].max()] for column in window))
            outputs[rows] = last_outputs(self._network, part.to(self._device), lengths[rows])
        return Visits(window, lengths, n_inputs, last_times, outputs, state)

    def _new_inputs(self, visits: Visits, events: Queries) -> tuple[Events, npt.NDArray[np.int64]]:
        """Return the latest of the new events that a window can hold, right-padded, and (n,) how many."""
        counts = np.minimum(events.lengths, self._max_length)
        new = self._space.latest(events, counts)
        # A visit's first new event follows the last that it had before.
        rows = np.flatnonzero((counts > 0) & (counts == events.lengths) & (visits.n_inputs > 1))
        if self._space.timed and len(rows):
            gaps = gap_bins(visits.last_times[rows], events.timestamps[events.starts[rows]])
            new.gaps[rows, 0] = torch.from_numpy(gaps)
        return new, counts

    def _moved(
        self, visits: Visits, new: Events, counts: npt.NDArray[np.int64]
    ) -> tuple[Events, npt.NDArray[np.int64]]:
        """Return the windows and their lengths after `counts` (n,) new inputs."""
        total = visits.lengths + counts
        lengths = np.minimum(total, self._max_length)
        columns = np.arange(lengths.max(initial=0))
        place = (total - lengths)[:, None] + columns  # in the old window and then the new inputs, without padding
        shift = visits.window.items.shape[1] - visits.lengths[:, None]
        padding = torch.from_numpy(columns >= lengths[:, None])
        index = torch.from_numpy(np.where(place < visits.lengths[:, None], place, place + shift))
        both = zip(visits.window, new, self._space.padding, strict=True)
        moved = (
            torch.cat(parts, 1).gather(1, index.masked_fill(padding, 0)).masked_fill(padding, nothing)
            for *parts, nothing in both
        )
        return Events(*moved), lengths


def logits(outputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return (n, n_items) float32 for (n, d) outputs, given the (n_items, d) weights and (n_items,) bias."""
    return np.asarray(torch.addmm(bias, outputs, weight.T).float().cpu().numpy())


def last_outputs(network: HistoryNetwork, events: Events, lengths: npt.NDArray[np.int64]) -> torch.Tensor:
    """Return the (n, d) outputs after the last of `lengths` (n,) inputs."""
    outputs = network(events)
    last = torch.from_numpy(lengths - 1).to(outputs.device)
    return outputs[torch.arange(len(last), device=outputs.device), last]


def in_parts(rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield `rows` by rising length, as many at once as fit into one padded batch.

    Args:
        rows: (m,) int64.
        lengths: (n,) int64, of which `rows` are some.
    """
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    while len(rows):
        padded = lengths[rows] * np.arange(1, len(rows) + 1)
        n = max(1, int(np.searchsorted(padded, _EVENTS_AT_ONCE, "right")))
        yield rows[:n]
        rows = rows[n:]


def _of_one_length(rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield `rows` in parts of one length each: a state is worth something only where nothing was padded."""
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    for part in np.split(rows, np.flatnonzero(np.diff(lengths[rows])) + 1):
        if len(part):
            step = max(1, _EVENTS_AT_ONCE // int(lengths[part[0]]))
            yield from np.split(part, range(step, len(part), step))


def _wider(window: Events, width: int) -> Events:
    more = width - window.items.shape[1]  # what stands there is never read: lengths say what is
    return Events(*(functional.pad(column, (0, more)) for column in window))
