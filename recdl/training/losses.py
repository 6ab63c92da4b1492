"""Losses: pure functions that know nothing of models.

The two softmax losses take the outputs and the output layer instead of logits. The logits of a batch, which for a
large catalogue outweigh everything else, then exist only a chunk of rows at a time: loss and gradients are
computed together in one pass, and the gradients kept.
"""

from typing import Any

import torch
from torch.nn import functional

_CHUNK_BYTES = 1 << 24


def binary_cross_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of (batch, 1 + n) logits in which the first column is positive, the others negative.

    Returns (batch,) losses. He et al. 2017, Neural Collaborative Filtering, eq. 7.
    """
    return (functional.softplus(-logits[:, 0]) + functional.softplus(logits[:, 1:]).sum(1)) / logits.shape[1]


def generalized_binary_cross_entropy(
    logits: torch.Tensor, *, sampling_rate: float, calibration: float = 0.75
) -> torch.Tensor:
    """Cross-entropy that takes back the overconfidence that sampling negatives brings.

    The positive's probability is raised to beta = alpha (t (1 - 1/alpha) + 1/alpha), where alpha is the share of
    the negatives that is sampled and t the calibration: 0 is plain cross-entropy, 1 calibrated. Petrov & Macdonald
    2023, gSASRec, eq. 8.

    Args:
        logits: (batch, 1 + n), the positive first.
        sampling_rate: alpha, n / (n_items - 1).
        calibration: t, in [0, 1].

    Returns:
        (batch,) losses.
    """
    beta = sampling_rate * (calibration * (1 - 1 / sampling_rate) + 1 / sampling_rate)
    positive = beta * functional.softplus(-logits[:, 0])
    return (positive + functional.softplus(logits[:, 1:]).sum(1)) / logits.shape[1]


def bayesian_personalized_ranking(logits: torch.Tensor) -> torch.Tensor:
    """Mean over the negatives of -log sigmoid(positive - negative), for (batch, 1 + n) logits, the positive first.

    Returns (batch,) losses. Rendle et al. 2009, BPR.
    """
    return functional.softplus(logits[:, 1:] - logits[:, :1]).mean(1)


def hardest_negative(logits: torch.Tensor) -> torch.Tensor:
    """Return -log sigmoid(positive - highest negative), for (batch, 1 + n) logits, the positive first.

    WARP (Weston et al. 2011, WSABIE) draws until a negative outranks the positive; the hardest of n drawn at once
    is its vectorized kin, with a logistic in place of a hinge. Returns (batch,) losses.
    """
    return functional.softplus(logits[:, 1:].amax(1) - logits[:, 0])


def row_softmax(
    logits: torch.Tensor, rows: torch.Tensor, items: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of each pair under its user's softmax over the catalogue, weighted and summed.

    All pairs of a user share one normalizer, so that a user costs one row of logits however much it has: the
    multinomial likelihood of Liang et al. 2018, Variational Autoencoders for Collaborative Filtering, eq. 2.

    Args:
        logits: (batch, n_items).
        rows: (n_pairs,) int64, the user of each pair, as a row of `logits`.
        items: (n_pairs,) int64.
        weights: (n_pairs,) float32.
    """
    normalizers = logits.float().logsumexp(1)
    return (weights * (normalizers[rows] - logits[rows, items])).sum()


def sampled_row_softmax(
    positive_logits: torch.Tensor,
    rows: torch.Tensor,
    weights: torch.Tensor,
    negative_logits: torch.Tensor,
    *,
    log_expected_count: torch.Tensor,
    held: torch.Tensor,
) -> torch.Tensor:
    """`row_softmax` with a normalizer that is estimated from negatives shared by all users.

    A user's normalizer is the sum of exp(logit) over its own pairs, exactly, and over the draws that it does not
    have, each divided by its expected count: an unbiased estimate of the sum over the catalogue (logQ correction;
    Bengio & Senecal 2008, Adaptive importance sampling).

    Args:
        positive_logits: (n_pairs,), of all pairs of the users.
        rows: (n_pairs,) int64, the user of each, as a row of `negative_logits`.
        weights: (n_pairs,) float32.
        negative_logits: (batch, m).
        log_expected_count: (m,) log(m q).
        held: (batch, m) bool, draws that the user has.
    """
    negatives = (negative_logits.float() - log_expected_count).masked_fill(held, -torch.inf)
    positives = positive_logits.float()
    peaks = negatives.detach().amax(1).scatter_reduce(0, rows, positives.detach(), "amax")
    sums = (negatives - peaks[:, None]).exp().sum(1).index_add(0, rows, (positives - peaks[rows]).exp())
    normalizers = peaks + sums.log()
    return (weights * (normalizers[rows] - positives)).sum()


def full_softmax(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    chunk_bytes: int = _CHUNK_BYTES,
) -> torch.Tensor:
    """Mean cross-entropy of the softmax over the whole catalogue.

    Args:
        outputs: (n, d), what the network says at each position.
        targets: (n,) int64, the item that came next.
        weight: (n_items, d) output weights.
        bias: (n_items,) output bias.
        chunk_bytes: Memory for logits, in bytes; it bounds what is held, not the result.
    """
    loss: torch.Tensor = _FullSoftmax.apply(  # type: ignore[no-untyped-call]
        outputs, targets, weight, bias, chunk_bytes
    )
    return loss


def sampled_softmax(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    negatives: torch.Tensor,
    log_expected_count: torch.Tensor,
    chunk_bytes: int = _CHUNK_BYTES,
) -> torch.Tensor:
    """Mean cross-entropy of a softmax whose normalizer is estimated from negatives shared by all positions.

    The normalizer is exp(z_t) + sum over drawn j != t of exp(z_j) / (m q_j): the positive enters exactly, and
    each draw is divided by its expected count, which makes the estimate unbiased (logQ correction; Bengio &
    Senecal 2008, Adaptive importance sampling). Draws are made with repetition; leaving repetitions out would
    change their expected count.

    Args:
        outputs: (n, d), what the network says at each position.
        targets: (n,) int64, the item that came next.
        weight: (n_items, d) output weights.
        bias: (n_items,) output bias.
        negatives: (m,) int64 items, drawn with repetition.
        log_expected_count: (m,) log(m q_j) for the items in `negatives`.
        chunk_bytes: Memory for logits, in bytes; it bounds what is held, not the result.
    """
    rows = functional.embedding(torch.cat([targets, negatives]), weight)
    biases = bias[torch.cat([targets, negatives])]
    n = len(targets)
    loss: torch.Tensor = _SampledSoftmax.apply(  # type: ignore[no-untyped-call]
        outputs,
        rows[:n],
        biases[:n],
        rows[n:],
        biases[n:] - log_expected_count,
        targets,
        negatives,
        chunk_bytes,
    )
    return loss


def _chunk_rows(n_columns: int, chunk_bytes: int) -> int:
    return max(1, chunk_bytes // (4 * n_columns))


def _occurrences(targets: torch.Tensor, negatives: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows (of targets) and columns (of negatives) where the two are equal, which are few."""
    ordered, order = negatives.sort()
    first = torch.searchsorted(ordered, targets)
    counts = torch.searchsorted(ordered, targets, right=True) - first
    rows = torch.repeat_interleave(torch.arange(len(targets), device=targets.device), counts)
    within = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    return rows, order[first[rows] + within]


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        outputs: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        chunk_bytes: int,
    ) -> torch.Tensor:
        n, dtype = len(outputs), outputs.dtype
        cast_weight, cast_bias = weight.to(dtype), bias.to(dtype)
        output_gradient = torch.empty_like(outputs)
        weight_gradient = torch.zeros_like(weight)
        bias_gradient = torch.zeros_like(bias)
        loss = outputs.new_zeros((), dtype=torch.float32)
        step = _chunk_rows(len(weight), chunk_bytes)
        for start in range(0, n, step):
            chunk = outputs[start : start + step]
            answers = targets[start : start + step, None]
            logits = torch.addmm(cast_bias, chunk, cast_weight.T).float()
            positive = logits.gather(1, answers)
            peaks = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(peaks).exp_()
            sums = exponentials.sum(1, keepdim=True)
            loss += (sums.log() + peaks - positive).sum()
            # Softmax less one-hot, times its row's sum, which is made up for in the small factors of the products.
            exponentials.scatter_add_(1, answers, -sums)
            scale = 1.0 / (n * sums)
            bias_gradient += exponentials.T @ scale[:, 0]
            cast_exponentials = exponentials.to(dtype)
            output_gradient[start : start + step] = (cast_exponentials @ cast_weight) * scale.to(dtype)
            weight_gradient += cast_exponentials.T @ (chunk * scale.to(dtype))
        ctx.save_for_backward(output_gradient, weight_gradient, bias_gradient)
        return loss / n

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        outputs, weight, bias = ctx.saved_tensors
        (scale,) = gradients
        return outputs * scale.to(outputs.dtype), None, weight * scale, bias * scale, None


class _SampledSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        outputs: torch.Tensor,
        target_rows: torch.Tensor,
        target_biases: torch.Tensor,
        negative_rows: torch.Tensor,
        negative_biases: torch.Tensor,
        targets: torch.Tensor,
        negatives: torch.Tensor,
        chunk_bytes: int,
    ) -> torch.Tensor:
        n, dtype = len(outputs), outputs.dtype
        cast_rows, cast_biases = negative_rows.to(dtype), negative_biases.to(dtype)
        positive = (outputs * target_rows).sum(1, dtype=torch.float32) + target_biases
        output_gradient = torch.empty_like(outputs)
        negative_gradient = torch.zeros_like(negative_rows)
        negative_bias_gradient = torch.zeros_like(negative_biases)
        normalizers = torch.empty_like(positive)
        step = _chunk_rows(len(negatives), chunk_bytes)
        for start in range(0, n, step):
            part = slice(start, start + step)
            chunk = outputs[part]
            logits = torch.addmm(cast_biases, chunk, cast_rows.T).float()
            logits[_occurrences(targets[part], negatives)] = -torch.inf  # a drawn positive is no negative
            peaks = torch.maximum(logits.amax(1), positive[part])[:, None]
            exponentials = logits.sub_(peaks).exp_()
            sums = exponentials.sum(1, keepdim=True) + (positive[part, None] - peaks).exp()
            normalizers[part] = (sums.log() + peaks)[:, 0]
            # The softmax, times its row's sum, which is made up for in the small factors of the products.
            scale = 1.0 / (n * sums)
            negative_bias_gradient += exponentials.T @ scale[:, 0]
            cast_exponentials = exponentials.to(dtype)
            output_gradient[part] = (cast_exponentials @ cast_rows) * scale.to(dtype)
            negative_gradient += cast_exponentials.T @ (chunk * scale.to(dtype))
        positive_gradient = ((positive - normalizers).exp() - 1.0) / n
        output_gradient += positive_gradient[:, None].to(dtype) * target_rows.to(dtype)
        ctx.save_for_backward(
            output_gradient,
            positive_gradient[:, None] * outputs,
            positive_gradient,
            negative_gradient,
            negative_bias_gradient,
        )
        return (normalizers - positive).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scale,) = gradients
        return (*(saved * scale.to(saved.dtype) for saved in ctx.saved_tensors), None, None, None)
