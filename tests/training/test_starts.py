from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.sampling import Negatives, Positives
from recdl.errors import ConfigError
from recdl.models.als import ALS
from recdl.models.ease import EASE
from recdl.models.networks.matrix_factorization import MatrixFactorization
from recdl.models.networks.neumf import NeuMF
from recdl.models.popularity import Popularity
from recdl.models.protocol import ModelFactory, RankingTask
from recdl.training.factorization import FactorizationRecommender
from recdl.training.settings import TrainerSettings
from recdl.training.starts import Aim, Start, likeliest_scale, nearest_product

TwoTastes = tuple[Interactions, RankingTask]
UNMOVED = 1e-12
"""A learning rate so small that what a model has after its fit is what it started from."""

GMF = partial(NeuMF, mf_embedding_size=8, mlp_sizes=(), initial_deviation=0.5)
MLP = partial(NeuMF, mf_embedding_size=0, mlp_embedding_size=6, mlp_sizes=(8, 4), initial_deviation=0.5)
BOTH = partial(NeuMF, mf_embedding_size=8, mlp_embedding_size=6, mlp_sizes=(8, 4), initial_deviation=0.5)
MF = partial(MatrixFactorization, embedding_size=8, initial_deviation=0.5)


def _factorization(network: partial[torch.nn.Module], *, epochs: int = 1, **settings: object):
    trainer = TrainerSettings(accelerator="cpu", max_epochs=epochs, progress_bar=False)
    options = {"loss": "full_softmax", "learning_rate": UNMOVED, "trainer": trainer, **settings}
    return FactorizationRecommender(network, **options)  # type: ignore[arg-type]


def _part(network: partial[torch.nn.Module]) -> ModelFactory:
    return partial(_factorization, network, learning_rate=0.05, epochs=2)


def _started(network: partial[torch.nn.Module], parts: Mapping[str, ModelFactory], **settings: object):
    return _factorization(network, start=Start(parts, **settings))  # type: ignore[arg-type]


def _scores(model: FactorizationRecommender, train: Interactions) -> np.ndarray:
    return model.score(Queries.at_end(train))


def test_a_start_from_gmf_and_mlp_is_their_weighted_mean(two_tastes: TwoTastes) -> None:
    train, _ = two_tastes
    parts = {"gmf": _part(partial(GMF, item_bias=True)), "mlp": _part(partial(MLP, item_bias=True))}
    gmf, mlp = (_scores(make().fit(train), train) for make in parts.values())
    model = _started(partial(BOTH, item_bias=True), parts, product_share=0.3).fit(train)
    np.testing.assert_allclose(_scores(model, train), 0.3 * gmf + 0.7 * mlp, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("product_weights", [True, False])
@pytest.mark.parametrize("part", [GMF, MLP, BOTH], ids=["gmf", "mlp", "neumf"])
def test_a_start_from_one_network_scores_as_it_does(
    part: partial[NeuMF], product_weights: bool, two_tastes: TwoTastes
) -> None:
    train, _ = two_tastes
    expected = _scores(_part(part)().fit(train), train)
    model = _started(partial(BOTH, product_weights=product_weights), {"one": _part(part)}).fit(train)
    np.testing.assert_allclose(_scores(model, train), expected, rtol=1e-4, atol=1e-5)


def test_what_was_not_started_learns_from_there(two_tastes: TwoTastes) -> None:
    model = _factorization(BOTH, start=Start({"gmf": _part(GMF)}), learning_rate=0.05, epochs=2).fit(two_tastes[0])
    assert (model.network_.output.weight[0, 8:] != 0).any()
    wide = partial(BOTH, mf_embedding_size=10)
    model = _factorization(wide, start=Start({"gmf": _part(GMF)}), learning_rate=0.05, epochs=2).fit(two_tastes[0])
    assert (model.network_.user_embedding.weight[:, 8:10] != 0).all()


def test_a_start_from_mf_orders_the_items_of_each_user_as_it_does(two_tastes: TwoTastes) -> None:
    train, _ = two_tastes
    expected = _scores(_part(MF)().fit(train), train)
    for network in (MF, partial(BOTH, item_bias=True)):
        above = _scores(_started(network, {"mf": _part(MF)}).fit(train), train) - expected
        np.testing.assert_allclose(above, np.repeat(above[:, :1], above.shape[1], 1), atol=1e-5)


def test_a_start_from_als_is_its_scores_times_a_factor(two_tastes: TwoTastes) -> None:
    train, _ = two_tastes
    als = partial(ALS, embedding_size=4)
    expected = als().fit(train).score(Queries.at_end(train))
    for scale in (7.0, None):
        scores = _scores(_started(BOTH, {"als": als}, scale=scale).fit(train), train)
        factor = 7.0 if scale else scores.std() / expected.std()
        np.testing.assert_allclose(scores, factor * expected, rtol=1e-4, atol=1e-4 * factor)


def test_a_start_from_ease_is_the_nearest_product_of_the_width(two_tastes: TwoTastes) -> None:
    train, _ = two_tastes
    ease = partial(EASE, l2=1.0)
    expected = ease().fit(train).score(Queries.at_end(train))
    u, values, v = np.linalg.svd(expected, full_matrices=False)
    scores = _scores(_started(BOTH, {"ease": ease}, scale=2.0).fit(train), train)
    np.testing.assert_allclose(scores, 2 * (u[:, :8] * values[:8]) @ v[:8], rtol=1e-3, atol=1e-4)


def test_the_nearest_product_of_full_width_is_the_product_itself() -> None:
    generator = np.random.default_rng(0)
    left = csr_array(generator.integers(0, 2, (6, 5)).astype(np.float32))
    for right in (generator.normal(size=(5, 4)).astype(np.float32), csr_array(np.eye(5, dtype=np.float32))):
        users, items = nearest_product(left, right, 9)
        expected = left @ right
        dense = expected if isinstance(expected, np.ndarray) else expected.toarray()
        np.testing.assert_allclose(users @ items.T, dense, atol=1e-5)


@pytest.mark.parametrize("pointwise", [False, True])
def test_the_likeliest_scale_is_that_of_a_search_over_all(pointwise: bool, two_tastes: TwoTastes) -> None:
    train, _ = two_tastes
    positives = Positives.of(train)
    generator = np.random.default_rng(0)
    has = np.zeros((train.n_users, train.n_items))
    has[positives.users, positives.items] = 1
    scores = (0.01 * (has + generator.normal(size=has.shape))).astype(np.float32)
    users, items = scores, np.eye(train.n_items, dtype=np.float32)
    factor, bias = likeliest_scale(users, items, Aim(positives, pointwise, n_negatives=4))

    def loss(factor: float, bias: float) -> float:
        logits = factor * scores.astype(np.float64) + bias
        if not pointwise:
            return float((has * (np.log(np.exp(logits).sum(1, keepdims=True)) - logits)).sum())
        negatives = 4 * has.sum(1) * np.logaddexp(0, logits).mean(1)
        return float((has * np.logaddexp(0, -logits)).sum() + negatives.sum())

    biases = np.linspace(-5, 2, 71) if pointwise else [0.0]
    best = min(loss(scale, other) for scale in np.linspace(10, 500, 491) for other in biases)
    assert loss(factor, bias) <= best + 1e-3
    assert pointwise or bias == 0


def test_a_start_is_balanced(two_tastes: TwoTastes) -> None:
    network = _started(GMF, {"als": partial(ALS, embedding_size=8)}).fit(two_tastes[0]).network_
    sides = [network.user_embedding.weight, network.item_embedding.weight]
    assert sides[0].square().mean().item() == pytest.approx(sides[1].square().mean().item(), rel=1e-4)


def test_a_better_start_ranks_better_before_any_step(two_tastes: TwoTastes) -> None:
    train, task = two_tastes
    als = {"als": partial(ALS, embedding_size=8)}
    chance, started = (
        _factorization(BOTH, start=start).fit(train, task).learning_curve_[0]["validation/ndcg@10"]
        for start in (Start(), Start(als))
    )
    assert started > chance + 0.1


def test_parts_of_a_refit_learn_for_their_own_best_epochs(two_tastes: TwoTastes) -> None:
    train, task = two_tastes
    trainer = TrainerSettings(accelerator="cpu", max_epochs=6, progress_bar=False)
    parts = {"gmf": lambda **extras: _factorization(GMF, learning_rate=0.3, **extras), "mlp": _part(MLP)}
    model = _factorization(BOTH, start=Start(parts), trainer=trainer).fit(train, task)
    fresh = model.refit(train)
    for name, part in model.parts_.items():
        assert len(fresh.parts_[name].learning_curve_) == part.trainer.best_epochs(part.learning_curve_)
    assert len(fresh.learning_curve_) == trainer.best_epochs(model.learning_curve_)


def test_fitted_models_are_started_from_too(two_tastes: TwoTastes) -> None:
    train, _ = two_tastes
    gmf = _part(GMF)().fit(train)
    model = _factorization(BOTH).start_from({"runs/gmf": gmf}).fit(train)
    np.testing.assert_allclose(_scores(model, train), _scores(gmf, train), rtol=1e-4, atol=1e-5)


def test_restoring_a_model_fits_no_part(two_tastes: TwoTastes) -> None:
    train, _ = two_tastes
    model = _started(BOTH, {"als": partial(ALS, embedding_size=4)}).fit(train)

    class Unfit(ALS):
        def fit(self, train: Interactions, validation: RankingTask | None = None) -> "Unfit":
            raise AssertionError("it is restored")

    restored = _started(BOTH, {"als": partial(Unfit, embedding_size=4)}).set_state(model.get_state())
    np.testing.assert_array_equal(_scores(restored, train), _scores(model, train))


@pytest.mark.parametrize(
    ("network", "parts", "message"),
    [
        (BOTH, {"a": _part(GMF), "b": partial(ALS)}, r"parts\.a and .*parts\.b both give a product; a network"),
        (BOTH, {"a": _part(MLP), "b": _part(BOTH)}, r"parts\.a and .*parts\.b both give a perceptron"),
        (BOTH, {"a": Popularity}, r"parts\.a: a Popularity has nothing that a network .* could start from; gmf"),
        (
            BOTH,
            {"a": partial(ALS, embedding_size=9)},
            r"parts\.a: mf_embedding_size is 8, but the product .* has 9",
        ),
        (MF, {"a": partial(ALS, embedding_size=9)}, r"parts\.a: embedding_size is 8, but the product .* has 9"),
        (MF, {"a": _part(MLP)}, r"parts\.a: a MatrixFactorization has no place for it"),
        (GMF, {"a": _part(MLP)}, r"parts\.a: its perceptron has the widths \[\] .* has \[12, 8, 4\]"),
        (BOTH, {"a": _part(partial(MLP, mlp_sizes=(9, 4)))}, r"the widths \[12, 8, 4\] .* has \[12, 9, 4\]"),
        (BOTH, {"a": _part(MF)}, r"item_bias is false, but what it is to start from has biases"),
    ],
)
def test_what_cannot_be_started_from_is_refused_before_there_is_data(
    network: partial[torch.nn.Module], parts: dict[str, ModelFactory], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _started(network, parts)


def test_a_fitted_model_that_cannot_be_started_from_is_refused(two_tastes: TwoTastes) -> None:
    with pytest.raises(ConfigError, match=r"^model\.network cannot start from runs/als: mf_embedding_size is 8"):
        _factorization(BOTH).start_from({"runs/als": ALS(embedding_size=20).fit(two_tastes[0])})


@pytest.mark.parametrize("settings", [{"product_share": 0.0}, {"product_share": 1.0}, {"scale": 0.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"^model\.start\.{name} must"):
        Start(**settings)  # type: ignore[arg-type]


def test_a_network_that_is_given_an_own_loss_of_pairs_starts_with_a_bias(two_tastes: TwoTastes) -> None:
    model = _factorization(
        BOTH, loss="bce", negatives=Negatives(n=4), start=Start({"als": partial(ALS, embedding_size=4)})
    ).fit(two_tastes[0])
    assert model.network_.output.bias.item() < -0.1
