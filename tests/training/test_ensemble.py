from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.metrics.ranking import RANKING_METRICS, RankedTargets
from recdl.models.ease import EASE
from recdl.models.networks.lstm import LSTM
from recdl.models.popularity import Popularity
from recdl.models.protocol import RankingTask, Recommender
from recdl.models.ranking import rank
from recdl.training.ensemble import Ensemble, scaled, weight_grid
from recdl.training.sequence import SequenceRecommender
from recdl.training.settings import TrainerSettings

TwoTastes = tuple[Interactions, RankingTask]
ROWS = np.array([[1.0, 3.0, 2.0, 2.0], [5.0, 5.0, 5.0, 5.0]], np.float32)
TRAINER = TrainerSettings(accelerator="cpu", max_epochs=4, progress_bar=False)


def _lstm(**extras: Any) -> SequenceRecommender:
    network = partial(LSTM, embedding_size=16, hidden_size=16)
    return SequenceRecommender(network, learning_rate=0.02, batch_size=16, **extras)


def _lstm_factory(*, trainer: TrainerSettings, seed: int) -> SequenceRecommender:
    return _lstm(trainer=trainer, seed=seed)


MEMBERS: Any = {"lstm": _lstm_factory, "ease": EASE, "popularity": Popularity}


def _quality(model: Recommender, task: RankingTask) -> float:
    ranks = rank(model, task, k=10).ranks
    return float(RANKING_METRICS["ndcg"](RankedTargets(ranks, task.query_set.target_offsets), 10).mean())


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ("standard", [[-(2.0**0.5), 2.0**0.5, 0.0, 0.0], [0.0] * 4]),
        ("reciprocal_rank", [[1 / 64, 1 / 61, 1 / 62.5, 1 / 62.5], [1 / 62.5] * 4]),
    ],
)
def test_scores_are_scaled_row_by_row_and_a_constant_row_says_nothing(scale: Any, expected: npt.ArrayLike) -> None:
    np.testing.assert_allclose(scaled(ROWS, scale), expected, rtol=1e-6)


def test_a_softmax_does_not_overflow() -> None:
    found = scaled(np.array([[1000.0, 1000.0, -1000.0]], np.float32), "softmax")
    np.testing.assert_allclose(found, [[0.5, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("n_members", "n", "step"), [(1, 1, 1 / 20), (2, 21, 1 / 20), (3, 91, 1 / 12), (4, 84, 1 / 6)]
)
def test_the_grid_has_all_mixtures_of_a_step_and_single_members_among_them(
    n_members: int, n: int, step: float
) -> None:
    grid = weight_grid(n_members)
    assert len(np.unique(grid, axis=0)) == len(grid) == n
    np.testing.assert_allclose(grid.sum(1), 1.0)
    np.testing.assert_allclose(grid / step, np.round(grid / step), atol=1e-9)
    for row in np.eye(n_members):
        assert (grid == row).all(1).any()


def test_more_members_than_mixtures_allow_are_tried_alone() -> None:
    np.testing.assert_array_equal(weight_grid(150), np.eye(150))


def test_scores_are_the_weighted_sum_of_the_members_scaled_scores(two_tastes: TwoTastes) -> None:
    train, _ = two_tastes
    model = Ensemble({"ease": EASE, "popularity": Popularity}, weights={"popularity": 1.0, "ease": 3.0}).fit(train)
    queries = Queries.at_end(train)
    ease, popularity = (scaled(one.fit(train).score(queries), "standard") for one in (EASE(), Popularity()))
    np.testing.assert_allclose(model.score(queries), 0.75 * ease + 0.25 * popularity, rtol=1e-5, atol=1e-6)


def test_the_weights_are_the_best_of_all_mixtures_on_validation(two_tastes: TwoTastes) -> None:
    train, task = two_tastes
    members: Any = {"ease": EASE, "popularity": Popularity}
    model = Ensemble(members, trainer=TRAINER).fit(train, task)
    tried = []
    for ease, popularity in weight_grid(2):
        fixed = Ensemble(members, weights={"ease": ease, "popularity": popularity}).fit(train)
        tried.append(_quality(fixed, task))
    assert _quality(model, task) == pytest.approx(max(tried))
    assert model.weights_.tolist() == weight_grid(2)[int(np.argmax(tried))].tolist()
    assert model.figures_ == {"model/weight/ease": model.weights_[0], "model/weight/popularity": model.weights_[1]}


def test_no_member_is_better_on_validation_than_all_together(two_tastes: TwoTastes) -> None:
    train, task = two_tastes
    model = Ensemble(MEMBERS, trainer=TRAINER).fit(train, task)
    assert _quality(model, task) >= max(_quality(member, task) for member in model.members_.values())


def test_the_parts_that_validation_is_ranked_in_do_not_matter(
    two_tastes: TwoTastes, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, task = two_tastes
    members: Any = {"ease": EASE, "popularity": Popularity}
    whole = Ensemble(members, trainer=TRAINER).fit(train, task)
    monkeypatch.setattr("recdl.training.ensemble._BYTES_AT_ONCE", 4 * 2 * train.n_items * 7)
    np.testing.assert_array_equal(Ensemble(members, trainer=TRAINER).fit(train, task).weights_, whole.weights_)


def test_without_validation_all_weigh_alike(two_tastes: TwoTastes) -> None:
    model = Ensemble({"ease": EASE, "popularity": Popularity}).fit(two_tastes[0])
    assert model.weights_.tolist() == [0.5, 0.5]


def test_a_member_that_weighs_nothing_is_not_asked(two_tastes: TwoTastes, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Ensemble({"ease": EASE, "popularity": Popularity}, weights={"ease": 1, "popularity": 0})
    model.fit(two_tastes[0])
    monkeypatch.delattr(Popularity, "score")
    assert np.isfinite(model.score(Queries.at_end(two_tastes[0]))).all()


def test_members_are_given_the_seed_and_a_folder_of_their_own(two_tastes: TwoTastes, tmp_path: Path) -> None:
    train, task = two_tastes
    trainer = TrainerSettings(accelerator="cpu", max_epochs=1, progress_bar=False, folder=tmp_path)
    model = Ensemble({"one": _lstm_factory, "two": _lstm_factory}, trainer=trainer, seed=5).fit(train, task)
    assert [member.seed for member in model.members_.values()] == [5, 5]  # type: ignore[attr-defined]
    assert sorted(path.parent.parent.name for path in tmp_path.rglob("best-*.ckpt")) == ["one", "two"]


def test_a_fit_on_all_that_is_known_keeps_weights_and_epochs(two_tastes: TwoTastes) -> None:
    train, task = two_tastes
    members: Any = {"lstm": _lstm_factory, "ease": EASE}
    model = Ensemble(members, trainer=TRAINER).fit(train, task)
    again = model.refit(train)
    curve = [entry["validation/ndcg@10"] for entry in model.members_["lstm"].learning_curve_]  # type: ignore[attr-defined]
    assert len(again.members_["lstm"].learning_curve_) == 1 + int(np.argmax(curve))  # type: ignore[attr-defined]
    assert again.weights_.tolist() == model.weights_.tolist()
    np.testing.assert_array_equal(again.score(Queries.at_end(train)), model.score(Queries.at_end(train)))


def test_a_state_of_other_members_is_refused_by_their_name(two_tastes: TwoTastes) -> None:
    state = Ensemble({"ease": EASE, "popularity": Popularity}).fit(two_tastes[0]).get_state()
    with pytest.raises(RecordError, match=r"^members\.knn: "):
        Ensemble({"ease": EASE, "knn": Popularity}).set_state(state)
    with pytest.raises(RecordError, match=r"no 'weights' of 1 members"):
        Ensemble({"ease": EASE}).set_state(state)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"ease": 1.0}, "model.weights must name ease, popularity, not ease"),
        ({"ease": -1.0, "popularity": 1.0}, "model.weights must be 0 or more, finite and not all 0"),
        ({"ease": 0.0, "popularity": 0.0}, "model.weights must be 0 or more, finite and not all 0"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Ensemble({"ease": EASE, "popularity": Popularity}, weights=weights)
