"""A fit that was cut off and gone on with is the fit that was not, bit for bit."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recdl.data.interactions import Interactions
from recdl.data.sampling import Negatives
from recdl.models.ease import EASE
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.neumf import NeuMF
from recdl.models.protocol import RankingTask, Recommender
from recdl.training.augmentation import Augmentation
from recdl.training.ensemble import Ensemble
from recdl.training.factorization import FactorizationRecommender
from recdl.training.leftovers import forget_unfinished
from recdl.training.members import fitted
from recdl.training.modules import FitModule
from recdl.training.schedules import Schedule
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import SequenceLoss
from recdl.training.settings import CheckpointSettings, TrainerSettings
from recdl.training.starts import Start
from recdl.training.tracking import TensorBoardTracking

TwoTastes = tuple[Interactions, RankingTask]
Network = FactorizationRecommender | SequenceRecommender
Make = Callable[[TrainerSettings], Network]

_SMALL = partial(NeuMF, mf_embedding_size=4, mlp_embedding_size=4, mlp_sizes=(8, 4), dropout=0.3)


def _pairs(trainer: TrainerSettings, *, batch_size: int = 2) -> Network:
    negatives = Negatives(n=1)
    return FactorizationRecommender(
        _SMALL, loss="bpr", negatives=negatives, l2=0.1, batch_size=batch_size, learning_rate=0.02, trainer=trainer
    )


def _rows(trainer: TrainerSettings) -> Network:
    negatives = Negatives(n=5)
    return FactorizationRecommender(
        _SMALL, loss="sampled_softmax", negatives=negatives, batch_size=4, learning_rate=0.02, trainer=trainer
    )


def _histories(trainer: TrainerSettings) -> Network:
    return SequenceRecommender(
        partial(LSTM, embedding_size=4, hidden_size=8),
        loss=SequenceLoss(kind="sampled", n_negatives=4),
        batch_size=4,
        averaging=0.9,
        augmentation=Augmentation(crop=0.5, mask=0.2),
        trainer=trainer,
    )


FITS: dict[str, Make] = {
    "rows of tables": _pairs,
    "whole tables": partial(_pairs, batch_size=16),
    "users": _rows,
    "histories": _histories,
}


def _settings(folder: Path, **changes: Any) -> TrainerSettings:
    settings = {
        "accelerator": "cpu",
        "max_epochs": 3,
        "patience": 2,
        "monitor": "ndcg@5",
        "checkpoint": CheckpointSettings(every_steps=3),
        "schedule": Schedule(kind="cosine", warmup=0.5),
        "progress_bar": False,
        "tracking": TensorBoardTracking(),
        "folder": folder,
    }
    return TrainerSettings(**{**settings, **changes})


class _Killed(BaseException):
    """What nothing that was there before can have expected."""


class _Steps:
    """Counts optimizer steps, and lets a fit end in the middle of one, without warning."""

    def __init__(self) -> None:
        self.n = 0
        self.kill_at = 0

    def count(self) -> None:
        self.n += 1
        if self.n == self.kill_at:
            raise _Killed


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> _Steps:
    steps, descend = _Steps(), FitModule.descend

    def counted(self: FitModule, *arguments: Any, **named: Any) -> None:
        descend(self, *arguments, **named)
        steps.count()

    monkeypatch.setattr(FitModule, "descend", counted)
    return steps


def _learned(model: Network) -> dict[str, Any]:
    curve = [
        {name: value for name, value in entry.items() if name != "seconds"} for entry in model.learning_curve_
    ]
    return {"curve": curve, **model.get_state()}


def _logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def _assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            assert found[name] == value


@pytest.mark.parametrize("make", FITS.values(), ids=FITS)
def test_a_fit_that_was_killed_time_and_again_is_the_fit_that_was_not(
    make: Make, two_tastes: TwoTastes, tmp_path: Path, steps: _Steps
) -> None:
    whole = make(_settings(tmp_path / "whole")).fit(*two_tastes)
    n_steps = steps.n
    with torch.random.fork_rng():
        for resume, share in ((False, 0.01), (True, 0.3), (True, 0.35), (True, 0.25)):
            torch.rand(3)  # the next process need not begin with the random state of the one before
            steps.n, steps.kill_at = 0, 1 + int(share * n_steps)
            with pytest.raises(_Killed):
                make(_settings(tmp_path / "cut", resume=resume)).fit(*two_tastes)
        steps.kill_at = 0
        again = make(_settings(tmp_path / "cut", resume=True)).fit(*two_tastes)
    _assert_equal(_learned(again), _learned(whole))
    assert _logged(tmp_path / "cut") == _logged(tmp_path / "whole")


def test_a_fit_that_was_finished_is_only_read(two_tastes: TwoTastes, tmp_path: Path, steps: _Steps) -> None:
    whole = _pairs(_settings(tmp_path)).fit(*two_tastes)
    steps.n = 0
    again = _pairs(_settings(tmp_path, resume=True)).fit(*two_tastes)
    assert steps.n == 0
    _assert_equal(_learned(again), _learned(whole))


def test_a_refit_is_gone_on_with_and_what_came_before_it_is_not_done_again(
    two_tastes: TwoTastes, tmp_path: Path, steps: _Steps
) -> None:
    train, task = two_tastes
    whole = FITS["users"](_settings(tmp_path / "whole")).fit(train, task)
    before = steps.n
    assert isinstance(whole, FactorizationRecommender)
    again = whole.refit(train)
    in_refit = steps.n - before
    steps.n, steps.kill_at = 0, before + in_refit // 2
    cut = FITS["users"](_settings(tmp_path / "cut")).fit(train, task)
    assert isinstance(cut, FactorizationRecommender)
    with pytest.raises(_Killed):
        cut.refit(train)
    steps.n = steps.kill_at = 0
    cut = FITS["users"](_settings(tmp_path / "cut", resume=True)).fit(train, task)
    assert isinstance(cut, FactorizationRecommender)
    assert steps.n == 0
    _assert_equal(_learned(cut.refit(train)), _learned(again))
    assert 0 < steps.n <= in_refit // 2 + 4


class _Ease(EASE):
    """Counts how often it learns."""

    fits = 0

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        _Ease.fits += 1
        return super().fit(train, validation)


def test_members_and_parts_that_were_finished_are_not_fitted_again(
    two_tastes: TwoTastes, tmp_path: Path, steps: _Steps
) -> None:
    def network(trainer: TrainerSettings, seed: int) -> Recommender:
        start = Start({"ease": partial(_Ease, l2=1.0)})
        return FactorizationRecommender(
            partial(NeuMF, mf_embedding_size=4, mlp_embedding_size=4, mlp_sizes=(8, 4)),
            loss="full_softmax",
            batch_size=8,
            start=start,
            trainer=trainer,
            seed=seed,
        )

    def ensemble(folder: Path, *, resume: bool = False) -> Ensemble:
        members: dict[str, Any] = {"first": network, "second": network}
        return Ensemble(members, trainer=_settings(folder, resume=resume))

    whole = ensemble(tmp_path / "whole").fit(*two_tastes)
    n_steps, _Ease.fits = steps.n, 0
    steps.n, steps.kill_at = 0, int(0.75 * n_steps)
    with pytest.raises(_Killed):
        ensemble(tmp_path / "cut").fit(*two_tastes)
    assert _Ease.fits == 2
    steps.n = steps.kill_at = 0
    again = ensemble(tmp_path / "cut", resume=True).fit(*two_tastes)
    assert _Ease.fits == 2
    assert 0 < steps.n <= n_steps // 4 + 4
    _assert_equal(dict(again.get_state()), dict(whole.get_state()))
    forget_unfinished(tmp_path / "cut")
    assert not [path for path in (tmp_path / "cut").rglob("*") if path.name.startswith(("last", "finished"))]


def test_what_a_finished_part_has_left_is_learned_again_where_it_is_damaged(
    two_tastes: TwoTastes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = _settings(tmp_path)
    whole = fitted(partial(_Ease, l2=1.0), "ease", two_tastes[0], None, trainer=settings, seed=0)
    path = tmp_path / "ease" / "finished.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    again = fitted(
        partial(_Ease, l2=1.0), "ease", two_tastes[0], None, trainer=_settings(tmp_path, resume=True), seed=0
    )
    assert "finished.safetensors is damaged" in capsys.readouterr().err
    _assert_equal(dict(again.get_state()), dict(whole.get_state()))
