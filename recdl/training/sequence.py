"""Recommenders that read a history event by event."""

from typing import Literal, Protocol, Self, cast, final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from recdl.data.batches import SequenceBatches
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.models.protocol import RankingTask, State
from recdl.training.modules import HistoryNetwork, SequenceModule
from recdl.training.networks import (
    check_network,
    check_network_memory,
    check_not_negative,
    check_positive,
    device_of,
    load_network_state,
    network_state,
    read_state,
    torch_seed,
)
from recdl.training.settings import TrainerSettings
from recdl.training.trainer import fit_network

_EVENTS_AT_ONCE = 1 << 14
_FULL_SOFTMAX_FACTOR = 2


class NetworkFactory(Protocol):
    """Makes the network, once the sizes are known."""

    def __call__(self, n_items: int, n_behaviors: int) -> nn.Module:
        """Return a `HistoryNetwork`."""
        ...


@final
class SequenceRecommender:
    """A network trained to predict the next item at every position of every history.

    It knows no users: whoever asks is scored from the history of the query, a known user and a new visitor alike.
    A query without history is scored from the start token alone, that is by what visitors begin with.

    Args:
        network: Makes the network from `n_items` and `n_behaviors`.
        learning_rate: Of Adam.
        weight_decay: Decoupled weight decay (AdamW), a step.
        batch_size: Histories (or windows of long ones) a step.
        max_length: Events of a history that the network sees at most, in training and scoring.
        loss: `full` softmax over the catalogue, `sampled` softmax, or `auto`: sampled where the catalogue is more
            than twice `n_negatives`.
        n_negatives: Negatives of the sampled softmax, shared by a step's positions.
        popularity_exponent: Negatives are drawn in proportion to train popularity to this power.
        trainer: Where and how long to train.
        seed: Of the initial weights, dropout, the shuffle and the negatives.
    """

    def __init__(
        self,
        network: NetworkFactory,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int = 128,
        max_length: int = 50,
        loss: Literal["auto", "full", "sampled"] = "auto",
        n_negatives: int = 2048,
        popularity_exponent: float = 0.75,
        trainer: TrainerSettings | None = None,
        seed: int = 0,
    ) -> None:
        check_positive(
            learning_rate=learning_rate, batch_size=batch_size, max_length=max_length, n_negatives=n_negatives
        )
        check_not_negative(weight_decay=weight_decay, popularity_exponent=popularity_exponent)
        check_network(network, 2, 1)
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_length = max_length
        self.loss = loss
        self.n_negatives = n_negatives
        self.popularity_exponent = popularity_exponent
        self.trainer = trainer or TrainerSettings()
        self.seed = seed

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Learn from `train`; `validation` decides when to stop and which epoch to keep.

        Raises:
            DataError: If there is no event to learn from, the memory would not suffice, or the loss diverges.
        """
        batches = SequenceBatches(train, batch_size=self.batch_size, max_length=self.max_length, seed=self.seed)
        self.sizes_ = (train.n_items, len(train.behavior_names))
        check_network_memory(self.network, *self.sizes_, accelerator=self.trainer.accelerator)
        with torch_seed(self.seed):
            self.network_ = self.network(*self.sizes_)
            module = SequenceModule(
                self.network_,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                proposal=self._proposal(train),
                n_negatives=self.n_negatives,
                seed=self.seed,
            )
            self.learning_curve_ = fit_network(self, module, batches, validation=validation, settings=self.trainer)
        return self

    @torch.inference_mode()
    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32 logits."""
        network = cast(HistoryNetwork, self.network_)
        weight, bias = network.output_layer()
        scores = np.empty((len(queries), len(bias)), np.float32)
        lengths = np.minimum(queries.lengths + 1, self.max_length)
        order = np.argsort(lengths, kind="stable")
        start = 0
        while start < len(order):
            rows = _longest_run(order[start:], lengths)
            outputs = self._last_outputs(queries[rows], lengths[rows])
            scores[rows] = torch.addmm(bias, outputs, weight.T).float().cpu().numpy()
            start += len(rows)
        return scores

    def get_state(self) -> State:
        """Return the network's weights and the sizes it was made with."""
        return {**network_state(self.network_), "sizes": np.array(self.sizes_, np.int64)}

    def set_state(self, state: State) -> Self:
        """Take over what another model of the same hyperparameters learned.

        Raises:
            RecordError: If an array is missing or of the wrong shape.
        """
        n_items, n_behaviors = read_state(state, "sizes").tolist()
        self.sizes_ = (n_items, n_behaviors)
        with torch_seed(self.seed):
            self.network_ = self.network(n_items, n_behaviors)
        load_network_state(self.network_, state)
        self.network_.eval()
        return self

    def _proposal(self, train: Interactions) -> npt.NDArray[np.float64] | None:
        """Return the probability of each item to be drawn as a negative; None for the full softmax."""
        full = train.n_items <= _FULL_SOFTMAX_FACTOR * self.n_negatives
        if self.loss == "full" or (self.loss == "auto" and full):
            return None
        popularity = np.bincount(train.items, minlength=train.n_items)
        weight = np.where(popularity > 0, np.maximum(popularity, 1) ** self.popularity_exponent, 0.0)
        proposal: npt.NDArray[np.float64] = weight / weight.sum()
        return proposal

    def _last_outputs(self, queries: Queries, lengths: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return (n_queries, d) outputs after the latest `lengths` inputs, the start token counted as one."""
        n_items, n_behaviors = self.sizes_
        columns = np.arange(lengths.max())
        # Column c holds event ends - lengths + c; the one before the first event of a history is the start token.
        positions = (queries.ends - lengths)[:, None] + columns
        event = (columns < lengths[:, None]) & (positions >= queries.starts[:, None])
        items = np.full(event.shape, n_items, np.int64)
        behaviors = np.full(event.shape, n_behaviors, np.int64)
        items[event] = queries.items[positions[event]]
        behaviors[event] = queries.behaviors[positions[event]]
        items[positions < queries.starts[:, None]] = n_items + 1
        device = device_of(self.network_)
        network = cast(HistoryNetwork, self.network_)
        outputs = network(torch.from_numpy(items).to(device), torch.from_numpy(behaviors).to(device))
        last = torch.from_numpy(lengths - 1).to(device)
        return outputs[torch.arange(len(last), device=device), last]


def _longest_run(order: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the first queries of `order`, which rises in length, that fit into one padded batch."""
    padded = lengths[order] * np.arange(1, len(order) + 1)
    return order[: max(1, int(np.searchsorted(padded, _EVENTS_AT_ONCE, "right")))]
