"""A history that grows, scored after each event without being read again."""

from collections import deque
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from recdl.data.windows import Events, EventSpace, gap_bins
from recdl.errors import DataError
from recdl.models.networks.events import RecurrentNetwork
from recdl.training.modules import HistoryNetwork
from recdl.training.networks import device_of


class Visit:
    """One visitor's history, whose scores after each event equal those of the whole history scored at once.

    A recurrent network keeps its state and reads one event; any other reads the window again, and so does a
    recurrent one once the history is longer than the window, whose first event is then another each time.

    Args:
        network: A trained `HistoryNetwork`.
        space: What events can be.
        max_length: Events of a history that the network sees at most.
    """

    def __init__(self, network: nn.Module, space: EventSpace, *, max_length: int) -> None:
        self._network = network
        self._space = space
        self._window: deque[tuple[int, int, int]] = deque(maxlen=max_length)
        self._n_inputs = 0
        self._last: int | None = None
        self._state: Any = None
        self._output = torch.empty(0)
        self._read((space.start, space.n_behaviors, 0))

    def add(self, item: int, *, behavior: int = 0, timestamp: int = 0) -> None:
        """Take in the next event.

        Args:
            item: Index of the item.
            behavior: Code of the behaviour.
            timestamp: Microseconds since 1970-01-01 UTC; 0 if it is not known.

        Raises:
            DataError: If the catalogue has no such item, or the log no such behaviour.
        """
        if not 0 <= item < self._space.n_items:
            raise DataError(f"there is no item {item} in a catalogue of {self._space.n_items}")
        if not 0 <= behavior < self._space.n_behaviors:
            raise DataError(f"there is no behavior {behavior} in a log of {self._space.n_behaviors}")
        gap = 0
        if self._space.timed and self._last is not None:
            gap = int(gap_bins(np.array([self._last]), np.array([timestamp]))[0])
        self._last = timestamp
        self._read((item, behavior, gap))

    @torch.inference_mode()
    def scores(self) -> npt.NDArray[np.float32]:
        """Return (n_items,) float32 logits after the events so far."""
        weight, bias = cast(HistoryNetwork, self._network).output_layer()
        return np.asarray(torch.addmv(bias, weight, self._output).float().cpu().numpy())

    @torch.inference_mode()
    def _read(self, event: tuple[int, int, int]) -> None:
        self._window.append(event)
        self._n_inputs += 1
        if self._n_inputs <= (self._window.maxlen or 0) and isinstance(self._network, RecurrentNetwork):
            outputs, self._state = self._network.read(self._events([event]), self._state)
        else:
            outputs = cast(HistoryNetwork, self._network)(self._events(list(self._window)))
        self._output = outputs[0, -1]

    def _events(self, events: list[tuple[int, int, int]]) -> Events:
        return Events(*torch.tensor(events).T[:, None]).to(device_of(self._network))
