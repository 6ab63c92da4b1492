"""Logs whose next item only a reader of sequences, or of behaviours, can know."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.queries import Queries
from recdl.models.neighbors import ItemKNN
from recdl.models.networks.cnn import CNN
from recdl.models.networks.events import EventInputs
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.sasrec import SASRec
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import SequenceLoss
from recdl.training.settings import TrainerSettings
from tests.logs import log_of_events, log_of_items

N_ITEMS = 7
VIEW, CART, PURCHASE = 0, 1, 2


def _model(
    network: Any, *, behaviors: bool = True, epochs: int, learning_rate: float = 0.005
) -> SequenceRecommender:
    inputs = EventInputs(behaviors=behaviors, gaps=False, positions=8)
    make = partial(network, embedding_size=32, embedding_dropout=0.0, hidden_dropout=0.0, inputs=inputs)
    trainer = TrainerSettings(accelerator="cpu", max_epochs=epochs, progress_bar=False)
    loss = SequenceLoss(kind="full")
    return SequenceRecommender(make, loss=loss, learning_rate=learning_rate, batch_size=32, trainer=trainer)


def _after(first: int, second: int) -> int:
    """Neither of two items tells anything of the third without the other."""
    return (2 * first + second + 3) % N_ITEMS


def _walk(generator: np.random.Generator, length: int) -> list[int]:
    items: list[int] = generator.integers(0, N_ITEMS, 2).tolist()
    while len(items) < length:
        items.append(_after(*items[-2:]))
    return items


def _accuracy(scores: npt.NDArray[np.float32], targets: list[int]) -> float:
    return float((scores.argmax(1) == targets).mean())


@pytest.mark.parametrize(("network", "epochs"), [(LSTM, 20), (GRU, 20), (CNN, 25), (SASRec, 60)])
def test_who_reads_sequences_finds_what_depends_on_the_last_two_items_and_item_knn_does_not(
    network: Any, epochs: int
) -> None:
    generator = np.random.default_rng(0)
    train = log_of_items([_walk(generator, 8) for _ in range(600)], n_items=N_ITEMS)
    pairs = [[first, second] for first in range(N_ITEMS) for second in range(N_ITEMS)]
    queries, targets = Queries.anonymous(pairs), [_after(*pair) for pair in pairs]
    assert _accuracy(_model(network, epochs=epochs).fit(train).score(queries), targets) > 0.95
    assert _accuracy(ItemKNN().fit(train).score(queries), targets) < 0.4


def _visit(generator: np.random.Generator) -> tuple[list[int], int]:
    """Return three different items, and which of them goes into the cart, and is then bought."""
    return generator.permutation(N_ITEMS)[:3].tolist(), int(generator.integers(3))


def test_purchases_that_follow_carts_are_found_when_behaviors_are_told_and_not_when_they_are_hidden() -> None:
    generator = np.random.default_rng(0)
    visits = [_visit(generator) for _ in range(600)]
    events = [
        (user, time, CART if time == cart else VIEW, item)
        for user, (items, cart) in enumerate(visits)
        for time, item in enumerate(items)
    ]
    events += [(user, 3, PURCHASE, items[cart]) for user, (items, cart) in enumerate(visits)]
    names = ("view", "cart", "purchase")
    train = log_of_events(events, n_users=len(visits), n_items=N_ITEMS, behavior_names=names)
    asked = [_visit(generator) for _ in range(200)]
    behaviors = [[CART if time == cart else VIEW for time in range(3)] for _, cart in asked]
    queries = Queries.anonymous([items for items, _ in asked], behaviors)
    targets = [items[cart] for items, cart in asked]
    told, hidden = (
        _model(LSTM, behaviors=on, epochs=20, learning_rate=0.01).fit(train).score(queries) for on in (True, False)
    )
    assert _accuracy(told, targets) > 0.95
    assert _accuracy(hidden, targets) < 0.5
