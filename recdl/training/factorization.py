"""Recommenders that learn a vector a user and a vector an item."""

from collections.abc import Callable, Mapping
from copy import copy, deepcopy
from functools import partial
from typing import Literal, Protocol, Self, cast, final, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from recdl.data.batches import PairBatches, RowBatches
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, ragged_positions
from recdl.data.sampling import Negatives, Positives
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import ConfigError
from recdl.models.protocol import RankingTask, Recommender, State
from recdl.training.interaction_modules import InteractionModule, InteractionNetwork, PairModule, RowModule
from recdl.training.losses import (
    bayesian_personalized_ranking,
    binary_cross_entropy,
    generalized_binary_cross_entropy,
    hardest_negative,
)
from recdl.training.networks import (
    check_network,
    check_network_memory,
    check_positive,
    device_of,
    load_network_state,
    network_state,
    read_state,
    torch_seed,
)
from recdl.training.settings import TrainerSettings
from recdl.training.sides import Side, SideFeatures, Sides
from recdl.training.starts import Aim, Contribution, Start
from recdl.training.trainer import fit_network

PairLoss = Callable[[torch.Tensor], torch.Tensor]
_PAIR_LOSSES: dict[str, PairLoss] = {
    "bce": binary_cross_entropy,
    "gbce": partial(generalized_binary_cross_entropy, sampling_rate=1.0),
    "bpr": bayesian_personalized_ranking,
    "hardest": hardest_negative,
}
_POINTWISE = ("bce", "gbce")
_ROWS_PAY = 8  # rows of a whole-table update that cost as much as one index looked up and updated by itself
_PAIRS_AT_ONCE = 1 << 16  # logits computed at once; their hidden activations then stay in cache
_FOLD_IN_STEPS = 100
_FOLD_IN_RATE = 0.1
_FOLD_IN_HISTORY = 200
_FOLD_IN_NEGATIVES = 256


class NetworkFactory(Protocol):
    """Makes the network, once the sizes are known."""

    def __call__(self, n_users: int, n_items: int) -> nn.Module:
        """Return a network whose forward maps int64 users (batch,) and items (batch, n) to (batch, n) logits."""
        ...


Loss = Literal["bce", "gbce", "bpr", "hardest", "softmax", "full_softmax", "sampled_softmax"]
"""How positives are set against negatives; `softmax` is the full one where the catalogue is small."""


@final
class FactorizationRecommender:
    """A factorization network trained on the distinct (user, item) pairs of the log.

    `bce`, `gbce`, `bpr` and `hardest` set each positive against `negatives.n` items of its own. The softmax losses
    set all that a user has against the catalogue, or against `negatives.n` items that are shared by the users of a
    step: far less work a pair, since a user costs one row of logits however much it has.

    A known user is scored by the vector learned for it. A user the train part does not know is folded in: the
    tables stay as they are, and the most probable vector is found for the query's history, given the training loss
    as likelihood and the known users' mean and variance as prior. Negatives are drawn once for all queries, so
    that neither batch nor order changes a score. Without history it is the mean user's.

    Args:
        network: Makes the network from `n_users` and `n_items`.
        loss: What to learn by; `hardest` takes the highest of a positive's negatives, `softmax` is full where
            the catalogue is no larger than twice `negatives.n`, else sampled.
        negatives: How negatives are drawn.
        learning_rate: Of Adam.
        l2: Decoupled L2 decay (AdamW) of the embeddings: the share that an epoch takes off each, whatever the
            batch size and the learning rate.
        batch_size: Positives a step; of the softmax losses, users a step.
        start: What the network starts from, beside or in place of chance.
        features: What is read of the log's tables of users and items. An item without an event in train is then
            scored by what is known of it, and a user without one is the mean user but for what is known.
        behavior_weights: What a pair counts, by the weightiest behaviour that it was seen with; 0 learns nothing
            from it, nor takes it for a negative. Behaviours that are not named, and all when None, count 1.
        trainer: Where and how long to train.
        seed: Of the initial weights, the shuffle and the negatives.
    """

    def __init__(
        self,
        network: NetworkFactory,
        *,
        loss: Loss = "softmax",
        negatives: Negatives | None = None,
        learning_rate: float = 1e-3,
        l2: float = 0.0,
        batch_size: int = 256,
        behavior_weights: Mapping[str, float] | None = None,
        start: Start | None = None,
        features: SideFeatures | None = None,
        trainer: TrainerSettings | None = None,
        seed: int = 0,
    ) -> None:
        check_positive(learning_rate=learning_rate, batch_size=batch_size)
        if not 0 <= l2 < 1:
            raise ConfigError(f"model.l2 is the share that an epoch takes off; it must lie in [0, 1), not {l2}")
        if loss not in get_args(Loss):
            raise ConfigError(f"model.loss must be one of {', '.join(get_args(Loss))}, not {loss!r}")
        for name, weight in (behavior_weights or {}).items():
            if not 0 <= weight < np.inf:
                raise ConfigError(f"model.behavior_weights.{name} must be at least 0 and finite, not {weight}")
        check_network(network, 2, 2)
        self.network = network
        self.loss = loss
        self.negatives = negatives or Negatives()
        self.learning_rate = learning_rate
        self.l2 = l2
        self.batch_size = batch_size
        self.behavior_weights = behavior_weights
        self.start = start or Start()
        self.features = features or SideFeatures()
        self.trainer = trainer or TrainerSettings()
        self.seed = seed
        self.start_from({})

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Learn from `train`; `validation` decides when to stop and which epoch to keep.

        Raises:
            DataError: If there is no pair to learn from, the memory would not suffice, or the loss diverges.
        """
        parts = self.start.fitted(train, validation, trainer=self.trainer, seed=self.seed)
        return self._learn(train, validation, parts)

    def _learn(
        self, train: Interactions, validation: RankingTask | None, parts: Mapping[str, Recommender]
    ) -> Self:
        positives = Positives.of(train, self.behavior_weights)
        self.parts_ = parts
        self.trained_users_ = np.diff(train.offsets) > 0
        self.trained_items_ = positives.popularity > 0
        sizes = (train.n_users, train.n_items)
        check_network_memory(self.network, *sizes, accelerator=self.trainer.accelerator)
        trained: dict[Side, npt.NDArray[np.bool_]] = {"users": self.trained_users_, "items": self.trained_items_}
        features = self.features.encoded(train, trained)
        with torch_seed(self.seed):
            self.network_ = self.network(*sizes)
            self.sides_ = Sides(features, self._widths(), own_dropout=self.features.own_dropout)
            aim = Aim(positives, pointwise=self.loss in _POINTWISE, n_negatives=self.negatives.n)
            self.start.apply(self.network_, {**parts, **self.starts}, train, aim)
            for side in features:  # who has no event in train has no vector of its own
                self._table(side).data[torch.from_numpy(~trained[side])] = 0
            module, batches = self._pairs(positives) if self.loss in _PAIR_LOSSES else self._rows(positives)
            module.steps_per_epoch = batches.n_steps
            self.learning_curve_ = fit_network(self, module, batches, validation=validation, settings=self.trainer)
        return self

    def start_from(self, models: Mapping[str, Recommender]) -> Self:
        """Let the network start from these fitted models, beside those that `start` fits.

        Raises:
            ConfigError: If one is of a kind or a size that the network cannot start from.
        """
        with torch_seed(0):
            self.start.check(self.network(2, 2), models)
        self.starts = dict(models)
        return self

    def contribution(self, *, sketch: bool) -> Contribution | None:
        """Return what another network may start from, or, of `sketch`, the like for two users and items."""
        if sketch:
            with torch_seed(0):
                return Contribution.of(self.network(2, 2))
        network = self.network_
        if self.sides_.features:
            network = deepcopy(network)
            for side in self.sides_.features:
                _embedding(network, side).data = self.sides_.table(side, self._table(side)).detach()
        return Contribution.of(network)

    def refit(self, train: Interactions) -> Self:
        """Return a fresh model that learned from `train` for its best epochs, as did those that it starts from.

        Raises:
            DataError: As `fit` does.
        """
        fresh = copy(self)
        fresh.trainer = self.trainer.again(self.learning_curve_)
        parts = self.start.refitted(self.parts_, train, trainer=fresh.trainer, seed=self.seed)
        return fresh._learn(train, None, parts)

    def _pairs(self, positives: Positives) -> tuple[InteractionModule, PairBatches]:
        batches = PairBatches(positives, self.negatives, batch_size=self.batch_size, seed=self.seed)
        loss: PairLoss = _PAIR_LOSSES[self.loss]
        if self.loss == "gbce":
            rate = min(1.0, self.negatives.n / max(1, int((positives.popularity > 0).sum()) - 1))
            loss = partial(generalized_binary_cross_entropy, sampling_rate=rate)
        module = PairModule(
            self.network_,
            loss=loss,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            l2=self.l2,
            rows=self._touches_few(self.batch_size * (1 + self.negatives.n)),
            sides=self.sides_,
        )
        return module, batches

    def _rows(self, positives: Positives) -> tuple[InteractionModule, RowBatches]:
        n_items = len(positives.popularity)
        full = self.loss == "full_softmax" or (self.loss == "softmax" and n_items <= 2 * self.negatives.n)
        negatives = None if full else self.negatives
        batches = RowBatches(positives, negatives, batch_size=self.batch_size, seed=self.seed)
        pairs = self.batch_size * len(positives.users) // max(1, len(self.trained_users_))
        few = not full and self._touches_few(pairs + self.negatives.n)
        # Else items that train lacks would be learned to be unwanted, and with them whatever is known of them.
        catalogue = torch.from_numpy(np.flatnonzero(self.trained_items_)) if "items" in self.sides_ else None
        module = RowModule(
            self.network_,
            learning_rate=self.learning_rate,
            l2=self.l2,
            rows=few,
            sides=self.sides_,
            catalogue=catalogue,
        )
        return module, batches

    def _touches_few(self, n_indices: int) -> bool:
        """Whether a step touches so little of the tables that updating rows costs less than updating all."""
        return len(self.trained_users_) + len(self.trained_items_) > _ROWS_PAY * n_indices

    @torch.inference_mode()
    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32 logits."""
        network = cast(InteractionNetwork, self.network_)
        items = self.sides_.table("items", self._table("items"))
        users = self._user_vectors(queries, items)
        scores = np.empty((len(queries), len(items)), np.float32)
        rows = max(1, _PAIRS_AT_ONCE // len(items))
        for start in range(0, len(queries), rows):
            chunk = users[start : start + rows]
            for first in range(0, len(items), _PAIRS_AT_ONCE):
                part = items[first : first + _PAIRS_AT_ONCE]
                logits = network.interact(chunk, part).float()
                scores[start : start + rows, first : first + _PAIRS_AT_ONCE] = logits.cpu().numpy()
        return scores

    def item_embeddings(self) -> npt.NDArray[np.float32]:
        """Return (n_items, width) float32: what the network has for each item itself, without features."""
        return np.asarray(self._table("items").detach().cpu().numpy(), np.float32)

    def get_state(self) -> State:
        """Return the network's weights, which users and items it was trained on, and what is known of them."""
        return {
            **network_state(self.network_),
            **self.sides_.arrays(),
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
        self.sides_ = Sides.restored(self.features, state, self._widths())
        return self

    @torch.inference_mode()
    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vectors that users without a history, and items, are scored by.

        Returns:
            (n_users + 1, d), the last that of whom nothing is known, and (n_items, d).
        """
        items = self.sides_.table("items", self._table("items"))
        n = len(self.trained_users_) + 1
        users = np.arange(n, dtype=np.int32)
        users[-1] = UNKNOWN
        nothing = np.zeros(n, np.int64)
        queries = Queries(users, nothing, nothing, np.zeros(0, np.int32), np.zeros(0, np.int8), nothing[:0])
        return self._user_vectors(queries, items).clone(), items.clone()

    def _table(self, side: Side) -> nn.Parameter:
        return _embedding(self.network_, side)

    def _widths(self) -> dict[Side, int]:
        return {side: self._table(side).shape[1] for side in get_args(Side)}

    def _user_vectors(self, queries: Queries, items: torch.Tensor) -> torch.Tensor:
        """Return (n_queries, d) vectors: learned, folded in given the items', or the mean user's."""
        table = self.sides_.table("users", self._table("users"))
        device = table.device
        named = (queries.users >= 0) & (queries.users < len(self.trained_users_))
        known = named.copy()
        known[known] = self.trained_users_[queries.users[known]]
        trained = table[torch.from_numpy(self.trained_users_).to(device)]
        mean = trained.mean(0)
        deviation = trained.std(0, correction=0)
        vectors = mean.repeat(len(queries), 1)
        if "users" in self.sides_:  # of whom nothing is learned, something may be known
            asked = torch.from_numpy(queries.users[named & ~known].astype(np.int64)).to(device)
            own = self._table("users")[torch.from_numpy(self.trained_users_).to(device)].mean(0)
            vectors[torch.from_numpy(named & ~known).to(device)] = own + table[asked]
        vectors[torch.from_numpy(known).to(device)] = table[
            torch.from_numpy(queries.users[known].astype(np.int64)).to(device)
        ]
        new = np.flatnonzero(~known & (queries.lengths > 0))
        rows = max(1, _PAIRS_AT_ONCE // (_FOLD_IN_NEGATIVES + _FOLD_IN_HISTORY))
        for start in range(0, len(new), rows):
            part = new[start : start + rows]
            places = torch.from_numpy(part).to(device)
            vectors[places] = self._fold_in(queries[part], vectors[places], deviation, items)
        return vectors

    @torch.inference_mode(False)
    def _fold_in(
        self, queries: Queries, mean: torch.Tensor, deviation: torch.Tensor, items: torch.Tensor
    ) -> torch.Tensor:
        """Fit (n_queries, d) user vectors to histories, the rest of the network held fixed.

        Args:
            queries: The histories.
            mean: (n_queries, d), of the prior ...
            deviation: (d,) ... and its standard deviation.
            items: (n_items, d) vectors.
        """
        network = cast(InteractionNetwork, self.network_)
        device = device_of(self.network_)
        positives, mask = _padded_history(queries)
        catalogue = np.flatnonzero(self.trained_items_)
        drawn = np.random.default_rng(self.seed).choice(catalogue, _FOLD_IN_NEGATIVES)
        # A negative that the visitor has is none: it weighs nothing.
        weight = torch.from_numpy(~(positives[:, None, :] == drawn[None, :, None]).any(2)).float().to(device)
        items = items.detach()
        shown = items[torch.from_numpy(positives).to(device)]
        hidden = items[torch.from_numpy(drawn).to(device)]
        present = torch.from_numpy(mask).float().to(device)
        drawn_sum = weight.sum(1, keepdim=True).clamp(min=1.0)
        if self.loss in _POINTWISE:  # in training each positive met n negatives; so it does here
            scale = self.negatives.n * present.sum(1, keepdim=True) / drawn_sum
        else:  # each draw stands for its share of the catalogue
            scale = (len(catalogue) - present.sum(1, keepdim=True)).clamp(min=1.0) / drawn_sum
        offsets = torch.where(weight > 0, scale.log(), -torch.inf)
        mean, deviation = mean.clone(), deviation.clone()  # out of inference mode
        standard = torch.zeros_like(mean, requires_grad=True)
        optimizer = torch.optim.Adam([standard], lr=_FOLD_IN_RATE)
        for _ in range(_FOLD_IN_STEPS):
            vectors = mean + deviation * standard
            positive, negative = network.interact(vectors, shown), network.interact(vectors, hidden)
            if self.loss in _POINTWISE:
                loss = (functional.softplus(-positive) * present).sum()
                loss = loss + (functional.softplus(negative) * weight * scale).sum()
            else:
                masked = positive.masked_fill(present == 0, -torch.inf)
                normalizers = torch.cat([masked, negative + offsets], 1).logsumexp(1, keepdim=True)
                loss = ((normalizers - positive) * present).sum()
            loss = loss + standard.square().sum() / 2
            (standard.grad,) = torch.autograd.grad(loss, [standard])
            optimizer.step()
        return (mean + deviation * standard).detach()


def _embedding(network: nn.Module, side: Side) -> nn.Parameter:
    interactions = cast(InteractionNetwork, network)
    embedding = interactions.user_embedding if side == "users" else interactions.item_embedding
    return cast(nn.Parameter, embedding.weight)


def _padded_history(queries: Queries) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the latest items of each history, (n, length) right-padded with item 0, and a mask of them."""
    starts = np.maximum(queries.starts, queries.ends - _FOLD_IN_HISTORY)
    lengths = queries.ends - starts
    mask = np.arange(_FOLD_IN_HISTORY) < lengths[:, None]
    items = np.zeros((len(queries), _FOLD_IN_HISTORY), np.int64)
    items[mask] = queries.items[ragged_positions(starts, queries.ends)]
    return items, mask
