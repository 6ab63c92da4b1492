"""The Lightning module for histories."""

from collections.abc import Iterator
from functools import partial
from typing import Protocol, cast

import torch
from torch import nn
from torch.nn import functional

from recdl.data.windows import NO_BEHAVIOR, Events, EventSpace, SequenceBatch
from recdl.models.networks.events import EventEmbedding, OutputHead
from recdl.training.augmentation import Augmentation
from recdl.training.averaging import WeightAverage
from recdl.training.modules import FitModule
from recdl.training.sequence_losses import NextItemLoss

_WHOLE = Augmentation()


class HistoryNetwork(Protocol):
    """A network that says something after each event of a history, and the layer that turns it into logits.

    Attributes:
        embedding: Of the events.
        head: Of the outputs.
    """

    embedding: EventEmbedding
    head: OutputHead

    def __call__(self, events: Events) -> torch.Tensor:
        """Return (batch, length, d) outputs for right-padded events."""
        ...

    def output_layer(self, items: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the (n, d) weights and (n,) bias of int64 (n,) items, or of all in order."""
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
        if not self._asks(batch):  # a batch of windows may hold nothing that is asked for
            return
        self.descend(self._losses(batch))
        if self.average is not None:
            self.average.follow(self.network)

    def _asks(self, batch: SequenceBatch) -> bool:
        return self.behavior_head is not None or bool(batch.mask.any())

    def _losses(self, batch: SequenceBatch) -> Iterator[torch.Tensor]:
        for place, count in self.parts():
            # Windows lie by their length in a batch, so that every n-th is as much work as any other n-th.
            every = torch.arange(place, len(batch.items), count, device=batch.items.device)
            part = batch if count == 1 else batch.take(every)
            losses = list(self._parts_of_loss(batch, part)) if len(part.items) else []
            if losses:
                yield torch.stack(losses).sum()

    def _parts_of_loss(self, whole: SequenceBatch, part: SequenceBatch) -> Iterator[torch.Tensor]:
        """Yield what some windows of a batch contribute to its mean losses."""
        network = cast(HistoryNetwork, self.network)
        outputs = network(self._told(part.events)).flatten(0, 1)
        if self.behavior_head is not None and part.next_behaviors is not None and whole.next_behaviors is not None:
            said = self.behavior_head(outputs).float()
            error = functional.cross_entropy(
                said, part.next_behaviors.flatten(), ignore_index=NO_BEHAVIOR, reduction="sum"
            )
            yield self.behavior_weight * error / (whole.next_behaviors != NO_BEHAVIOR).sum()
        targets = part.targets.flatten()
        if not part.mask.all():
            places = part.mask.flatten().nonzero()[:, 0]
            outputs, targets = outputs.index_select(0, places), targets[places]
        if part.basket_items is not None and part.basket_counts is not None:
            outputs, targets = outputs.repeat_interleave(part.basket_counts, 0), part.basket_items
        if len(targets):
            step = (self.current_epoch, self.batches_done)
            items = self.loss.items(targets, step=step)
            loss = partial(self.loss, step=step, weights=part.weights, counts=part.basket_counts, items=items)
            mean = loss(outputs, targets, *network.output_layer(items))
            yield mean if part is whole else mean * (part.total_weight() / whole.total_weight())

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
