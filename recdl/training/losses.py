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

    He et al. 2017, Neural Collaborative Filtering, eq. 7.
    """
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1.0
    return functional.binary_cross_entropy_with_logits(logits, labels)


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
            normalizers = logits.logsumexp(1, keepdim=True)
            loss += (normalizers - logits.gather(1, answers)).sum()
            gradient = logits.sub_(normalizers).exp_()  # softmax - one-hot, over n
            gradient.scatter_add_(1, answers, torch.full_like(answers, -1.0, dtype=torch.float32))
            gradient.div_(n)
            bias_gradient += gradient.sum(0)
            cast_gradient = gradient.to(dtype)
            output_gradient[start : start + step] = cast_gradient @ cast_weight
            weight_gradient += cast_gradient.T @ chunk
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
            logits.masked_fill_(targets[part, None] == negatives, -torch.inf)  # a drawn positive is no negative
            normalizers[part] = torch.logaddexp(logits.logsumexp(1), positive[part])
            gradient = logits.sub_(normalizers[part, None]).exp_().div_(n)
            negative_bias_gradient += gradient.sum(0)
            cast_gradient = gradient.to(dtype)
            output_gradient[part] = cast_gradient @ cast_rows
            negative_gradient += cast_gradient.T @ chunk
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
