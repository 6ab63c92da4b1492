"""Every metric by its name in settings and records. A new one is a function, and a line here."""

from collections.abc import Callable
from typing import Literal

from recdl.metrics.catalogue import coverage, entropy, gini
from recdl.metrics.lists import (
    Lists,
    average_popularity,
    category_diversity,
    diversity,
    miscalibration,
    novelty,
    repeat_rate,
)
from recdl.metrics.ranking import RANKING_METRICS, RankedTargets, Values, auc, serendipity, weighted_ndcg

Better = Literal["more", "less", "neither"]

RankMetric = Callable[[RankedTargets, int], Values]
ListMetric = Callable[[Lists, int], Values]

RANK_METRICS: dict[str, RankMetric] = {
    **RANKING_METRICS,
    "weighted_ndcg": weighted_ndcg,
    "serendipity": serendipity,
}
"""Functions of ranks and a cutoff, a value a query."""

WHOLE_METRICS: dict[str, Callable[[RankedTargets], Values]] = {"auc": auc}
"""Functions of ranks alone, a value a query."""

LIST_METRICS: dict[str, ListMetric] = {
    "popularity": average_popularity,
    "novelty": novelty,
    "diversity": diversity,
    "category_diversity": category_diversity,
    "repeat": repeat_rate,
    "miscalibration": miscalibration,
}
"""Functions of lists and a cutoff, a value a query."""

CATALOGUE_METRICS: dict[str, Callable[[Lists, int], float]] = {
    "coverage": coverage,
    "gini": gini,
    "entropy": entropy,
}
"""Functions of all lists together and a cutoff, one value."""

ACCURACY = (*RANKING_METRICS, "weighted_ndcg", "auc")
"""Those that say how well targets are found."""

METRICS = (*RANK_METRICS, *WHOLE_METRICS, *LIST_METRICS, *CATALOGUE_METRICS)
"""All of them."""

_LESS, _NEITHER = ("gini", "miscalibration", "rmse", "mae"), ("popularity", "repeat")


def better(metric: str) -> Better:
    """Return whether more of a metric ("ndcg@10") is better, or less, or neither in itself."""
    name = metric.partition("@")[0]
    return "less" if name in _LESS else "neither" if name in _NEITHER else "more"
