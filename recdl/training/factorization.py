"""Recommenders that learn a vector a user and a vector an item."""

from typing import Protocol, Self, cast, final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from recdl.data.batches import PairBatches
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, ragged_positions
from recdl.models.protocol import RankingTask, State
from recdl.training.losses import binary_cross_entropy
from recdl.training.modules import PairModule
from recdl.training.networks import (
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

_PAIRS_AT_ONCE = 1 << 16  # logits computed at once; their hidden activations then stay in cache
_FOLD_IN_STEPS = 100
_FOLD_IN_RATE = 0.1
_FOLD_IN_HISTORY = 200
_FOLD_IN_NEGATIVES = 256


class InteractionNetwork(Protocol):
    """A network whose tables are apart from what it does with their rows."""

    user_embedding: nn.Embedding
    item_embedding: nn.Embedding

    def interact(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for user vectors (batch, d) and item vectors (batch, n, d) or (n, d)."""
        ...


class NetworkFactory(Protocol):
    """Makes the network, once the sizes are known."""

    def __call__(self, n_users: int, n_items: int) -> nn.Module:
        """Return a network whose forward maps int64 users (batch,) and items (batch, n) to (batch, n) logits."""
        ...


@final
class FactorizationRecommender:
    """A factorization network trained on the distinct (user, item) pairs of the log with sampled negatives.

    A known user is scored by the vector learned for it. A user the train part does not know is folded in: the
    tables stay as they are, and the most probable vector is found for the query's history, given the training loss
    as likelihood and the known users' mean and variance as prior. Negatives are drawn once for all queries, so
    that neither batch nor order changes a score. Without history it is the mean user's.

    Args:
        network: Makes the network from `n_users` and `n_items`.
        learning_rate: Of Adam.
        weight_decay: Decoupled weight decay (AdamW), a step.
        batch_size: Positives a step; each brings `n_negatives` more samples.
        n_negatives: Negatives a positive, uniform over what the user does not have, drawn anew each epoch.
        trainer: Where and how long to train.
        seed: Of the initial weights, the shuffle and the negatives.
    """

    def __init__(
        self,
        network: NetworkFactory,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int = 1024,
        n_negatives: int = 4,
        trainer: TrainerSettings | None = None,
        seed: int = 0,
    ) -> None:
        check_positive(learning_rate=learning_rate, batch_size=batch_size, n_negatives=n_negatives)
        check_not_negative(weight_decay=weight_decay)
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.n_negatives = n_negatives
        self.trainer = trainer or TrainerSettings()
        self.seed = seed

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Learn from `train`; `validation` decides when to stop and which epoch to keep.

        Raises:
            DataError: If there is no pair to learn from, or the loss diverges.
        """
        batches = PairBatches(train, batch_size=self.batch_size, n_negatives=self.n_negatives, seed=self.seed)
        self.trained_users_ = np.diff(train.offsets) > 0
        self.trained_items_ = np.bincount(train.items, minlength=train.n_items) > 0
        with torch_seed(self.seed):
            self.network_ = self.network(train.n_users, train.n_items)
            module = PairModule(
                self.network_,
                loss=binary_cross_entropy,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
            )
            self.learning_curve_ = fit_network(self, module, batches, validation=validation, settings=self.trainer)
        return self

    @torch.inference_mode()
    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32 logits."""
        network = cast(InteractionNetwork, self.network_)
        items = network.item_embedding.weight
        users = self._user_vectors(queries)
        scores = np.empty((len(queries), len(items)), np.float32)
        rows = max(1, _PAIRS_AT_ONCE // len(items))
        for start in range(0, len(queries), rows):
            chunk = users[start : start + rows]
            for first in range(0, len(items), _PAIRS_AT_ONCE):
                part = items[first : first + _PAIRS_AT_ONCE]
                logits = network.interact(chunk, part).float()
                scores[start : start + rows, first : first + _PAIRS_AT_ONCE] = logits.cpu().numpy()
        return scores

    def get_state(self) -> State:
        """Return the network's weights, and which users and items it was trained on."""
        return {
            **network_state(self.network_),
            "trained_users": self.trained_users_,
            "trained_items": self.trained_items_,
        }

    def set_state(self, state: State) -> Self:
        """Take over what another model of the same hyperparameters learned.

        Raises:
            RecordError: If an array is missing or of the wrong shape.
        """
        self.trained_users_ = read_state(state, "trained_users").astype(np.bool_)
        self.trained_items_ = read_state(state, "trained_items").astype(np.bool_)
        with torch_seed(self.seed):
            self.network_ = self.network(len(self.trained_users_), len(self.trained_items_))
        load_network_state(self.network_, state)
        self.network_.eval()
        return self

    def _user_vectors(self, queries: Queries) -> torch.Tensor:
        """Return (n_queries, d) vectors: learned, folded in, or the mean user's."""
        network = cast(InteractionNetwork, self.network_)
        table = network.user_embedding.weight
        device = table.device
        known = (queries.users >= 0) & (queries.users < len(self.trained_users_))
        known[known] = self.trained_users_[queries.users[known]]
        trained = table[torch.from_numpy(self.trained_users_).to(device)]
        mean = trained.mean(0)
        deviation = trained.std(0, correction=0)
        vectors = mean.repeat(len(queries), 1)
        vectors[torch.from_numpy(known).to(device)] = table[
            torch.from_numpy(queries.users[known].astype(np.int64)).to(device)
        ]
        new = np.flatnonzero(~known & (queries.lengths > 0))
        rows = max(1, _PAIRS_AT_ONCE // (_FOLD_IN_NEGATIVES + _FOLD_IN_HISTORY))
        for start in range(0, len(new), rows):
            part = new[start : start + rows]
            vectors[torch.from_numpy(part).to(device)] = self._fold_in(queries[part], mean, deviation)
        return vectors

    @torch.inference_mode(False)
    def _fold_in(self, queries: Queries, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        """Fit (n_queries, d) user vectors to histories, the rest of the network held fixed."""
        network = cast(InteractionNetwork, self.network_)
        device = device_of(self.network_)
        positives, mask = _padded_history(queries)
        catalogue = np.flatnonzero(self.trained_items_)
        drawn = np.random.default_rng(self.seed).choice(catalogue, _FOLD_IN_NEGATIVES)
        # A negative that the visitor has is none: it weighs nothing.
        weight = torch.from_numpy(~(positives[:, None, :] == drawn[None, :, None]).any(2)).float().to(device)
        items = network.item_embedding.weight.detach()
        shown = items[torch.from_numpy(positives).to(device)]
        hidden = items[torch.from_numpy(drawn).to(device)]
        present = torch.from_numpy(mask).float().to(device)
        # In training each positive met n_negatives negatives; so it does here.
        scale = self.n_negatives * present.sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1.0)
        mean, deviation = mean.clone(), deviation.clone()  # out of inference mode
        standard = torch.zeros(len(queries), len(mean), device=device, requires_grad=True)
        optimizer = torch.optim.Adam([standard], lr=_FOLD_IN_RATE)
        for _ in range(_FOLD_IN_STEPS):
            vectors = mean + deviation * standard
            positive_loss = functional.softplus(-network.interact(vectors, shown)) * present
            negative_loss = functional.softplus(network.interact(vectors, hidden)) * weight * scale
            loss = positive_loss.sum() + negative_loss.sum() + standard.square().sum() / 2
            (standard.grad,) = torch.autograd.grad(loss, [standard])
            optimizer.step()
        return (mean + deviation * standard).detach()


def _padded_history(queries: Queries) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the latest items of each history, (n, length) right-padded with item 0, and a mask of them."""
    starts = np.maximum(queries.starts, queries.ends - _FOLD_IN_HISTORY)
    lengths = queries.ends - starts
    mask = np.arange(_FOLD_IN_HISTORY) < lengths[:, None]
    items = np.zeros((len(queries), _FOLD_IN_HISTORY), np.int64)
    items[mask] = queries.items[ragged_positions(starts, queries.ends)]
    return items, mask
