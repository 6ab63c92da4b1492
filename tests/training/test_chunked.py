import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from recdl.training.chunked import above_mean, full_softmax, sampled_softmax, shared_negatives
from recdl.training.losses import binary_cross_entropy, bpr_max, generalized_binary_cross_entropy, top1_max

N, D, ITEMS = 13, 5, 31


def _inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(N, D, generator=generator, dtype=dtype)
    weight = torch.randn(ITEMS, D, generator=generator, dtype=dtype)
    bias = torch.randn(ITEMS, generator=generator, dtype=dtype)
    targets = torch.randint(0, ITEMS, (N,), generator=generator)
    return outputs, targets, weight, bias


def _gradients(loss: torch.Tensor, *leaves: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("chunk_bytes", [1, 4 * ITEMS * 4, 1 << 20])
def test_full_softmax_equals_cross_entropy_on_logits_with_its_gradients(chunk_bytes: int) -> None:
    outputs, targets, weight, bias = _inputs()
    leaves = [tensor.requires_grad_() for tensor in (outputs, weight, bias)]
    loss = full_softmax(outputs, targets, weight, bias, chunk_bytes=chunk_bytes)
    expected = functional.cross_entropy(outputs @ weight.T + bias, targets)
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(_gradients(3.0 * loss, *leaves), _gradients(3.0 * expected, *leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_full_softmax_of_equal_logits_is_the_log_of_the_catalogue() -> None:
    loss = full_softmax(torch.zeros(4, D), torch.arange(4), torch.zeros(ITEMS, D), torch.zeros(ITEMS))
    assert float(loss) == pytest.approx(math.log(ITEMS), rel=1e-6)


def _written_out(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    negatives: list[int],
    counts: torch.Tensor,
) -> torch.Tensor:
    losses = []
    for output, target in zip(outputs, targets.tolist(), strict=True):
        positive = output @ weight[target] + bias[target]
        normalizer = positive.exp()
        for draw, item in enumerate(negatives):
            if item != target:
                normalizer = normalizer + (output @ weight[item] + bias[item]).exp() / counts[draw]
        losses.append(normalizer.log() - positive)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 7 * 4, 1 << 20])
def test_sampled_softmax_equals_its_definition_written_out_with_its_gradients(chunk_bytes: int) -> None:
    outputs, targets, weight, bias = _inputs()
    negatives = torch.tensor([int(targets[0]), 3, 3, 8, int(targets[1]), 30, 0])
    counts = torch.tensor([0.5, 2.0, 2.0, 0.1, 0.7, 1.5, 0.9])
    leaves = [tensor.requires_grad_() for tensor in (outputs, weight, bias)]
    loss = sampled_softmax(
        outputs,
        targets,
        weight,
        bias,
        negatives=negatives,
        log_expected_count=counts.log(),
        chunk_bytes=chunk_bytes,
    )
    expected = _written_out(outputs, targets, weight, bias, negatives.tolist(), counts)
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(_gradients(2.0 * loss, *leaves), _gradients(2.0 * expected, *leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_normalizer_estimated_from_draws_is_unbiased() -> None:
    outputs, targets, weight, bias = (tensor[:1] if i < 2 else tensor for i, tensor in enumerate(_inputs()))
    proposal = torch.linspace(1, 3, ITEMS)
    proposal /= proposal.sum()
    generator = torch.Generator().manual_seed(1)
    m, n_repeats = 8, 4_000
    estimates = torch.empty(n_repeats)
    positive = (outputs[0] @ weight[targets[0]] + bias[targets[0]]).exp()
    for repeat in range(n_repeats):
        negatives = torch.multinomial(proposal, m, replacement=True, generator=generator)
        loss = sampled_softmax(
            outputs,
            targets,
            weight,
            bias,
            negatives=negatives,
            log_expected_count=(m * proposal[negatives]).log(),
        )
        estimates[repeat] = loss.exp() * positive
    exact = (outputs @ weight.T + bias).exp().sum()
    error = estimates.std() / math.sqrt(n_repeats)
    assert abs(estimates.mean() - exact) < 4 * error


def test_without_its_correction_the_estimate_would_be_wrong() -> None:
    outputs, targets, weight, bias = _inputs()
    negatives = torch.arange(ITEMS)
    exact = full_softmax(outputs, targets, weight, bias)
    corrected = sampled_softmax(
        outputs, targets, weight, bias, negatives=negatives, log_expected_count=torch.zeros(ITEMS)
    )
    skewed = sampled_softmax(
        outputs, targets, weight, bias, negatives=negatives, log_expected_count=torch.full((ITEMS,), 2.0)
    )
    torch.testing.assert_close(corrected, exact)  # each item drawn once, expected once: the sum is exact
    assert abs(float(skewed - exact)) > 0.1


def test_half_precision_outputs_give_half_precision_gradients_near_the_full_ones() -> None:
    outputs, targets, weight, bias = _inputs()
    expected_loss = full_softmax(outputs.requires_grad_(), targets, weight.requires_grad_(), bias.requires_grad_())
    expected = _gradients(expected_loss, outputs, weight)
    half = outputs.detach().bfloat16().requires_grad_()
    loss = full_softmax(half, targets, weight, bias)
    gradients = _gradients(loss, half, weight)
    assert gradients[0].dtype == torch.bfloat16
    assert gradients[1].dtype == torch.float32
    torch.testing.assert_close(loss, expected_loss, rtol=0.02, atol=0.02)
    torch.testing.assert_close(gradients[1], expected[1], rtol=0.1, atol=0.02)


class _Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor holds that is made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_the_logits_of_more_than_a_chunk_are_never_held() -> None:
    n, d, n_items = 1_000, 4, 50_000
    outputs, weight = torch.randn(n, d).requires_grad_(), torch.randn(n_items, d).requires_grad_()
    bias, targets = torch.zeros(n_items).requires_grad_(), torch.arange(n)
    with _Largest() as largest:
        full_softmax(outputs, targets, weight, bias).backward()  # type: ignore[no-untyped-call]
    assert largest.numbers == 128 * n_items
    with _Largest() as largest:
        full_softmax(outputs, targets, weight, bias, chunk_bytes=4 * 3 * n_items).backward()  # type: ignore[no-untyped-call]
    assert largest.numbers == n_items * d  # the weights' gradient is more than three rows of logits


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 7 * 4, None])
@pytest.mark.parametrize(
    "loss",
    [
        binary_cross_entropy,
        partial(generalized_binary_cross_entropy, sampling_rate=0.2, calibration=0.5),
        partial(bpr_max, score_penalty=0.3),
        top1_max,
    ],
)
def test_a_loss_of_shared_negatives_equals_that_of_each_positions_logits_with_its_gradients(
    loss: Callable[[torch.Tensor], torch.Tensor], chunk_bytes: int | None
) -> None:
    outputs, targets, weight, bias = _inputs()
    negatives = torch.tensor([int(targets[0]), 3, 3, 8, int(targets[1]), 30, 0])
    leaves = [tensor.requires_grad_() for tensor in (outputs, weight, bias)]
    found = shared_negatives(loss, outputs, targets, weight, bias, negatives=negatives, chunk_bytes=chunk_bytes)
    losses = []
    for output, target in zip(outputs, targets.tolist(), strict=True):
        items = [target, *(item if item != target else -1 for item in negatives.tolist())]
        logits = [output @ weight[i] + bias[i] if i >= 0 else torch.tensor(-torch.inf) for i in items]
        losses.append(loss(torch.stack(logits)[None])[0])
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(_gradients(2.0 * found, *leaves), _gradients(2.0 * expected, *leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_softmax_with_its_smoothing_is_cross_entropy_with_label_smoothing() -> None:
    outputs, targets, weight, bias = _inputs()
    leaves = [tensor.requires_grad_() for tensor in (outputs, weight, bias)]
    loss = full_softmax(outputs, targets, weight, bias) + 0.1 * above_mean(outputs, targets, weight, bias)
    expected = functional.cross_entropy(outputs @ weight.T + bias, targets, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(_gradients(loss, *leaves), _gradients(expected, *leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


WEIGHTS = torch.linspace(0.5, 2.0, N)


@pytest.mark.parametrize("kind", ["full", "sampled", "shared", "above_mean"])
def test_weights_make_a_weighted_mean_with_its_gradients(kind: str) -> None:
    outputs, targets, weight, bias = _inputs()
    leaves = [tensor.requires_grad_() for tensor in (outputs, weight, bias)]
    negatives = torch.tensor([3, 8, 30, int(targets[0])])
    losses: dict[str, Callable[..., torch.Tensor]] = {
        "full": partial(full_softmax, chunk_bytes=4 * ITEMS * 4),
        "sampled": partial(sampled_softmax, negatives=negatives, log_expected_count=torch.zeros(4)),
        "shared": partial(partial(shared_negatives, top1_max), negatives=negatives, chunk_bytes=4 * 4 * 4),
        "above_mean": above_mean,
    }
    loss = losses[kind]
    found = loss(outputs, targets, weight, bias, weights=WEIGHTS)
    each = [loss(outputs[i : i + 1], targets[i : i + 1], weight, bias) for i in range(N)]
    expected = (torch.stack(each) * WEIGHTS).sum() / WEIGHTS.sum()
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(_gradients(found, *leaves), _gradients(expected, *leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("chunk_bytes", [1, 4 * 6 * 4, None])
def test_what_else_is_no_negative_of_a_position_is_left_out_for_that_position_alone(
    chunk_bytes: int | None,
) -> None:
    outputs, targets, weight, bias = _inputs()
    leaves = [tensor.requires_grad_() for tensor in (outputs, weight, bias)]
    negatives = torch.tensor([3, 8, 8, 30, int(targets[5])])
    others = (torch.tensor([0, 5, 5, 12]), torch.tensor([8, 3, 30, 8]))
    left_out = {(0, 8), (5, 3), (5, 30), (12, 8)}
    found = shared_negatives(
        bpr_max, outputs, targets, weight, bias, negatives=negatives, others=others, chunk_bytes=chunk_bytes
    )
    losses = []
    for place, target in enumerate(targets.tolist()):
        kept = [item for item in negatives.tolist() if item != target and (place, item) not in left_out]
        logits = torch.stack([outputs[place] @ weight[item] + bias[item] for item in [target, *kept]])
        losses.append(bpr_max(logits[None])[0])
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(_gradients(found, *leaves), _gradients(expected, *leaves), strict=True):
        torch.testing.assert_close(ours, theirs)
