from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.sampling import Negatives
from recdl.errors import ConfigError
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.matrix_factorization import MatrixFactorization
from recdl.models.protocol import RankingTask
from recdl.training.factorization import FactorizationRecommender
from recdl.training.optimizers import RowAdamW
from recdl.training.schedules import Schedule
from recdl.training.sequence import SequenceRecommender
from recdl.training.settings import TrainerSettings

TwoTastes = tuple[Interactions, RankingTask]


def _shares(schedule: Schedule, *, steps_per_epoch: int = 4, epochs: int = 2) -> list[float]:
    n = steps_per_epoch * epochs
    return [schedule.share(done, steps_per_epoch=steps_per_epoch, epochs=epochs) for done in range(n)]


def test_by_default_every_step_has_the_whole_rate() -> None:
    assert not Schedule().moves
    assert _shares(Schedule()) == [1.0] * 8


def test_it_rises_in_a_straight_line_and_stays() -> None:
    assert _shares(Schedule(warmup=1.0)) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_it_falls_in_a_straight_line_to_its_final_share() -> None:
    assert _shares(Schedule(kind="linear", final=0.5)) == pytest.approx(
        [1.0, 0.9375, 0.875, 0.8125, 0.75, 0.6875, 0.625, 0.5625]
    )


def test_it_falls_along_half_a_cosine_after_the_warm_up() -> None:
    half = 0.5**0.5
    expected = [1 / 2, 1.0, 1.0, (1 + 3**0.5 / 2) / 2, 0.75, 0.5, 0.25, (1 - 3**0.5 / 2) / 2]
    assert _shares(Schedule(kind="cosine", warmup=0.5)) == pytest.approx(expected)
    assert _shares(Schedule(kind="cosine"))[2] == pytest.approx((1 + half) / 2)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.floats(0, 3),
    st.floats(0, 1),
    st.integers(1, 20),
    st.integers(1, 200),
)
def test_it_rises_once_and_never_again_and_stays_within_the_rate(
    kind: Any, warmup: float, final: float, steps_per_epoch: int, done: int
) -> None:
    schedule = Schedule(kind=kind, warmup=warmup, final=final)
    now, then = (schedule.share(step, steps_per_epoch=steps_per_epoch, epochs=4) for step in (done, done + 1))
    assert 0 <= now <= 1
    assert now <= then if done + 1 < warmup * steps_per_epoch else then <= now
    if kind != "constant":
        assert schedule.share(10**6, steps_per_epoch=steps_per_epoch, epochs=4) == pytest.approx(final)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warmup": -1.0}, r"^schedule\.warmup must be 0 or more epochs, and finite, not -1"),
        ({"final": 1.5}, r"^schedule\.final is a share of the learning rate, between 0 and 1, not 1\.5"),
        ({"epochs": 0}, r"^schedule\.epochs must be at least 1, not 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Schedule(**settings)


def test_a_warm_up_must_leave_something_of_the_training() -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.schedule\.warmup=3 leaves nothing of the 3 epochs planned"):
        TrainerSettings(max_epochs=3, schedule=Schedule(warmup=3))


COSINE = Schedule(kind="cosine", warmup=0.5, final=0.1)


def _trainer(epochs: int, schedule: Schedule = COSINE) -> TrainerSettings:
    return TrainerSettings(accelerator="cpu", max_epochs=epochs, progress_bar=False, schedule=schedule)


def _sequence(trainer: TrainerSettings) -> SequenceRecommender:
    network = partial(LSTM, embedding_size=8, hidden_size=8)
    return SequenceRecommender(network, learning_rate=0.02, batch_size=16, trainer=trainer)


def _factors(trainer: TrainerSettings, **settings: Any) -> FactorizationRecommender:
    network = partial(MatrixFactorization, embedding_size=8)
    learning = {"negatives": Negatives(n=2), "learning_rate": 0.02, "batch_size": 16}
    return FactorizationRecommender(network, loss="bpr", trainer=trainer, **learning, **settings)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate of the first group at each step of an optimizer."""
    seen: list[float] = []
    for kind in (torch.optim.AdamW, RowAdamW):
        step = kind.step

        def noted(self: Any, *arguments: Any, step: Any = step, **named: Any) -> Any:
            seen.append(self.param_groups[0]["lr"])
            return step(self, *arguments, **named)

        monkeypatch.setattr(kind, "step", noted)
    return seen


@pytest.mark.parametrize("make", [_sequence, _factors])
def test_each_step_of_every_network_is_made_with_its_share(
    two_tastes: TwoTastes, rates: list[float], make: Any
) -> None:
    make(_trainer(3)).fit(two_tastes[0])
    per_epoch = len(rates) // 3
    assert per_epoch > 2
    expected = [0.02 * share for share in _shares(COSINE, steps_per_epoch=per_epoch, epochs=3)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("rows_pay", [0, 1 << 40], ids=["rows", "tables"])
def test_decay_takes_its_share_of_an_epoch_whatever_the_rate(
    two_tastes: TwoTastes, monkeypatch: pytest.MonkeyPatch, rows_pay: int
) -> None:
    monkeypatch.setattr("recdl.training.factorization._ROWS_PAY", rows_pay)
    log = two_tastes[0]
    log = replace(
        log, offsets=np.append(log.offsets, log.offsets[-1])
    )  # a user without events, moved by decay alone
    weights = [
        _factors(_trainer(2, schedule), l2=0.3).fit(log).get_state()["network.user_embedding.weight"][-1]
        for schedule in (Schedule(), COSINE)
    ]
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-4)


@pytest.mark.parametrize("make", [_sequence, _factors])
def test_a_model_fitted_again_for_its_best_epochs_learns_at_the_rates_of_the_first(
    two_tastes: TwoTastes, make: Any
) -> None:
    train, task = two_tastes
    trainer = _trainer(6)
    first = make(trainer).fit(train, task)
    again = trainer.again(first.learning_curve_)
    assert again.schedule.epochs == 6
    assert again.again([{"epoch": 0, "validation/ndcg@10": 1.0}]).schedule.epochs == 6
    second = make(again).fit(train)
    np.testing.assert_array_equal(first.score(Queries.at_end(train)), second.score(Queries.at_end(train)))
