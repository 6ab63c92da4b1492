import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch

from recdl.data.interactions import Interactions
from recdl.models.networks.neumf import NeuMF
from recdl.models.protocol import RankingTask
from recdl.training.factorization import FactorizationRecommender
from recdl.training.interruption import held_signals
from recdl.training.settings import TrainerSettings

TwoTastes = tuple[Interactions, RankingTask]


class _SignallingNetwork(NeuMF):
    """Sends signals to its own process from the middle of a step, and counts the steps it finished."""

    def __init__(self, n_users: int, n_items: int, *, send: list[int], at: int) -> None:
        super().__init__(n_users, n_items)
        self.send, self.at, self.begun, self.ended = send, at, 0, 0

    def interact(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor) -> torch.Tensor:
        self.begun += 1
        if self.begun == self.at:
            for number in self.send:
                os.kill(os.getpid(), number)
        logits = super().interact(user_vectors, item_vectors)
        self.ended += 1
        return logits


@pytest.fixture
def terminated() -> Iterator[None]:
    """Exit with 143 on SIGTERM, as the verbs do."""
    handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    yield
    signal.signal(signal.SIGTERM, handler)


def _model(max_epochs: int = 50, **network: Any) -> FactorizationRecommender:
    trainer = TrainerSettings(accelerator="cpu", max_epochs=max_epochs, progress_bar=False)
    return FactorizationRecommender(
        partial(_SignallingNetwork, **network), loss="full_softmax", batch_size=8, trainer=trainer
    )


def _steps(model: FactorizationRecommender) -> tuple[int, int]:
    network = model.network_
    assert isinstance(network, _SignallingNetwork)
    return network.begun, network.ended


def test_ctrl_c_stops_the_fit_after_the_step_it_came_in(two_tastes: TwoTastes) -> None:
    model = _model(send=[signal.SIGINT], at=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(two_tastes[0])
    assert _steps(model) == (3, 3)


def test_a_second_ctrl_c_stops_at_once(two_tastes: TwoTastes) -> None:
    model = _model(send=[signal.SIGINT, signal.SIGINT], at=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(two_tastes[0])
    assert _steps(model) == (3, 2)


@pytest.mark.usefixtures("terminated")
def test_sigterm_stops_after_the_step_and_keeps_its_own_status(two_tastes: TwoTastes) -> None:
    model = _model(send=[signal.SIGTERM], at=3)
    with pytest.raises(SystemExit) as stopped:
        model.fit(two_tastes[0])
    assert stopped.value.code == 143
    assert _steps(model) == (3, 3)


def test_a_signal_in_the_last_step_is_not_lost(two_tastes: TwoTastes) -> None:
    with pytest.raises(KeyboardInterrupt):
        _model(max_epochs=1, send=[signal.SIGINT], at=4).fit(two_tastes[0])  # 200 pairs in batches of 64


def test_handlers_are_given_back_whatever_comes_of_the_fit(two_tastes: TwoTastes) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        _model(send=[signal.SIGINT], at=1).fit(two_tastes[0])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
def test_what_no_signal_caused_passes_unchanged(error: Callable[[], BaseException]) -> None:
    with pytest.raises(error), held_signals():  # type: ignore[call-overload]
        raise error()
