"""Metrics of one query from the ranks of its relevant items.

Every function takes `RankedTargets` and, but for `auc`, the cutoff `k`, at least 1. It returns float64
(n_queries,). In the formulas a query has R relevant items; those with rank <= k are hits, r_1 < r_2 < ... their
ranks.

A rank need not be whole: an item tied with others stands at its expected position among them (2.5 when it shares
places 2 and 3). It is a hit where that position is <= k, and a discount is read at that position; no value is
interpolated between whole ranks, and no hit is counted in part.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]

METRIC_VERSION = 1
"""Raised whenever a change here, or in how ties are ranked, moves a figure."""

PERSISTENCE = 0.8
"""Of rank-biased precision: how likely a user who looks at one place looks at the next, too."""


class Hits(NamedTuple):
    """The relevant items with rank <= k, by query and then from the best rank to the worst.

    Attributes:
        targets: Which of the targets each is.
        queries: Whose it is.
        ranks: Where it stands.
        positions: 1, 2, ... among the hits of its query.
    """

    targets: Offsets
    queries: Offsets
    ranks: Values
    positions: Values


class RankedTargets:
    """The relevant items of queries and where they stand.

    Args:
        ranks: (n_targets,) float64, 1 the best and `inf` for an item that could not be ranked.
        offsets: (n_queries + 1,) int64, between which the targets of each query lie, at least one each.
        gains: (n_targets,) float64, what each is worth, 0 or more; only weighted metrics look at it.
        n_ranked: (n_queries,) int64, how many items each query ranks; only `auc` looks at it.
        popularity_ranks: (n_targets,) float64, 1 plus how many candidates have more train events than the item;
            only `serendipity` looks at it.
    """

    def __init__(
        self,
        ranks: Values,
        offsets: Offsets,
        *,
        gains: Values | None = None,
        n_ranked: Offsets | None = None,
        popularity_ranks: Values | None = None,
    ) -> None:
        self.ranks, self.offsets = ranks, offsets
        self.n_ranked, self.popularity_ranks = n_ranked, popularity_ranks
        self.counts: Offsets = np.diff(offsets)
        if gains is not None and not (gains >= 0).all():
            raise ValueError(f"a gain must be 0 or more, not {gains[~(gains >= 0)][0]}")
        self.gains = gains
        self._hits: dict[int, Hits] = {}

    def hits(self, k: int) -> Hits:
        """Return the hits at cutoff `k`; found once, and within those of a larger cutoff that was asked before."""
        if k < 1:
            raise ValueError(f"the cutoff k must be at least 1, not {k}")
        if k not in self._hits:
            larger = min((known for known in self._hits if known > k), default=None)
            self._hits[k] = self._find(k) if larger is None else _within(self._hits[larger], k)
        return self._hits[k]

    def sums(self, queries: Offsets, values: Values) -> Values:
        """Return (n_queries,) the sum of the values of each query."""
        return np.bincount(queries, weights=values, minlength=len(self.counts)).astype(np.float64)

    def hit_counts(self, k: int) -> Values:
        """Return (n_queries,) how many hits each query has."""
        return np.bincount(self.hits(k).queries, minlength=len(self.counts)).astype(np.float64)

    def _find(self, k: int) -> Hits:
        found = np.flatnonzero(self.ranks <= k)
        queries = np.searchsorted(self.offsets, found, side="right") - 1
        order = np.lexsort((self.ranks[found], queries))
        found, queries = found[order], queries[order]
        counts = np.bincount(queries, minlength=len(self.counts))
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.arange(1, len(queries) + 1, dtype=np.float64) - firsts
        return Hits(found, queries, self.ranks[found], positions)


def _within(hits: Hits, k: int) -> Hits:
    kept = hits.ranks <= k  # a query's best come first: their positions stay
    return Hits(hits.targets[kept], hits.queries[kept], hits.ranks[kept], hits.positions[kept])


def hit_rate(targets: RankedTargets, k: int) -> Values:
    """Whether any relevant item is a hit: 1 or 0.

    Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004.
    """
    return np.minimum(targets.hit_counts(k), 1.0)


def recall(targets: RankedTargets, k: int) -> Values:
    """Hits / R: the share of all relevant items that are hits, also of those no list of length k can hold.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.3.
    """
    return targets.hit_counts(k) / targets.counts


def capped_recall(targets: RankedTargets, k: int) -> Values:
    """Hits / min(k, R): the share of the hits that a list of length k can hold, 1 for a list of hits only.

    Liang, Krishnan, Hoffman and Jebara, "Variational autoencoders for collaborative filtering", WWW 2018, equation
    10, where it is called Recall@R; papers in that line mean this by recall.
    """
    return targets.hit_counts(k) / np.minimum(targets.counts, k)


def precision(targets: RankedTargets, k: int) -> Values:
    """Hits / k, also where fewer than k items could be recommended.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.3.
    """
    return targets.hit_counts(k) / k


def f1(targets: RankedTargets, k: int) -> Values:
    """2 P R / (P + R), the harmonic mean of the query's precision and recall, 0 where there is no hit.

    Van Rijsbergen, "Information Retrieval", 1979, chapter 7. With P = hits / k and R = hits / n_relevant it is
    2 hits / (k + n_relevant).
    """
    return np.asarray(2.0 * targets.hit_counts(k) / (k + targets.counts))


def dcg(targets: RankedTargets, k: int) -> Values:
    """Sum over the hits of 1 / log2(r + 1), not divided by the best possible; it may exceed 1.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002, with binary relevance
    and the discount of Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    hits = targets.hits(k)
    return targets.sums(hits.queries, _discounts(hits.ranks))


def ndcg(targets: RankedTargets, k: int) -> Values:
    """Sum over the hits of 1 / log2(r + 1), over the same sum for ranks 1 ... min(k, R).

    Järvelin and Kekäläinen, as in `dcg`.
    """
    most = np.minimum(targets.counts, k)
    ideal: Values = np.cumsum(_discounts(np.arange(1, most.max(initial=0) + 1, dtype=np.float64)))
    return np.asarray(dcg(targets, k) / ideal[most - 1])


def weighted_ndcg(targets: RankedTargets, k: int) -> Values:
    """Sum over the hits of gain / log2(r + 1), over the same sum for the largest gains at ranks 1 ... min(k, R).

    Järvelin and Kekäläinen, as in `dcg`, with the gain itself and not 2^gain - 1. A query of which no relevant
    item has a gain above 0 has the value 0; with equal gains it is `ndcg`.
    """
    if targets.gains is None:
        raise ValueError("weighted_ndcg needs the gains of the targets")
    hits = targets.hits(k)
    found = targets.sums(hits.queries, targets.gains[hits.targets] * _discounts(hits.ranks))
    rows = np.repeat(np.arange(len(targets.counts)), targets.counts)
    places = np.arange(1, len(rows) + 1) - np.repeat(targets.offsets[:-1], targets.counts)
    largest_first = targets.gains[np.lexsort((-targets.gains, rows))]
    held = places <= k
    ideal = targets.sums(rows[held], largest_first[held] * _discounts(places[held].astype(np.float64)))
    return np.divide(found, ideal, out=np.zeros_like(found), where=ideal > 0)


def mrr(targets: RankedTargets, k: int) -> Values:
    """1 / r_1, the reciprocal rank of the first hit, 0 without hit; its mean over queries is the MRR.

    Voorhees, "The TREC-8 question answering track report", TREC 1999.
    """
    hits = targets.hits(k)
    first = hits.positions == 1
    return targets.sums(hits.queries[first], 1.0 / hits.ranks[first])


def average_precision(targets: RankedTargets, k: int) -> Values:
    """Sum over the hits j = 1, 2, ... of j / r_j, over min(k, R); its mean over queries is the MAP.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4; the divisor is
    min(k, R) and not R, so that a list of hits only has the value 1 however many relevant items there are.
    """
    hits = targets.hits(k)
    precisions = targets.sums(hits.queries, hits.positions / hits.ranks)
    return np.asarray(precisions / np.minimum(targets.counts, k))


def rank_biased_precision(targets: RankedTargets, k: int) -> Values:
    """Sum over the hits of (1 - p) p^(r - 1), p = 0.8: hits by how likely a user who may stop anywhere sees them.

    Moffat and Zobel, "Rank-biased precision for measurement of retrieval effectiveness", TOIS 2008. A list of k
    hits has 1 - p^k.
    """
    hits = targets.hits(k)
    return targets.sums(hits.queries, (1.0 - PERSISTENCE) * PERSISTENCE ** (hits.ranks - 1.0))


def serendipity(targets: RankedTargets, k: int) -> Values:
    """Hits that are not among the k most popular candidates, over k.

    Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy: evaluating recommender systems by coverage and
    serendipity", RecSys 2010: what is useful and not expected from a primitive recommender, here popularity. An
    item is among the k most popular if fewer than k candidates have more train events.
    """
    if targets.popularity_ranks is None:
        raise ValueError("serendipity needs the popularity of the targets")
    hits = targets.hits(k)
    return targets.sums(hits.queries, (targets.popularity_ranks[hits.targets] > k).astype(np.float64)) / k


def auc(targets: RankedTargets) -> Values:
    """The share of the pairs of a relevant item and another item in which the relevant one stands higher.

    Ties count one half, and a relevant item that could not be ranked stands below all others. With m of the R
    relevant items among the C that the query ranks, at ranks r_j, it is
    (m (C - m) - (sum of r_j - m (m + 1) / 2)) / (R (C - m)); 1/2 where there is no other item.

    Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
    Radiology 1982; Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009.
    """
    if targets.n_ranked is None:
        raise ValueError("auc needs the number of items that each query ranks")
    ranked = np.flatnonzero(np.isfinite(targets.ranks))
    queries = np.searchsorted(targets.offsets, ranked, side="right") - 1
    m = np.bincount(queries, minlength=len(targets.counts)).astype(np.float64)
    others = targets.n_ranked - m
    below = targets.sums(queries, targets.ranks[ranked]) - m * (m + 1.0) / 2.0
    pairs = targets.counts * others
    values: Values = np.divide(m * others - below, pairs, out=np.full(len(m), 0.5), where=pairs > 0)
    return values


def _discounts(ranks: Values) -> Values:
    return np.asarray(1.0 / np.log2(ranks + 1.0))


RANKING_METRICS: dict[str, Callable[[RankedTargets, int], Values]] = {
    "hr": hit_rate,
    "recall": recall,
    "capped_recall": capped_recall,
    "precision": precision,
    "f1": f1,
    "ndcg": ndcg,
    "dcg": dcg,
    "mrr": mrr,
    "map": average_precision,
    "rbp": rank_biased_precision,
}
"""Metrics that need no more than ranks, by their names in settings and records; a run's figure is their mean."""
