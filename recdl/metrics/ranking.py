"""Ranking metrics at a cutoff, one value a query, from the ranks of its relevant items.

Every function takes the ranks of all relevant items of all queries, `ranks` (n_targets,) float64 with 1 the best
and `inf` for an item that could not be ranked; the `offsets` (n_queries + 1,) int64 between which those of each
query lie (at least one each); and the cutoff `k`, at least 1. It returns float64 (n_queries,). In the formulas a
query has R relevant items; those with rank <= k are hits, r_1 < r_2 < ... their ranks.

A rank need not be whole: an item tied with others stands at its expected position among them (2.5 when it shares
places 2 and 3). It is a hit where that position is <= k, and a discount is read at that position; no value is
interpolated between whole ranks, and no hit is counted in part.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]

METRIC_VERSION = 1
"""Raised whenever a change here, or in how ties are ranked, moves a figure."""


def _hits(ranks: Values, offsets: Offsets, k: int) -> tuple[Offsets, Values]:
    """Return the query of each hit and its rank, by query and then from the best rank to the worst."""
    if k < 1:
        raise ValueError(f"the cutoff k must be at least 1, not {k}")
    found = np.flatnonzero(ranks <= k)
    queries = np.searchsorted(offsets, found, side="right") - 1
    order = np.lexsort((ranks[found], queries))
    return queries[order], ranks[found[order]]


def _sums(queries: Offsets, weights: Values, offsets: Offsets) -> Values:
    sums: Values = np.bincount(queries, weights=weights, minlength=len(offsets) - 1).astype(np.float64)
    return sums


def _hit_counts(ranks: Values, offsets: Offsets, k: int) -> Values:
    queries, hit_ranks = _hits(ranks, offsets, k)
    return _sums(queries, np.ones_like(hit_ranks), offsets)


def _positions(queries: Offsets, offsets: Offsets) -> Values:
    """Number the hits of each query 1, 2, ...; they must be grouped by query."""
    counts = np.bincount(queries, minlength=len(offsets) - 1)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    return np.arange(1, len(queries) + 1, dtype=np.float64) - firsts


def hit_rate(ranks: Values, offsets: Offsets, k: int) -> Values:
    """Whether any relevant item is a hit: 1 or 0.

    Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004.
    """
    return np.minimum(_hit_counts(ranks, offsets, k), 1.0)


def recall(ranks: Values, offsets: Offsets, k: int) -> Values:
    """Hits / R: the share of all relevant items that are hits, also of those no list of length k can hold.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.3.
    """
    return _hit_counts(ranks, offsets, k) / np.diff(offsets)


def precision(ranks: Values, offsets: Offsets, k: int) -> Values:
    """Hits / k, also where fewer than k items could be recommended.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.3.
    """
    return _hit_counts(ranks, offsets, k) / k


def f1(ranks: Values, offsets: Offsets, k: int) -> Values:
    """2 P R / (P + R), the harmonic mean of the query's precision and recall, 0 where there is no hit.

    Van Rijsbergen, "Information Retrieval", 1979, chapter 7. With P = hits / k and R = hits / n_relevant it is
    2 hits / (k + n_relevant).
    """
    return np.asarray(2.0 * _hit_counts(ranks, offsets, k) / (k + np.diff(offsets)))


def ndcg(ranks: Values, offsets: Offsets, k: int) -> Values:
    """Sum over the hits of 1 / log2(r + 1), over the same sum for ranks 1 ... min(k, R).

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002, with binary relevance
    and the discount of Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    queries, hit_ranks = _hits(ranks, offsets, k)
    gains = _sums(queries, 1.0 / np.log2(hit_ranks + 1.0), offsets)
    most = np.minimum(np.diff(offsets), k)
    ideal: Values = np.cumsum(1.0 / np.log2(np.arange(2, most.max(initial=0) + 2, dtype=np.float64)))
    return np.asarray(gains / ideal[most - 1])


def mrr(ranks: Values, offsets: Offsets, k: int) -> Values:
    """1 / r_1, the reciprocal rank of the first hit, 0 without hit; its mean over queries is the MRR.

    Voorhees, "The TREC-8 question answering track report", TREC 1999.
    """
    queries, hit_ranks = _hits(ranks, offsets, k)
    first = _positions(queries, offsets) == 1
    return _sums(queries[first], 1.0 / hit_ranks[first], offsets)


def average_precision(ranks: Values, offsets: Offsets, k: int) -> Values:
    """Sum over the hits j = 1, 2, ... of j / r_j, over min(k, R); its mean over queries is the MAP.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4; the divisor is
    min(k, R) and not R, so that a list of hits only has the value 1 however many relevant items there are.
    """
    queries, hit_ranks = _hits(ranks, offsets, k)
    precisions = _sums(queries, _positions(queries, offsets) / hit_ranks, offsets)
    return np.asarray(precisions / np.minimum(np.diff(offsets), k))


RANKING_METRICS: dict[str, Callable[[Values, Offsets, int], Values]] = {
    "hr": hit_rate,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "ndcg": ndcg,
    "mrr": mrr,
    "map": average_precision,
}
"""Metrics of one query by their names in settings and records; a run's figure is the mean over its queries."""
