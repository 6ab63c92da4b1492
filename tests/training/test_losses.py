import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from recdl.training.losses import (
    bayesian_personalized_ranking,
    binary_cross_entropy,
    bpr_max,
    generalized_binary_cross_entropy,
    hardest_negative,
    row_softmax,
    sampled_row_softmax,
    top1_max,
)


def _gradients(loss: torch.Tensor, *leaves: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, leaves))


def test_binary_cross_entropy_takes_the_first_column_as_positive() -> None:
    # -log s(0) - log(1 - s(ln 3)) = log 2 + log 4, over two entries
    loss = binary_cross_entropy(torch.tensor([[0.0, math.log(3.0)]]))
    assert loss.tolist() == pytest.approx([(math.log(2) + math.log(4)) / 2], rel=1e-6)


def test_generalized_cross_entropy_weighs_the_positive_by_hand() -> None:
    # A tenth of the negatives sampled, t = .5: beta = .1 (.5 (1 - 10) + 10) = .55; softplus(0) = log 2.
    loss = generalized_binary_cross_entropy(torch.zeros(1, 3), sampling_rate=0.1, calibration=0.5)
    assert loss.tolist() == pytest.approx([(0.55 + 2) * math.log(2) / 3], rel=1e-6)


@pytest.mark.parametrize(("calibration", "rate"), [(0.0, 0.1), (0.7, 1.0)])
def test_without_calibration_or_with_all_negatives_it_is_plain(calibration: float, rate: float) -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    loss = generalized_binary_cross_entropy(logits, sampling_rate=rate, calibration=calibration)
    torch.testing.assert_close(loss, binary_cross_entropy(logits))


def test_bpr_is_the_mean_over_the_negatives() -> None:
    loss = bayesian_personalized_ranking(torch.tensor([[1.0, 1.0, 1.0 - math.log(3.0)]]))
    assert loss.tolist() == pytest.approx([(math.log(2) + math.log(4 / 3)) / 2], rel=1e-6)


def test_the_hardest_negative_is_the_highest_and_the_others_have_no_gradient() -> None:
    logits = torch.tensor([[1.0, -5.0, 1.0 + math.log(3.0)]], requires_grad=True)
    loss = hardest_negative(logits)
    assert loss.tolist() == pytest.approx([math.log(4)], rel=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.tolist()[0] == pytest.approx([-0.75, 0.0, 0.75], rel=1e-6)


_ROWS = torch.tensor([0, 0, 1, 2, 2, 2])
_ITEMS = torch.tensor([3, 1, 0, 0, 2, 6])
_WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.0, 0.25])


def test_row_softmax_is_the_cross_entropy_of_each_pair_with_its_gradient() -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(2), requires_grad=True)
    loss = row_softmax(logits, _ROWS, _ITEMS, _WEIGHTS)
    expected = (_WEIGHTS * functional.cross_entropy(logits[_ROWS], _ITEMS, reduction="none")).sum()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(_gradients(loss, logits), _gradients(expected, logits))


def test_the_sampled_row_softmax_equals_the_full_one_where_each_other_item_is_drawn_once() -> None:
    logits = torch.randn(3, 7, generator=torch.Generator().manual_seed(2), requires_grad=True)
    held = torch.zeros(3, 7, dtype=torch.bool)
    held[_ROWS, _ITEMS] = True
    loss = sampled_row_softmax(
        logits[_ROWS, _ITEMS], _ROWS, _WEIGHTS, logits, log_expected_count=torch.zeros(7), held=held
    )
    expected = row_softmax(logits, _ROWS, _ITEMS, _WEIGHTS)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(_gradients(loss, logits), _gradients(expected, logits))


def test_the_sampled_normalizer_is_right_on_average() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, generator=generator, dtype=torch.float64)
    shares = torch.tensor([0.3, 0.05, 0.1, 0.2, 0.05, 0.2, 0.1], dtype=torch.float64)
    m, rounds = 5, 20_000
    drawn = torch.multinomial(shares, m * rounds, replacement=True, generator=generator).view(rounds, m)
    positive, item = logits[2], torch.tensor(2)
    sums = []
    for start in range(0, rounds, 5_000):
        part = drawn[start : start + 5_000]
        estimates = ((logits[part] - (m * shares[part]).log()).exp() * (part != item)).sum(1) + positive.exp()
        sums.append(estimates.mean())
    assert float(torch.stack(sums).mean()) == pytest.approx(float(logits.exp().sum()), rel=0.02)
    # The loss of one round is the log of its estimate.
    one = drawn[:1]
    loss = sampled_row_softmax(
        positive[None].float(),
        torch.tensor([0]),
        torch.ones(1),
        logits[one].float(),
        log_expected_count=(m * shares[one[0]]).log().float(),
        held=one == item,
    )
    first = ((logits[one] - (m * shares[one]).log()).exp() * (one != item)).sum() + positive.exp()
    assert float(loss) == pytest.approx(float(first.log() - positive), rel=1e-5)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _shares(negatives: list[float]) -> list[float]:
    """Softmax of the negatives, the positive left out."""
    total = sum(math.exp(negative) for negative in negatives)
    return [math.exp(negative) / total for negative in negatives]


_RANKED = [[0.3, -1.0, 2.0, 0.5], [4.0, 0.1, 0.0, -3.0]]


def test_bpr_max_equals_its_definition_written_out() -> None:
    expected = []
    for positive, *negatives in _RANKED:
        shares = _shares(negatives)
        likelihood = sum(s * _sigmoid(positive - z) for s, z in zip(shares, negatives, strict=True))
        penalty = sum(s * z * z for s, z in zip(shares, negatives, strict=True))
        expected.append(-math.log(likelihood) + 0.7 * penalty)
    assert bpr_max(torch.tensor(_RANKED), score_penalty=0.7).tolist() == pytest.approx(expected, rel=1e-5)


def test_top1_max_equals_its_definition_written_out() -> None:
    expected = []
    for positive, *negatives in _RANKED:
        pairs = zip(_shares(negatives), negatives, strict=True)
        expected.append(sum(s * (_sigmoid(z - positive) + _sigmoid(z * z)) for s, z in pairs))
    assert top1_max(torch.tensor(_RANKED)).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [bpr_max, top1_max])
def test_a_negative_of_minus_infinity_is_none(loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    logits = torch.tensor([[0.3, -1.0, -torch.inf, 0.5]], requires_grad=True)
    without = torch.tensor([[0.3, -1.0, 0.5]], requires_grad=True)
    torch.testing.assert_close(loss(logits), loss(without))
    (gradient,), (expected,) = (torch.autograd.grad(loss(x).sum(), x) for x in (logits, without))
    torch.testing.assert_close(gradient[:, [0, 1, 3]], expected)
    assert gradient[0, 2] == 0


@pytest.mark.parametrize("loss", [bpr_max, top1_max])
def test_without_any_negative_there_is_no_loss(loss: Callable[[torch.Tensor], torch.Tensor]) -> None:
    logits = torch.tensor([[0.3, -torch.inf]], requires_grad=True)
    assert loss(logits).tolist() == [0.0]
    (gradient,) = torch.autograd.grad(loss(logits).sum(), logits)
    assert gradient.tolist() == [[0.0, 0.0]]
