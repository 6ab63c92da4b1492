"""The Lightning module for histories."""

from functools import partial
from typing import Protocol, cast

import torch
from torch import nn
from torch.nn import functional

from recdl.data.windows import NO_BEHAVIOR, Events, EventSpace, SequenceBatch
from recdl.training.augmentation import Augmentation
from recdl.training.averaging import WeightAverage
from recdl.training.modules import FitModule
from recdl.training.sequence_losses import NextItemLoss

_WHOLE = Augmentation()


class HistoryNetwork(Protocol):
    """A network that says something after each event of a history, and the layer that turns it into logits."""

    def __call__(self, events: Events) -> torch.Tensor:
        """Return (batch, length, d) outputs for right-padded events."""
        ...

    def output_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (n_items, d) weights and (n_items,) bias."""
        ...


class SequenceModule(FitModule):
    """Trains a network of `events -> outputs` to predict what is asked for at each position.

    Args:
        network: A `HistoryNetwork`.
        loss: Of outputs and targets.
        learning_rate: Of Adam.
        weight_decay: Decoupled (AdamW), a step.
        augmentation: What of the events is not told.
        behavior_head: Says the next event's behaviour of an output, and is thrown away after training; None: it is
            not asked for.
        behavior_weight: Of the loss of that.
        space: What events can be.
        averaging: What a step keeps of the running average of the weights; 0: none is made.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: NextItemLoss,
        learning_rate: float,
        weight_decay: float,
        space: EventSpace,
        augmentation: Augmentation = _WHOLE,
        behavior_head: nn.Linear | None = None,
        behavior_weight: float = 0.0,
        averaging: float = 0.0,
    ) -> None:
        super().__init__(network, learning_rate=learning_rate)
        # A part of this module, so that checkpoints hold it and a device takes it.
        self.average = WeightAverage(network, keep=averaging) if averaging else None
        self.loss = loss
        self.weight_decay = weight_decay
        self.augmentation = augmentation
        self.behavior_head = behavior_head
        self.behavior_weight = behavior_weight
        self.space = space

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with decoupled weight decay (Loshchilov & Hutter 2019), fused into one pass."""
        learned = [weights for weights in self.parameters() if weights.requires_grad]
        return torch.optim.AdamW(learned, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> None:
        """Make a step on the mean loss over the positions of one batch that ask for something."""
        network = cast(HistoryNetwork, self.network)
        outputs = network(self._told(batch.events)).flatten(0, 1)
        losses = []
        if self.behavior_head is not None and batch.next_behaviors is not None:
            said = self.behavior_head(outputs).float()
            error = functional.cross_entropy(said, batch.next_behaviors.flatten(), ignore_index=NO_BEHAVIOR)
            losses.append(self.behavior_weight * error)
        targets = batch.targets.flatten()
        if not batch.mask.all():
            places = batch.mask.flatten().nonzero()[:, 0]
            outputs, targets = outputs.index_select(0, places), targets[places]
        if batch.basket_items is not None and batch.basket_counts is not None:
            outputs, targets = outputs.repeat_interleave(batch.basket_counts, 0), batch.basket_items
        if len(targets):
            loss = partial(self.loss, step=(self.current_epoch, batch_idx))
            layer = network.output_layer()
            losses.append(loss(outputs, targets, *layer, weights=batch.weights, counts=batch.basket_counts))
        if losses:  # a batch of windows may hold nothing that is asked for
            self.descend([torch.stack(losses).sum()])
            if self.average is not None:
                self.average.follow(self.network)

    def _told(self, events: Events) -> Events:
        """Hide some of the events, or of their items, as if they were padding; their places stay."""
        items, behaviors, gaps = events
        if self.augmentation.mask:
            hidden = torch.rand(items.shape, device=items.device) < self.augmentation.mask
            items = items.masked_fill(hidden, self.space.n_items)
        if self.augmentation.item_dropout:
            hidden = torch.rand(items.shape, device=items.device) < self.augmentation.item_dropout
            items = items.masked_fill(hidden, self.space.n_items)
            behaviors = behaviors.masked_fill(hidden, self.space.n_behaviors)
            gaps = gaps.masked_fill(hidden, 0)
        return Events(items, behaviors, gaps)
