"""Logs whose next item only a reader of sequences, or of behaviours, can know."""

from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.queries import Queries
from recdl.data.targets import SequenceTargets
from recdl.models.neighbors import ItemKNN
from recdl.models.networks.cnn import CNN
from recdl.models.networks.events import EventInputs
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.sasrec import SASRec
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import SequenceLoss
from recdl.training.settings import TrainerSettings
from tests.logs import Event, log_of_events, log_of_items

Kind = Literal["full", "sampled", "gbce", "bpr_max", "top1_max"]
N_ITEMS = 7
VIEW, CART, PURCHASE = 0, 1, 2
NAMES = ("view", "cart", "purchase")
NEXT_ITEM = SequenceTargets()


def _model(
    network: Any,
    *,
    behaviors: bool = True,
    epochs: int,
    learning_rate: float = 0.005,
    targets: SequenceTargets = NEXT_ITEM,
) -> SequenceRecommender:
    inputs = EventInputs(behaviors=behaviors, gaps=False, positions=8)
    make = partial(network, embedding_size=32, embedding_dropout=0.0, hidden_dropout=0.0, inputs=inputs)
    trainer = TrainerSettings(accelerator="cpu", max_epochs=epochs, progress_bar=False)
    loss = SequenceLoss(kind="full")
    return SequenceRecommender(
        make, targets=targets, loss=loss, learning_rate=learning_rate, batch_size=32, trainer=trainer
    )


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
    train = log_of_events(events, n_users=len(visits), n_items=N_ITEMS, behavior_names=NAMES)
    asked = [_visit(generator) for _ in range(200)]
    behaviors = [[CART if time == cart else VIEW for time in range(3)] for _, cart in asked]
    queries = Queries.anonymous([items for items, _ in asked], behaviors)
    targets = [items[cart] for items, cart in asked]
    told, hidden = (
        _model(LSTM, behaviors=on, epochs=20, learning_rate=0.01).fit(train).score(queries) for on in (True, False)
    )
    assert _accuracy(told, targets) > 0.95
    assert _accuracy(hidden, targets) < 0.5


def _shopping(generator: np.random.Generator, user: int) -> tuple[list[Event], int]:
    """Return three views, one of them followed by a cart, and two views more; and what was put into the cart."""
    items, cart = generator.permutation(N_ITEMS)[:5].tolist(), int(generator.integers(3))
    seen: list[Event] = []
    for item in items:
        seen.append((user, len(seen), VIEW, item))
        if item == items[cart]:
            seen.append((user, len(seen), CART, item))
    return seen, items[cart]


def test_asked_for_the_next_purchase_it_is_found_events_ahead_and_asked_for_the_next_event_it_is_not() -> None:
    generator = np.random.default_rng(0)
    visits = [_shopping(generator, user) for user in range(500)]
    # What was in the cart is bought, but only after another look around that nobody can foresee.
    events = [event for seen, _ in visits for event in seen]
    for user, (_, bought) in enumerate(visits):
        events += [(user, 10 + look, VIEW, int(generator.integers(N_ITEMS))) for look in range(2)]
        events += [(user, 20, PURCHASE, bought)]
    train = log_of_events(events, n_users=len(visits), n_items=N_ITEMS, behavior_names=NAMES)
    asked = [_shopping(generator, 0) for _ in range(200)]
    queries = Queries.anonymous(
        [[item for *_, item in seen] for seen, _ in asked], [[code for _, _, code, _ in seen] for seen, _ in asked]
    )
    purchase, event = (
        _model(LSTM, epochs=15, learning_rate=0.01, targets=targets).fit(train).score(queries)
        for targets in (SequenceTargets(behaviors=("purchase",)), NEXT_ITEM)
    )
    targets = [bought for _, bought in asked]
    assert _accuracy(purchase, targets) > 0.95
    assert _accuracy(event, targets) < 0.5


@pytest.mark.parametrize("kind", ["full", "sampled", "gbce", "bpr_max", "top1_max"])
def test_after_a_basket_all_items_of_the_next_are_ranked_above_all_others(kind: Kind) -> None:
    """Which two items are bought together next is told by the pair bought before."""
    pairs = [(0, 1), (2, 3), (4, 5)]
    events = [
        (user, week, VIEW, item) for user in range(60) for week in range(4) for item in pairs[(user + week) % 3]
    ]
    train = log_of_events(events, n_users=60, n_items=N_ITEMS, behavior_names=NAMES)
    model = _model(LSTM, epochs=30, learning_rate=0.02, targets=SequenceTargets(baskets=True))
    model.loss = SequenceLoss(kind=kind, n_negatives=20)
    scores = model.fit(train).score(Queries.anonymous([list(pair) for pair in pairs]))
    best = np.sort(np.argsort(-scores, axis=1)[:, :2], axis=1)
    assert best.tolist() == [[2, 3], [4, 5], [0, 1]]


def test_telling_the_next_behavior_changes_what_is_learned_and_leaves_the_state_as_it_is() -> None:
    generator = np.random.default_rng(0)
    events = [event for user in range(50) for event in _shopping(generator, user)[0]]
    train = log_of_events(events, n_users=50, n_items=N_ITEMS, behavior_names=NAMES)
    plain, told = (
        _model(LSTM, epochs=2, targets=SequenceTargets(behavior_weight=weight)).fit(train) for weight in (0.0, 1.0)
    )
    assert plain.get_state().keys() == told.get_state().keys()
    assert told.learning_curve_[0]["loss"] > plain.learning_curve_[0]["loss"] + 0.3  # the second loss counts
    queries = Queries.at_end(train)
    assert not np.allclose(plain.score(queries), told.score(queries))
