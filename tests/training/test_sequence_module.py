from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from recdl.data.targets import SequenceTargets
from recdl.data.windows import Events, EventSpace, SequenceBatch, SequenceBatches
from recdl.models.networks.cnn import CNN
from recdl.models.networks.events import EventInputs
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.sasrec import SASRec
from recdl.training.augmentation import Augmentation
from recdl.training.sequence_losses import NextItemLoss, SequenceLoss
from recdl.training.sequence_module import SequenceModule
from tests.logs import log_of_events, log_of_items

N_ITEMS = 9
WHOLE = Augmentation()
LOG = log_of_items(
    [[(user + step) % N_ITEMS for step in range(1 + user % 7)] for user in range(30)], n_items=N_ITEMS
)
SPACE = EventSpace.of(LOG)


def _module(network: nn.Module, *, augmentation: Augmentation = WHOLE) -> SequenceModule:
    loss = NextItemLoss(SequenceLoss(kind="full"), np.bincount(LOG.items, minlength=N_ITEMS), seed=0)
    return SequenceModule(
        network, loss=loss, learning_rate=0.1, weight_decay=0.0, space=SPACE, augmentation=augmentation
    )


def _gradients(module: SequenceModule, batches: list[SequenceBatch]) -> list[torch.Tensor]:
    """Return the gradients of the summed loss of all positions of the batches."""
    module.network.zero_grad()

    def descend(losses: list[torch.Tensor], positions: int) -> None:
        for loss in losses:
            (loss * positions).backward()

    for batch in batches:
        module.descend = partial(descend, positions=int(batch.mask.sum()))  # type: ignore[method-assign]
        module.training_step(batch, 0)
    return [p.grad.clone() for p in module.network.parameters() if p.grad is not None]


@pytest.mark.parametrize("make", [LSTM, GRU, CNN, SASRec])
def test_the_gradients_of_an_epoch_do_not_depend_on_buckets_or_padding(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = make(N_ITEMS, 1, embedding_size=6, embedding_dropout=0.0, hidden_dropout=0.0)
    found = []
    for bucketed, batch_size in ((True, 4), (False, 4), (False, 30)):
        batches = SequenceBatches(LOG, batch_size=batch_size, max_length=5, seed=0, bucketed=bucketed)
        found.append(_gradients(_module(network), list(batches)))
    assert len(found[0]) == len(list(network.parameters()))
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "targets",
    [
        SequenceTargets(baskets=True),
        SequenceTargets(behaviors=("purchase",)),
        SequenceTargets(behaviors=("purchase",), every_position=False),
        SequenceTargets(behaviors=("purchase",), baskets=True),
    ],
    ids=str,
)
def test_whatever_is_asked_for_the_gradients_of_an_epoch_do_not_depend_on_buckets(
    targets: SequenceTargets,
) -> None:
    log = log_of_events(
        [
            (user, step // 2, (user + step) % 2, (user * step) % N_ITEMS)
            for user in range(20)
            for step in range(user)
        ],
        n_users=20,
        n_items=N_ITEMS,
    )
    torch.manual_seed(0)
    network = LSTM(N_ITEMS, 2, embedding_size=6, embedding_dropout=0.0, hidden_dropout=0.0)
    found = []
    for bucketed, batch_size in ((True, 3), (False, 5), (False, 30)):
        batches = SequenceBatches(
            log, batch_size=batch_size, max_length=7, seed=0, targets=targets, bucketed=bucketed
        )
        found.append(_gradients(_module(network), list(batches)))
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


class _Seen(nn.Module):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LSTM(N_ITEMS, 1, embedding_size=4, inputs=EventInputs())
        self.events: list[Events] = []

    def forward(self, events: Events) -> torch.Tensor:
        self.events.append(events)
        return self.inner(events)  # type: ignore[no-any-return]

    def output_layer(self, items: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner.output_layer(items)


def _told(augmentation: Augmentation) -> tuple[Events, Events, torch.Tensor, torch.Tensor]:
    """Return what a network is told of a batch, the batch, whose items are hidden, and what is no padding."""
    network, whole = _Seen(), next(iter(SequenceBatches(LOG, batch_size=30, max_length=5, seed=0)))
    module = _module(network, augmentation=augmentation)
    torch.manual_seed(0)
    module.descend = list  # type: ignore[method-assign,assignment]  # goes through the losses
    module.training_step(whole, 0)
    (told,) = network.events
    hidden = (told.items == N_ITEMS) & whole.mask
    return told, whole.events, hidden, whole.mask


@pytest.mark.parametrize("augmentation", [Augmentation(item_dropout=0.4), Augmentation(mask=0.4)], ids=str)
def test_about_the_share_of_the_events_that_is_asked_for_is_hidden(augmentation: Augmentation) -> None:
    _, _, hidden, mask = _told(augmentation)
    assert 0.25 < float(hidden.float().mean() / mask.float().mean()) < 0.55


def test_of_a_dropped_event_nothing_is_told_and_the_others_stay() -> None:
    told, whole, hidden, mask = _told(Augmentation(item_dropout=0.4))
    assert (told.behaviors[hidden] == 1).all() and (told.gaps[hidden] == 0).all()
    for ours, theirs in zip(told, whole, strict=True):
        assert torch.equal(ours[~hidden & mask], theirs[~hidden & mask])


def test_of_a_masked_event_all_but_the_item_is_told() -> None:
    told, whole, hidden, _ = _told(Augmentation(mask=0.4))
    assert torch.equal(told.items[~hidden], whole.items[~hidden])
    assert torch.equal(told.behaviors, whole.behaviors) and torch.equal(told.gaps, whole.gaps)
