from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch

from recdl.data.queries import Queries
from recdl.errors import ConfigError
from recdl.models.networks.cnn import CNN
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.sasrec import SASRec
from recdl.training.chunked import above_mean, full_softmax, sampled_softmax, shared_negatives
from recdl.training.losses import bpr_max, generalized_binary_cross_entropy, top1_max
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import NextItemLoss, SequenceLoss
from recdl.training.settings import TrainerSettings
from tests.logs import log_of_items

POPULARITY = np.array([4, 0, 1, 9, 0, 16, 25])
CPU = torch.device("cpu")
Kind = Literal["auto", "full", "sampled", "gbce", "bpr_max", "top1_max"]
KINDS = get_args(Kind)


def _loss(
    *, popularity: np.ndarray = POPULARITY, seed: int = 0, known_only: bool = False, **settings: Any
) -> NextItemLoss:
    chosen = SequenceLoss(**{"n_negatives": 5, **settings})
    return NextItemLoss(chosen, popularity, seed=seed, known_only=known_only)


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(len(POPULARITY), 3, generator=generator)
    return torch.randn(4, 3, generator=generator), torch.tensor([0, 3, 5, 5]), weight, torch.zeros(len(POPULARITY))


@pytest.mark.parametrize(("n_items", "kind"), [(10, "full"), (11, "sampled")])
def test_auto_samples_where_the_catalogue_is_more_than_twice_the_negatives(n_items: int, kind: str) -> None:
    assert _loss(popularity=np.ones(n_items, np.int64)).kind == kind


def test_negatives_are_drawn_by_popularity_to_the_power_and_say_how_often_they_were_to_be_expected() -> None:
    loss = _loss(n_negatives=40_000, popularity_exponent=0.5)
    items, counts = loss.draw((0, 0), CPU)
    shares = np.sqrt(POPULARITY) / np.sqrt(POPULARITY).sum()
    found = np.bincount(items.numpy(), minlength=len(POPULARITY))
    kept = shares > 0
    assert found[~kept].sum() == 0
    expected = 40_000 * shares[kept]
    assert ((found[kept] - expected) ** 2 / expected).sum() < 18.5  # chi-squared, 4 degrees of freedom, p = .001
    np.testing.assert_allclose(counts.numpy(), np.log(40_000 * shares[items.numpy()]), rtol=1e-5)


def test_draws_depend_on_the_seed_and_the_step_alone() -> None:
    first = _loss(n_negatives=50).draw((1, 2), CPU)[0]
    assert torch.equal(first, _loss(n_negatives=50).draw((1, 2), CPU)[0])
    others = (_loss(n_negatives=50, seed=1).draw((1, 2), CPU), _loss(n_negatives=50).draw((2, 1), CPU))
    assert not any(torch.equal(first, other) for other, _ in others)


def _expected(kind: Kind) -> torch.Tensor:
    inputs = _inputs()
    negatives, counts = _loss().draw((3, 1), CPU)
    if kind in ("auto", "full"):
        return full_softmax(*inputs)
    if kind == "sampled":
        return sampled_softmax(*inputs, negatives=negatives, log_expected_count=counts)
    losses = {
        "gbce": lambda x: generalized_binary_cross_entropy(x, sampling_rate=5 / 6, calibration=0.2),
        "bpr_max": lambda x: bpr_max(x, score_penalty=0.4),
        "top1_max": top1_max,
    }
    return shared_negatives(losses[kind], *inputs, negatives=negatives)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_its_loss_with_its_settings(kind: Kind) -> None:
    found = _loss(kind=kind, calibration=0.2, score_penalty=0.4)(*_inputs(), step=(3, 1))
    torch.testing.assert_close(found, _expected(kind))


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_smoothing_adds_its_share_of_what_the_target_has_above_the_mean(kind: Kind) -> None:
    found = _loss(kind=kind, label_smoothing=0.1)(*_inputs(), step=(3, 1))
    torch.testing.assert_close(found, _expected(kind) + 0.1 * above_mean(*_inputs()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_negatives": 0}, "n_negatives must be at least 1, not 0"),
        ({"popularity_exponent": -0.5}, "popularity_exponent must be 0 or more, and finite, not -0.5"),
        ({"score_penalty": float("inf")}, "score_penalty must be 0 or more, and finite, not inf"),
        ({"calibration": 1.5}, "calibration must lie between 0 and 1, not 1.5"),
        ({"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, not 1.0"),
        ({"kind": "gbce", "label_smoothing": 0.1}, "label_smoothing=0.1 has no meaning with kind=gbce"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SequenceLoss(**settings)


@pytest.mark.parametrize(
    "settings", [*({"kind": kind} for kind in KINDS), {"kind": "sampled", "label_smoothing": 0.1}]
)
@pytest.mark.parametrize("counts", [None, torch.tensor([3, 1])])
def test_a_loss_is_the_same_given_the_weights_of_no_more_items_than_it_needs(
    settings: dict[str, Any], counts: torch.Tensor | None
) -> None:
    outputs, targets, weight, bias = _inputs()
    known = torch.from_numpy(np.flatnonzero(POPULARITY))
    whole, narrow = _loss(popularity=POPULARITY[known], **settings), _loss(known_only=True, **settings)
    items = narrow.items(targets, step=(3, 1))
    assert items is not None and whole.items(targets, step=(3, 1)) is None
    assert set(items.tolist()) <= set(known.tolist())
    found = narrow(outputs, targets, weight[items], bias[items], step=(3, 1), counts=counts, items=items)
    places = torch.searchsorted(known, targets)
    expected = whole(outputs, places, weight[known], bias[known], step=(3, 1), counts=counts)
    if settings["kind"] == "gbce":  # of which items without an event are negatives that are never drawn
        whole = _loss(**settings)
        expected = whole(outputs, targets, weight, bias, step=(3, 1), counts=counts)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_of_different_weights_make_a_weighted_mean(kind: Kind) -> None:
    outputs, targets, weight, bias = _inputs()
    weights = torch.tensor([1.0, 5.0, 0.5, 2.0])
    loss = _loss(kind=kind)
    each = [loss(outputs[i : i + 1], targets[i : i + 1], weight, bias, step=(0, 0)) for i in range(4)]
    expected = (torch.stack(each) * weights).sum() / weights.sum()
    torch.testing.assert_close(loss(outputs, targets, weight, bias, step=(0, 0), weights=weights), expected)


COUNTS = torch.tensor([3, 1])
"""Of four targets, the first three are one set."""


def _set_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    outputs, _, weight, bias = _inputs()
    return outputs[:2].repeat_interleave(COUNTS, 0), torch.tensor([0, 3, 5, 6]), weight, bias


def test_a_full_softmax_asked_for_a_set_is_the_cross_entropy_of_equal_shares() -> None:
    outputs, targets, weight, bias = _set_inputs()
    shares = torch.zeros(2, len(POPULARITY))
    shares[0, [0, 3, 5]] = 1 / 3
    shares[1, 6] = 1.0
    expected = torch.nn.functional.cross_entropy(outputs[[0, 3]] @ weight.T + bias, shares)
    found = _loss(kind="full")(outputs, targets, weight, bias, step=(0, 0), counts=COUNTS)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["sampled", "gbce", "bpr_max", "top1_max"])
def test_the_loss_of_a_set_is_the_mean_over_its_items_and_no_item_of_it_is_a_negative_but_in_a_softmax(
    kind: Kind,
) -> None:
    outputs, targets, weight, bias = _set_inputs()
    loss = _loss(kind=kind, n_negatives=40, calibration=0.2, score_penalty=0.4)
    negatives, counts = loss.draw((3, 1), CPU)
    each = []
    for place, target in enumerate(targets.tolist()):
        of_set = [0, 3, 5] if place < 3 else [6]
        logits = outputs[place] @ weight.T + bias
        if kind == "sampled":
            kept = negatives != target
            drawn = logits[negatives[kept]] - counts[kept]
            each.append(torch.cat([logits[[target]], drawn]).logsumexp(0) - logits[target])
            continue
        kept = ~torch.isin(negatives, torch.tensor(of_set))
        row = torch.full((1, 41), -torch.inf)
        row[0, 0] = logits[target]
        row[0, 1:][kept] = logits[negatives[kept]]
        losses = {
            "gbce": lambda x: generalized_binary_cross_entropy(x, sampling_rate=1.0, calibration=0.2),
            "bpr_max": lambda x: bpr_max(x, score_penalty=0.4),
            "top1_max": top1_max,
        }
        each.append(losses[kind](row)[0])
    expected = (torch.stack(each[:3]).mean() + each[3]) / 2
    found = loss(outputs, targets, weight, bias, step=(3, 1), counts=COUNTS)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("network", [LSTM, GRU, CNN, SASRec])
@pytest.mark.parametrize(
    "settings",
    [{"kind": kind} for kind in KINDS] + [{"kind": kind, "label_smoothing": 0.1} for kind in ("full", "sampled")],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_network_learns_by_every_loss(network: Any, settings: dict[str, Any]) -> None:
    """Walks of one step forward: what comes next is soon ranked first."""
    log = log_of_items([[(user + step) % 5 for step in range(6)] for user in range(40)], n_items=5)
    make = partial(network, embedding_size=16, embedding_dropout=0.0, hidden_dropout=0.0)
    trainer = TrainerSettings(accelerator="cpu", max_epochs=20, progress_bar=False)
    loss = SequenceLoss(n_negatives=16, **settings)
    model = SequenceRecommender(make, loss=loss, learning_rate=0.01, batch_size=8, trainer=trainer).fit(log)
    scores = model.score(Queries.anonymous([[item] for item in range(5)]))
    assert scores.argmax(1).tolist() == [1, 2, 3, 4, 0]
