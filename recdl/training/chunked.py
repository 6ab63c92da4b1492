"""Losses on outputs and the output layer, in place of logits.

The logits of a batch, which for a large catalogue outweigh everything else, exist only a chunk of rows at a time:
loss and gradients are computed together in one pass, and the gradients kept.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

_CACHED_BYTES = 1 << 21
_ROWS = 128
"""A chunk holds what stays in a core's cache, since its logits are passed over several times (an eighth faster
than eight times as much), but rows enough for the matrix products to be worth their while."""


def full_softmax(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    chunk_bytes: int | None = None,
) -> torch.Tensor:
    """Mean cross-entropy of the softmax over the whole catalogue.

    Args:
        outputs: (n, d), what the network says at each position.
        targets: (n,) int64, the item that came next.
        weight: (n_items, d) output weights.
        bias: (n_items,) output bias.
        weights: (n,) float32, of the positions in the mean; None: equal.
        chunk_bytes: Memory for logits, in bytes, or for one row if that takes more; it bounds what is held,
            not the result. None: 2 MiB, or 128 rows if they take more.
    """
    loss: torch.Tensor = _FullSoftmax.apply(  # type: ignore[no-untyped-call]
        outputs, targets, weight, bias, _shares(weights, outputs), chunk_bytes
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
    weights: torch.Tensor | None = None,
    chunk_bytes: int | None = None,
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
        weights: (n,) float32, of the positions in the mean; None: equal.
        chunk_bytes: Memory for logits, in bytes, or for one row if that takes more; it bounds what is held,
            not the result. None: 2 MiB, or 128 rows if they take more.
    """
    both = torch.cat([targets, negatives])
    rows = functional.embedding(both, weight)
    biases = functional.embedding(both, bias[:, None])[:, 0]  # indexing has a far slower gradient
    n = len(targets)
    loss: torch.Tensor = _SampledSoftmax.apply(  # type: ignore[no-untyped-call]
        outputs,
        rows[:n],
        biases[:n],
        rows[n:],
        biases[n:] - log_expected_count,
        targets,
        negatives,
        _shares(weights, outputs),
        chunk_bytes,
    )
    return loss


def shared_negatives(
    loss: Callable[[torch.Tensor], torch.Tensor],
    outputs: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    negatives: torch.Tensor,
    weights: torch.Tensor | None = None,
    others: tuple[torch.Tensor, torch.Tensor] | None = None,
    chunk_bytes: int | None = None,
) -> torch.Tensor:
    """Mean of any loss on (batch, 1 + m) logits, for negatives that are shared by all positions.

    Args:
        loss: Maps logits, the positive first, to (batch,) losses. A drawn positive is no negative: -inf.
        outputs: (n, d), what the network says at each position.
        targets: (n,) int64, the item that came next.
        weight: (n_items, d) output weights.
        bias: (n_items,) output bias.
        negatives: (m,) int64 items.
        weights: (n,) float32, of the positions in the mean; None: equal.
        others: Further items that are no negatives of a position: int64 positions, not falling, and their items.
        chunk_bytes: As in `sampled_softmax`.
    """
    both = torch.cat([targets, negatives])
    rows = functional.embedding(both, weight)
    biases = functional.embedding(both, bias[:, None])[:, 0]
    mean: torch.Tensor = _SharedNegatives.apply(  # type: ignore[no-untyped-call]
        loss, outputs, rows, biases, targets, negatives, _shares(weights, outputs), others, chunk_bytes
    )
    return mean


def above_mean(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean over the positions of the target's logit less the mean logit of the catalogue.

    Times epsilon and added to a softmax's loss, it is label smoothing (Szegedy et al. 2016, Rethinking the
    Inception Architecture for Computer Vision): of the target's share 1, epsilon is spread evenly over the
    catalogue. The mean logit is that of the mean weights, so that no logits are needed.

    Args:
        outputs: (n, d), what the network says at each position.
        targets: (n,) int64, the item that came next.
        weight: (n_items, d) output weights.
        bias: (n_items,) output bias.
        weights: (n,) float32, of the positions in the mean; None: equal.
    """
    differences = functional.embedding(targets, weight) - weight.mean(0)
    biases = functional.embedding(targets, bias[:, None])[:, 0] - bias.mean()
    above = (outputs * differences).sum(1, dtype=torch.float32) + biases
    return (above * _shares(weights, outputs)[:, 0]).sum()


def _shares(weights: torch.Tensor | None, outputs: torch.Tensor) -> torch.Tensor:
    """Return (n, 1) float32, the share of each position in a mean."""
    if weights is None:
        return torch.full((len(outputs), 1), 1.0 / len(outputs), device=outputs.device)
    return (weights / weights.sum())[:, None]


def _chunk_rows(n_columns: int, chunk_bytes: int | None) -> int:
    if chunk_bytes is None:
        return max(_ROWS, _CACHED_BYTES // (4 * n_columns))
    return max(1, chunk_bytes // (4 * n_columns))


def _occurrences(targets: torch.Tensor, negatives: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows (of targets) and columns (of negatives) where the two are equal, which are few."""
    ordered, order = negatives.sort()
    first = torch.searchsorted(ordered, targets)
    counts = torch.searchsorted(ordered, targets, right=True) - first
    rows = torch.repeat_interleave(torch.arange(len(targets), device=targets.device), counts)
    within = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    return rows, order[first[rows] + within]


def _with_others(
    held: torch.Tensor,
    draws: torch.Tensor,
    others: tuple[torch.Tensor, torch.Tensor],
    negatives: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add to the places where positions drew their target those where they drew what else is none, in order."""
    positions, items = others
    rows, more = _occurrences(items, negatives)
    held, order = torch.cat([held, positions[rows]]).sort(stable=True)
    return held, torch.cat([draws, more])[order]


def _chunks(
    n: int, step: int, held: torch.Tensor, draws: torch.Tensor
) -> Iterator[tuple[slice, tuple[torch.Tensor, torch.Tensor]]]:
    """Yield the positions of each chunk, and of the places (`held` rising, `draws`) those within it."""
    starts = torch.arange(0, n + step, step, device=held.device)
    bounds = torch.searchsorted(held, starts).tolist()
    for start, first, last in zip(range(0, n, step), bounds[:-1], bounds[1:], strict=False):
        yield slice(start, min(start + step, n)), (held[first:last] - start, draws[first:last])


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add `left.T @ right` to `total`, in one pass where they are of one type."""
    if left.dtype == total.dtype:
        total.addmm_(left.T, right)
    else:
        total += left.T @ right


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        outputs: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        shares: torch.Tensor,
        chunk_bytes: int | None,
    ) -> torch.Tensor:
        n, dtype = len(outputs), outputs.dtype
        cast_weight, cast_bias = weight.to(dtype), bias.to(dtype)
        output_gradient = torch.empty_like(outputs)
        weight_gradient = torch.zeros_like(weight)
        bias_gradient = torch.zeros_like(bias)
        loss = outputs.new_zeros((), dtype=torch.float32)
        step = _chunk_rows(len(weight), chunk_bytes)
        for start in range(0, n, step):
            part = slice(start, start + step)
            chunk = outputs[part]
            answers = targets[part, None]
            logits = torch.addmm(cast_bias, chunk, cast_weight.T).float()
            positive = logits.gather(1, answers)
            peaks = logits.amax(1, keepdim=True)
            exponentials = logits.sub_(peaks).exp_()
            sums = exponentials.sum(1, keepdim=True)
            loss += (shares[part] * (sums.log() + peaks - positive)).sum()
            # Softmax less one-hot, times its row's sum, which is made up for in the small factors of the products.
            exponentials.scatter_add_(1, answers, -sums)
            scale = shares[part] / sums
            bias_gradient += exponentials.T @ scale[:, 0]
            cast_exponentials = exponentials.to(dtype)
            output_gradient[part] = (cast_exponentials @ cast_weight) * scale.to(dtype)
            _add_product(weight_gradient, cast_exponentials, chunk * scale.to(dtype))
        ctx.save_for_backward(output_gradient, weight_gradient, bias_gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        outputs, weight, bias = ctx.saved_tensors
        (scale,) = gradients
        # In place, which nothing else sees: a copy of the weights' gradient takes as long as some of its sums.
        return outputs.mul_(scale.to(outputs.dtype)), None, weight.mul_(scale), bias.mul_(scale), None, None


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
        shares: torch.Tensor,
        chunk_bytes: int | None,
    ) -> torch.Tensor:
        n, dtype = len(outputs), outputs.dtype
        cast_rows, cast_biases = negative_rows.to(dtype), negative_biases.to(dtype)
        positive = (outputs * target_rows).sum(1, dtype=torch.float32) + target_biases
        output_gradient = torch.empty_like(outputs)
        negative_gradient = torch.zeros_like(negative_rows)
        negative_bias_gradient = torch.zeros_like(negative_biases)
        normalizers = torch.empty_like(positive)
        step = _chunk_rows(len(negatives), chunk_bytes)
        for part, drawn in _chunks(n, step, *_occurrences(targets, negatives)):
            chunk = outputs[part]
            logits = torch.addmm(cast_biases, chunk, cast_rows.T).float()
            logits[drawn] = -torch.inf  # a drawn positive is no negative
            peaks = torch.maximum(logits.amax(1), positive[part])[:, None]
            exponentials = logits.sub_(peaks).exp_()
            sums = exponentials.sum(1, keepdim=True) + (positive[part, None] - peaks).exp()
            normalizers[part] = (sums.log() + peaks)[:, 0]
            # The softmax, times its row's sum, which is made up for in the small factors of the products.
            scale = shares[part] / sums
            negative_bias_gradient += exponentials.T @ scale[:, 0]
            cast_exponentials = exponentials.to(dtype)
            output_gradient[part] = (cast_exponentials @ cast_rows) * scale.to(dtype)
            _add_product(negative_gradient, cast_exponentials, chunk * scale.to(dtype))
        positive_gradient = ((positive - normalizers).exp() - 1.0) * shares[:, 0]
        output_gradient += positive_gradient[:, None].to(dtype) * target_rows.to(dtype)
        ctx.save_for_backward(
            output_gradient,
            positive_gradient[:, None] * outputs,
            positive_gradient,
            negative_gradient,
            negative_bias_gradient,
        )
        return ((normalizers - positive) * shares[:, 0]).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scale,) = gradients
        return (*(saved * scale.to(saved.dtype) for saved in ctx.saved_tensors), None, None, None, None)


class _SharedNegatives(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loss: Callable[[torch.Tensor], torch.Tensor],
        outputs: torch.Tensor,
        rows: torch.Tensor,
        biases: torch.Tensor,
        targets: torch.Tensor,
        negatives: torch.Tensor,
        shares: torch.Tensor,
        others: tuple[torch.Tensor, torch.Tensor] | None,
        chunk_bytes: int | None,
    ) -> torch.Tensor:
        n, dtype = len(outputs), outputs.dtype
        target_rows, negative_rows = rows[:n].to(dtype), rows[n:].to(dtype)
        output_gradient = torch.empty_like(outputs)
        row_gradient, bias_gradient = torch.zeros_like(rows), torch.zeros_like(biases)
        total = outputs.new_zeros((), dtype=torch.float32)
        places = _occurrences(targets, negatives)
        if others is not None:
            places = _with_others(*places, others, negatives)
        for part, (held, draws) in _chunks(n, _chunk_rows(len(negatives), chunk_bytes), *places):
            chunk = outputs[part]
            logits = torch.empty(len(chunk), 1 + len(negatives), dtype=torch.float32, device=outputs.device)
            logits[:, 0] = (chunk * target_rows[part]).sum(1, dtype=torch.float32) + biases[part]
            logits[:, 1:] = torch.addmm(biases[n:].to(dtype), chunk, negative_rows.T)
            logits[held, draws + 1] = -torch.inf  # a drawn positive is no negative
            with torch.enable_grad():
                mean = (loss(logits.requires_grad_()) * shares[part, 0]).sum()
                (gradient,) = torch.autograd.grad(mean, logits)
            total += mean.detach()
            gradient[held, draws + 1] = 0.0
            errors = gradient[:, 1:].to(dtype)
            positive = gradient[:, :1].to(dtype)
            output_gradient[part] = errors @ negative_rows + positive * target_rows[part]
            row_gradient[part] = positive * chunk
            bias_gradient[part] = gradient[:, 0]
            _add_product(row_gradient[n:], errors, chunk)
            bias_gradient[n:] += gradient[:, 1:].sum(0)
        ctx.save_for_backward(output_gradient, row_gradient, bias_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scale,) = gradients
        outputs, rows, biases = (saved * scale.to(saved.dtype) for saved in ctx.saved_tensors)
        return None, outputs, rows, biases, None, None, None, None, None
