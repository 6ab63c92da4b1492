from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.sampling import Negatives, Pairs
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models import memory
from recdl.models.networks.matrix_factorization import MatrixFactorization
from recdl.models.networks.neumf import NeuMF
from recdl.models.protocol import RankingTask
from recdl.training.factorization import FactorizationRecommender, Loss
from recdl.training.settings import TrainerSettings
from tests.conftest import GROUP, N_USERS
from tests.logs import log_of_items

TwoTastes = tuple[Interactions, RankingTask]


def _model(
    *, seed: int = 0, max_epochs: int = 10, folder: Path | None = None, patience: int = 60, **settings: object
):
    network = partial(NeuMF, mf_embedding_size=8, mlp_embedding_size=8, mlp_sizes=(8, 4), initial_deviation=0.1)
    trainer = TrainerSettings(
        accelerator="cpu", max_epochs=max_epochs, patience=patience, progress_bar=False, folder=folder
    )
    options = {"loss": "bce", "batch_size": 32, "learning_rate": 0.02, "negatives": Negatives(n=1), **settings}
    return FactorizationRecommender(network, trainer=trainer, seed=seed, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(two_tastes: TwoTastes) -> FactorizationRecommender:
    return _model().fit(two_tastes[0])


def _own_group_first(scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Whether the best eight items of each row are those of its group."""
    best = np.argsort(-scores, axis=1)[:, :GROUP]
    return (best // GROUP == groups[:, None]).all(1)


def _share_in_order(scores: np.ndarray, groups: np.ndarray) -> float:
    """Of all pairs of an item of a row's group and one of the other, the share that is in the right order."""
    first, second = scores[:, :GROUP], scores[:, GROUP:]
    wins = (first[:, :, None] > second[:, None, :]).mean((1, 2))
    return float(np.where(groups == 0, wins, 1 - wins).mean())


def test_users_are_recommended_the_items_of_their_own_taste(
    fitted: FactorizationRecommender, two_tastes: TwoTastes
) -> None:
    scores = fitted.score(Queries.at_end(two_tastes[0]))
    assert scores.dtype == np.float32
    assert scores.shape == (N_USERS, 2 * GROUP)
    assert _own_group_first(scores, np.arange(N_USERS) % 2).mean() > 0.9


def test_a_new_user_is_folded_in_from_its_history(fitted: FactorizationRecommender) -> None:
    queries = Queries.anonymous([[0, 1, 2], [8, 9, 10], [15, 14], [3, 5, 6, 7]])
    assert _own_group_first(fitted.score(queries), np.array([0, 1, 1, 0])).all()


def test_folding_in_does_not_depend_on_the_batch(fitted: FactorizationRecommender) -> None:
    queries = Queries.anonymous([[0, 1, 2], [], [8, 9, 10, 11, 12], [3]])
    alone = np.concatenate([fitted.score(queries[row : row + 1]) for row in range(4)])
    np.testing.assert_allclose(fitted.score(queries), alone, rtol=1e-3, atol=1e-4)


def test_folding_in_changes_nothing_that_was_learned(
    fitted: FactorizationRecommender, two_tastes: TwoTastes
) -> None:
    before = fitted.score(Queries.at_end(two_tastes[0]))
    fitted.score(Queries.anonymous([[0, 1, 2]]))
    assert np.array_equal(before, fitted.score(Queries.at_end(two_tastes[0])))


def test_a_user_without_any_event_is_scored_as_the_mean_user(two_tastes: TwoTastes) -> None:
    rows = [two_tastes[0].items[5 * user : 5 * user + 5].tolist() for user in range(N_USERS)]
    train = log_of_items([*rows, []], n_items=2 * GROUP)
    model = _model(max_epochs=2).fit(train)
    unknown = model.score(Queries.anonymous([[]]))
    np.testing.assert_allclose(model.score(Queries.at_end(train))[-1:], unknown, rtol=1e-5)


def test_equal_seeds_give_equal_scores_and_others_do_not(two_tastes: TwoTastes) -> None:
    queries = Queries.at_end(two_tastes[0])
    first, second, other = (
        _model(seed=seed, max_epochs=2).fit(two_tastes[0]).score(queries) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_fitting_leaves_the_global_random_state_alone(two_tastes: TwoTastes) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    _model(max_epochs=1).fit(two_tastes[0])
    assert torch.equal(torch.rand(3), expected)


def test_the_epoch_that_is_best_on_validation_is_kept(two_tastes: TwoTastes, tmp_path: Path) -> None:
    train, task = two_tastes
    model = _model(max_epochs=12, learning_rate=0.1, folder=tmp_path).fit(train, task)
    values = [entry["validation/ndcg@10"] for entry in model.learning_curve_]
    again = _model(max_epochs=int(np.argmax(values)) + 1, learning_rate=0.1).fit(train)
    queries = Queries.at_end(train)
    np.testing.assert_array_equal(model.score(queries), again.score(queries))
    assert (tmp_path / "checkpoints" / f"best-{int(np.argmax(values)):05d}.ckpt").is_file()


def test_training_stops_when_validation_no_longer_improves(two_tastes: TwoTastes) -> None:
    model = _model(max_epochs=50, patience=2, learning_rate=1e-12).fit(*two_tastes)
    assert len(model.learning_curve_) == 3


def test_the_learning_curve_has_the_loss_of_each_epoch(two_tastes: TwoTastes) -> None:
    curve = _model(max_epochs=30).fit(two_tastes[0]).learning_curve_
    assert [entry["epoch"] for entry in curve] == list(range(30))
    assert curve[-1]["loss"] < 0.7 * curve[0]["loss"]


def test_a_diverging_loss_stops_the_run_with_advice(two_tastes: TwoTastes) -> None:
    with pytest.raises(DataError, match=r"it diverged; lower model.learning_rate"):
        _model(max_epochs=20, learning_rate=1e30).fit(two_tastes[0])


def test_a_loss_that_diverges_leaves_the_last_good_checkpoint(two_tastes: TwoTastes, tmp_path: Path) -> None:
    log, task = two_tastes

    class Diverging(NeuMF):
        calls = 0

        def interact(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor) -> torch.Tensor:
            logits = super().interact(user_vectors, item_vectors)
            if not self.training:
                return logits
            Diverging.calls += 1
            return logits * torch.nan if Diverging.calls > 2 * steps else logits

    steps = -(-len(Pairs.of(log).users) // 32)
    model = _model(folder=tmp_path)
    model.network = partial(Diverging, mf_embedding_size=8, mlp_embedding_size=8, mlp_sizes=(8, 4))
    message = r"in epoch 2: it diverged; lower model\.learning_rate .* what is whole of it is .*best-0000[01].ckpt"
    with pytest.raises(DataError, match=message):
        model.fit(log, task)
    (best,) = (tmp_path / "checkpoints").glob("best-*.ckpt")
    kept = torch.load(best, weights_only=True)
    assert kept["epoch"] <= 1
    assert all(torch.isfinite(weights).all() for weights in kept["module"].values())


def test_a_network_that_would_not_fit_is_refused_before_it_is_made(
    two_tastes: TwoTastes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 50)
    with pytest.raises(DataError, match=r"training a network of [\d,]+ weights needs .* lower model\.network"):
        _model().fit(two_tastes[0])


def test_the_state_gives_equal_scores_in_another_model(
    fitted: FactorizationRecommender, two_tastes: TwoTastes
) -> None:
    other = _model(seed=0).set_state(fitted.get_state())
    queries = Queries.at_end(two_tastes[0])
    assert np.array_equal(other.score(queries), fitted.score(queries))


def test_a_state_of_another_shape_is_refused(fitted: FactorizationRecommender) -> None:
    model = FactorizationRecommender(partial(NeuMF, mf_embedding_size=4))
    with pytest.raises(RecordError, match="do not fit the model's settings"):
        model.set_state(fitted.get_state())


def test_a_state_without_its_users_is_refused() -> None:
    with pytest.raises(RecordError, match="no array 'trained_users'"):
        _model().set_state({"weight": np.zeros(1)})


@pytest.mark.parametrize("name", ["learning_rate", "batch_size"])
def test_settings_that_must_be_positive_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{name} must be above 0, not 0"):
        _model(**{name: 0})


@pytest.mark.parametrize("l2", [-0.1, 1.0])
def test_an_l2_that_is_no_share_is_refused(l2: float) -> None:
    with pytest.raises(ConfigError, match=rf"model.l2 .* must lie in \[0, 1\), not {l2}"):
        _model(l2=l2)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (partial(MatrixFactorization, embedding_size=0), "embedding_size must be at least 1, not 0"),
        (partial(MatrixFactorization, embedding_size=-3), "embedding_size must be at least 1, not -3"),
        (partial(NeuMF, mlp_embedding_size=0), "mlp_embedding_size and each of mlp_sizes must be at least 1"),
        (partial(NeuMF, mlp_sizes=(8, 0)), "mlp_embedding_size and each of mlp_sizes must be at least 1"),
        (partial(NeuMF, dropout=1.5), "dropout probability has to be between 0 and 1"),
    ],
)
def test_a_network_that_cannot_be_made_is_refused_before_there_is_data(
    network: partial[torch.nn.Module], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^model.network: {message}"):
        FactorizationRecommender(network)


def test_an_unknown_loss_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"one of bce, gbce, bpr, hardest, .* not 'mse'"):
        _model(loss="mse")


def test_a_negative_weight_of_a_behaviour_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"behavior_weights\.view must be at least 0 and finite, not -1"):
        _model(behavior_weights={"view": -1.0})


NETWORKS = {
    "neumf": partial(NeuMF, mf_embedding_size=8, mlp_embedding_size=8, mlp_sizes=(8, 4), initial_deviation=0.1),
    "gmf": partial(NeuMF, mf_embedding_size=8, mlp_sizes=(), initial_deviation=0.1, item_bias=True),
    "mf": partial(MatrixFactorization, embedding_size=8, initial_deviation=0.1),
}


@pytest.mark.parametrize("loss", get_args(Loss))
@pytest.mark.parametrize("network", NETWORKS)
def test_each_network_learns_the_tastes_by_each_loss(network: str, loss: Loss, two_tastes: TwoTastes) -> None:
    rows = "softmax" in loss
    # A small step, or one steered by differences alone, takes a perceptron longer; a long one learns by heart.
    epochs = 20 if rows or (network, loss) in (("neumf", "hardest"), ("neumf", "bpr")) else 10
    model = FactorizationRecommender(
        NETWORKS[network],
        loss=loss,
        negatives=Negatives(n=8 if rows else 2),
        learning_rate=0.03,
        l2=0.3,
        batch_size=8 if rows else 32,
        trainer=TrainerSettings(accelerator="cpu", max_epochs=epochs, progress_bar=False),
    ).fit(two_tastes[0])
    known = model.score(Queries.at_end(two_tastes[0]))
    assert _share_in_order(known, np.arange(N_USERS) % 2) > 0.95
    new = model.score(Queries.anonymous([[0, 1, 2], [8, 9, 10], [15, 14, 12], [3, 5, 6, 7]]))
    assert _share_in_order(new, np.array([0, 1, 1, 0])) > 0.95


@pytest.mark.parametrize("loss", ["bce", "sampled_softmax"])
def test_updating_rows_learns_the_tastes_too(
    loss: Loss, two_tastes: TwoTastes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recdl.training.factorization._ROWS_PAY", 0)
    rows = loss != "bce"
    model = _model(
        loss=loss, learning_rate=0.03, l2=0.3, max_epochs=20 if rows else 10, batch_size=8 if rows else 32
    ).fit(two_tastes[0])
    known = model.score(Queries.at_end(two_tastes[0]))
    assert _share_in_order(known, np.arange(N_USERS) % 2) > 0.95


def test_rows_and_whole_tables_are_updated_alike_where_a_step_touches_all(
    two_tastes: TwoTastes, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = []
    for rows_pay in (0, 1 << 40):
        monkeypatch.setattr("recdl.training.factorization._ROWS_PAY", rows_pay)
        # One step an epoch: it touches every user, and among so many negatives every item.
        model = _model(batch_size=1 << 12, negatives=Negatives(n=8), l2=0.1, max_epochs=4).fit(two_tastes[0])
        scores.append(model.score(Queries.at_end(two_tastes[0])))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("batch_size", [8, 64])
def test_an_epoch_decays_alike_whatever_the_batch_size_and_the_learning_rate(
    batch_size: int, two_tastes: TwoTastes
) -> None:
    # So small a learning rate moves nothing; what is left is the decay.
    start = _model(learning_rate=1e-12, max_epochs=1).fit(two_tastes[0])
    decayed = _model(learning_rate=1e-9, l2=0.2, batch_size=batch_size, max_epochs=2).fit(two_tastes[0])
    np.testing.assert_allclose(
        decayed.network_.user_embedding.weight.detach().numpy(),
        start.network_.user_embedding.weight.detach().numpy() * 0.8**2,
        rtol=1e-3,
        atol=1e-6,
    )
