"""Recommenders that read a history event by event."""

from typing import Protocol, Self, cast, final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from recdl.data.features import Features, encode
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.targets import SequenceTargets
from recdl.data.windows import EventSpace, SequenceBatches
from recdl.errors import ConfigError, RecordError
from recdl.models.protocol import RankingTask, State
from recdl.training.augmentation import Augmentation
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
from recdl.training.sequence_losses import NextItemLoss, SequenceLoss
from recdl.training.sequence_module import HistoryNetwork, SequenceModule
from recdl.training.settings import TrainerSettings
from recdl.training.sides import ItemFeatures
from recdl.training.trainer import fit_network
from recdl.training.visits import VisitReader, Visits, in_parts, last_outputs, logits

_AUTO = SequenceLoss()
_NEXT_ITEM = SequenceTargets()
_WHOLE = Augmentation()
_UNTOLD = ItemFeatures()
_FEATURES = "features.items."


class NetworkFactory(Protocol):
    """Makes the network, once the sizes are known."""

    def __call__(self, n_items: int, n_behaviors: int) -> nn.Module:
        """Return a `HistoryNetwork`."""
        ...


@final
class SequenceRecommender:
    """A network trained to predict, at every position of every history, the next item, or what else is asked for.

    It knows no users: whoever asks is scored from the history of the query, a known user and a new visitor alike.
    A query without history is scored from the start token alone, that is by what visitors begin with.

    Args:
        network: Makes the network from `n_items` and `n_behaviors`.
        targets: What is predicted.
        loss: How a target is set against the other items.
        learning_rate: Of Adam.
        weight_decay: Decoupled weight decay (AdamW), a step.
        averaging: What a step keeps of the running average of the weights, which is what is scored and kept in
            place of the last weights; 0: these.
        batch_size: Histories (or windows of long ones) a step.
        max_length: Events of a history that the network sees at most, in training and scoring.
        augmentation: What of the histories is not told in training.
        features: What is read of the log's table of items. The vector of an item, where it is read and where it is
            predicted, is then the sum of its own and of what is known of it, and an item without an event in train
            is scored by what is known of it.
        trainer: Where and how long to train.
        seed: Of the initial weights, dropout, the shuffle and the negatives.
    """

    def __init__(
        self,
        network: NetworkFactory,
        *,
        targets: SequenceTargets = _NEXT_ITEM,
        loss: SequenceLoss = _AUTO,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        averaging: float = 0.0,
        batch_size: int = 128,
        max_length: int = 50,
        augmentation: Augmentation = _WHOLE,
        features: ItemFeatures = _UNTOLD,
        trainer: TrainerSettings | None = None,
        seed: int = 0,
    ) -> None:
        check_positive(learning_rate=learning_rate, batch_size=batch_size, max_length=max_length)
        check_not_negative(weight_decay=weight_decay, averaging=averaging)
        if averaging >= 1:
            raise ConfigError(f"model.averaging must be below 1, not {averaging}")
        check_network(network, 2, 1)
        self.network = network
        self.targets = targets
        self.loss = loss
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.averaging = averaging
        self.batch_size = batch_size
        self.max_length = max_length
        self.augmentation = augmentation
        self.features = features
        self.trainer = trainer or TrainerSettings()
        self.seed = seed
        self._layer: tuple[torch.Tensor, torch.Tensor] | None = None

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Learn from `train`; `validation` decides when to stop and which epoch to keep.

        Raises:
            ConfigError: If the log has no behaviour that is asked for.
            DataError: If there is no event to learn from, a feature is lacking, the memory would not suffice, or
                the loss diverges.
        """
        batches = SequenceBatches(
            train,
            batch_size=self.batch_size,
            max_length=self.max_length,
            seed=self.seed,
            targets=self.targets,
            crop=self.augmentation.crop,
        )
        self.space_ = EventSpace.of(train)
        check_network_memory(
            self.network, self.space_.n_items, self.space_.n_behaviors, accelerator=self.trainer.accelerator
        )
        popularity = np.bincount(train.items, minlength=train.n_items)
        self.trained_items_ = popularity > 0
        features = None
        if self.features.items:
            features = encode(train.item_table, self.features.items, self.trained_items_, of="items")
        with torch_seed(self.seed):
            self.network_ = self._made(features)
            module = SequenceModule(
                self.network_,
                loss=NextItemLoss(self.loss, popularity, seed=self.seed, known_only=features is not None),
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                space=self.space_,
                augmentation=self.augmentation,
                behavior_head=self._behavior_head(),
                behavior_weight=self.targets.behavior_weight,
                averaging=self.averaging,
            )
            module.steps_per_epoch = len(batches)
            if module.average is not None:
                self.network_ = module.average.network
            self.learning_curve_ = fit_network(self, module, batches, validation=validation, settings=self.trainer)
        self._keep_layer()
        return self

    @torch.inference_mode()
    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32 logits.

        A behaviour or a time gap that training never saw tells nothing; time that runs backwards counts as none
        passed.

        Raises:
            DataError: If a history holds an item outside the catalogue, or a behaviour that the log did not have.
        """
        network = cast(HistoryNetwork, self.network_)
        weight, bias = self.output_layer()
        outputs = torch.empty(len(queries), weight.shape[1], device=weight.device)
        lengths = np.minimum(queries.lengths + 1, self.max_length)
        for rows in in_parts(np.arange(len(queries)), lengths):
            events = self.space_.latest(queries[rows], lengths[rows]).to(device_of(self.network_))
            outputs[torch.from_numpy(rows)] = last_outputs(network, events, lengths[rows]).float()
        return logits(outputs, weight, bias)  # at once: parts of rows would have to be put together

    def begin(self, histories: Queries) -> Visits:
        """Return what is kept of some histories, to be gone on from as events come.

        `score_state(begin(histories))` is `score(histories)`, and going on from there is scoring from scratch what
        the histories then are, but for the order in which a sum rounds. See `VisitReader` for what an event costs.

        Raises:
            DataError: As `score` does.
        """
        return self._reader().begin(histories)

    def advance(self, state: Visits, events: Queries) -> Visits:
        """Return the state after more events; the one given stays as it is.

        Args:
            state: Of n histories.
            events: n rows, what each does next: nothing, one event or several, oldest first.

        Raises:
            DataError: As `score` does; or if there are more or fewer rows.
        """
        return self._reader().advance(state, events)

    @torch.inference_mode()
    def score_state(self, state: Visits) -> npt.NDArray[np.float32]:
        """Return (n, n_items) float32 logits, as `score` does for the histories so far."""
        return logits(state.outputs, *self.output_layer())

    def _reader(self) -> VisitReader:
        return VisitReader(self.network_, self.space_, max_length=self.max_length)

    def item_embeddings(self) -> npt.NDArray[np.float32]:
        """Return (n_items, width) float32, the output weights of the items."""
        return np.asarray(self.output_layer()[0].detach().cpu().numpy(), np.float32)

    def get_state(self) -> State:
        """Return the network's weights, and `sizes`: items, behaviours, and whether times are moments.

        With features, these too, as they are encoded, and `trained_items`.
        """
        space = self.space_
        sizes = np.array([space.n_items, space.n_behaviors, space.timed], np.int64)
        known = {}
        if self.features_ is not None:
            known = {**self.features_.arrays(_FEATURES), "trained_items": self.trained_items_}
        return {**network_state(self.network_), **known, "sizes": sizes}

    def set_state(self, state: State) -> Self:
        """Take over what another model of the same hyperparameters learned.

        Raises:
            RecordError: If an array is missing or of the wrong shape.
        """
        sizes = read_state(state, "sizes").tolist()
        if len(sizes) != 3:
            raise RecordError(f"the stored model has {len(sizes)} 'sizes', not 3; train and export it again")
        n_items, n_behaviors, timed = sizes
        self.space_ = EventSpace(n_items, n_behaviors, bool(timed))
        features = None
        if self.features.items:
            features = Features.restored(state, _FEATURES)
            self.trained_items_ = read_state(state, "trained_items").astype(np.bool_)
            if not len(features) == len(self.trained_items_) == n_items:
                raise RecordError("the stored model has features of other items; train and export it again")
        with torch_seed(self.seed):
            self.network_ = self._made(features)
        load_network_state(self.network_, state)
        self.network_.eval()
        self._keep_layer()
        return self

    def _made(self, features: Features | None) -> nn.Module:
        """Return a network that is told of the features."""
        network = self.network(self.space_.n_items, self.space_.n_behaviors)
        self.features_, self._layer = features, None
        if features is not None:
            told = cast(HistoryNetwork, network)
            for part in (told.embedding, told.head):
                part.tell(features, self.trained_items_, own_dropout=self.features.own_dropout)
        return network

    @torch.no_grad()
    def output_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights and the bias of all items."""
        if self._layer is not None:
            return self._layer
        weight, bias = cast(HistoryNetwork, self.network_).output_layer()
        if self.features_ is not None:  # whose bias was not learned is taken for the mean item
            trained = torch.from_numpy(self.trained_items_).to(bias.device)
            bias = torch.where(trained, bias, bias[trained].mean())
        return weight, bias

    def _keep_layer(self) -> None:
        """Put the features of all items into the output layer once, not each time it is used."""
        if self.features_ is not None:
            self._layer = self.output_layer()

    def _behavior_head(self) -> nn.Linear | None:
        if not self.targets.behavior_weight:
            return None
        weight, _ = cast(HistoryNetwork, self.network_).output_layer()
        return nn.Linear(weight.shape[1], self.space_.n_behaviors)
