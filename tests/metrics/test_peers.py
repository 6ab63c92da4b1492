"""Figures beside those of well-kept implementations, on the same relevant items and scores without ties.

Where definitions differ: torchmetrics' average precision at k divides by the hits, ours by min(k, R);
scikit-learn's is at no cutoff.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recdl.metrics.ranking import RANKING_METRICS, RankedTargets, auc, weighted_ndcg

N_QUERIES, N_ITEMS, EXACT = 40, 30, 1e-9


def _case(seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], RankedTargets]:
    """Return scores and relevance (n_queries, n_items), and the same as ranked targets with gains 1 to 4."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.linspace(0.01, 0.99, N_ITEMS), (N_QUERIES, 1)), axis=1)
    relevant = rng.random((N_QUERIES, N_ITEMS)) < 0.2
    relevant[np.arange(N_QUERIES), rng.integers(0, N_ITEMS, N_QUERIES)] = True
    ranks = (scores[:, None, :] > scores[:, :, None]).sum(axis=2) + 1.0
    offsets = np.cumsum([0, *relevant.sum(axis=1)]).astype(np.int64)
    gains = 1.0 + np.arange(relevant.sum()) % 4
    counts = np.full(N_QUERIES, N_ITEMS)
    return scores, relevant, RankedTargets(ranks[relevant], offsets, gains=gains, n_ranked=counts)


@pytest.mark.parametrize("k", [1, 5, 12])
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("hr", "retrieval_hit_rate"),
        ("recall", "retrieval_recall"),
        ("precision", "retrieval_precision"),
        ("mrr", "retrieval_reciprocal_rank"),
        ("ndcg", "retrieval_normalized_dcg"),
    ],
)
def test_rank_metrics_agree_with_torchmetrics(name: str, peer: str, k: int) -> None:
    torch = pytest.importorskip("torch")
    metric: Callable[..., Any] = getattr(pytest.importorskip("torchmetrics.functional.retrieval"), peer)
    scores, relevant, targets = _case(k)
    expected = [
        float(metric(torch.tensor(row), torch.tensor(true), top_k=k))
        for row, true in zip(scores, relevant, strict=True)
    ]
    # torchmetrics computes in float32.
    np.testing.assert_allclose(RANKING_METRICS[name](targets, k), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_ndcg_dcg_and_their_weights_agree_with_scikit_learn(k: int) -> None:
    peer = pytest.importorskip("sklearn.metrics")
    scores, relevant, targets = _case(k)
    gains = np.zeros((N_QUERIES, N_ITEMS))
    assert targets.gains is not None
    gains[relevant] = targets.gains
    for query in range(N_QUERIES):
        row, true, gain = scores[query : query + 1], relevant[query : query + 1], gains[query : query + 1]
        assert RANKING_METRICS["ndcg"](targets, k)[query] == pytest.approx(
            peer.ndcg_score(true, row, k=k), rel=EXACT
        )
        assert RANKING_METRICS["dcg"](targets, k)[query] == pytest.approx(
            peer.dcg_score(true, row, k=k), rel=EXACT
        )
        assert weighted_ndcg(targets, k)[query] == pytest.approx(peer.ndcg_score(gain, row, k=k), rel=EXACT)


def test_auc_and_average_precision_over_all_items_agree_with_scikit_learn() -> None:
    peer = pytest.importorskip("sklearn.metrics")
    scores, relevant, targets = _case(0)
    for query in range(N_QUERIES):
        row, true = scores[query], relevant[query]
        assert auc(targets)[query] == pytest.approx(peer.roc_auc_score(true, row), rel=EXACT)
        found = RANKING_METRICS["map"](targets, N_ITEMS)[query]
        assert found == pytest.approx(peer.average_precision_score(true, row), rel=EXACT)


def test_auc_with_ties_agrees_with_scikit_learn() -> None:
    peer = pytest.importorskip("sklearn.metrics")
    scores, relevant = np.array([1.0, 1, 2, 2, 2, 0]), np.array([True, False, True, True, False, False])
    # Two targets among three at 2 stand at 4/3 and 8/3, the one among two at 1 at 4.5.
    targets = RankedTargets(np.array([4.5, 4 / 3, 8 / 3]), np.array([0, 3]), n_ranked=np.array([6]))
    assert auc(targets)[0] == pytest.approx(peer.roc_auc_score(relevant, scores), rel=EXACT)
