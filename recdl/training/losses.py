"""Losses on logits: pure functions that know nothing of models."""

import torch
from torch.nn import functional


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


def bpr_max(logits: torch.Tensor, *, score_penalty: float = 1.0) -> torch.Tensor:
    """Return -log sum_j s_j sigmoid(positive - negative_j) + score_penalty sum_j s_j negative_j^2.

    s is the softmax of the negatives alone: with the positive in it, its own weight would shrink the gradient the
    better it is ranked. Hidasi & Karatzoglou 2018, Recurrent Neural Networks with Top-k Gains, eq. 10.

    Args:
        logits: (batch, 1 + n), the positive first; a negative of -inf is none.
        score_penalty: Of high scores of negatives.

    Returns:
        (batch,) losses; 0 where there is no negative.
    """
    positive, negatives, shares, some = _shares(logits)
    chosen = shares.exp()
    likelihood = (shares + functional.logsigmoid(positive - negatives)).logsumexp(1)
    return torch.where(some, score_penalty * (chosen * negatives.square()).sum(1) - likelihood, 0.0)


def top1_max(logits: torch.Tensor) -> torch.Tensor:
    """Return sum_j s_j (sigmoid(negative_j - positive) + sigmoid(negative_j^2)).

    s is the softmax of the negatives alone. Hidasi & Karatzoglou 2018, eq. 8.

    Args:
        logits: (batch, 1 + n), the positive first; a negative of -inf is none.

    Returns:
        (batch,) losses; 0 where there is no negative.
    """
    positive, negatives, shares, some = _shares(logits)
    terms = (negatives - positive).sigmoid() + negatives.square().sigmoid()
    return torch.where(some, (shares.exp() * terms).sum(1), 0.0)


def _shares(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the positive (batch, 1), the negatives, the log of their softmax, (batch,) which rows have any."""
    positive, negatives = logits[:, :1], logits[:, 1:]
    none = negatives == -torch.inf
    some = ~none.all(1)
    # Numbers in the place of infinities, of which a product with 0 would be no number.
    shares = negatives.masked_fill(none & some[:, None], -1e30).masked_fill(~some[:, None], 0.0).log_softmax(1)
    return positive, negatives.masked_fill(none, 0.0), shares, some


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
