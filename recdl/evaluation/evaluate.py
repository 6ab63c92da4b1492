"""Measure any recommender on a set of queries."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recdl.data.interactions import Interactions
from recdl.data.queries import QuerySet
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import DataError
from recdl.evaluation.groups import by_group, main_gaps
from recdl.evaluation.measures import measure
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.evaluation.sampling import sample_candidates
from recdl.evaluation.significance import bootstrap_intervals
from recdl.metrics.lists import Lists
from recdl.metrics.ratings import RATING_METRICS
from recdl.metrics.registry import CATALOGUE_METRICS
from recdl.models.protocol import RankingTask, RatingPredictor, Recommender
from recdl.models.ranking import Ranking, rank

SAMPLED = "sampled_candidates"
"""Name of the figure that marks an evaluation among given candidates: how many a query ranks, on average."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one recommender reached on one set of queries.

    Attributes:
        metrics: Figures by name: "ndcg@10" and the like, means over all queries; "auc"; "coverage@10" and other
            figures of all lists together; "n_queries";
            "cold_targets", the share of the targets that are no candidates (the model never saw them); and, where
            history is excluded, "masked_targets", the share that could not be recommended for standing in the
            history of their query. Both kinds count as misses; and, where queries rank candidates of their own in
            place of the catalogue, given or drawn, "sampled_candidates", how many; and, of a model that predicts
            ratings, on a log that has numbers for events, "rmse" and "mae" over the targets that the log holds,
            "n_ratings" of them.
        intervals: Percentile bootstrap interval of each mean over queries, users resampled.
        per_query: A row a query: `query` (row of the query set, int64), `user` (user index, of a session its
            user's, -1 unknown, int32),
            `n_targets`, `history_length` (events, int64), then a float64 column a metric and cutoff.
        lists: (n_queries, largest cutoff) int32 item indices, best first, -1 where the candidates run out.
        groups: Figures by group of users and of items, as `recdl.evaluation.groups.by_group` gives them; empty
        where
            the protocol has no groups.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    per_query: pd.DataFrame
    lists: npt.NDArray[np.int32]
    groups: dict[str, Any] = field(default_factory=dict)


def evaluate(
    recommender: Recommender,
    query_set: QuerySet,
    *,
    candidates: npt.NDArray[np.bool_],
    protocol: EvaluationProtocol,
    train: Interactions | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Rank the whole catalogue for every query and measure where the targets stand, and what is recommended.

    Args:
        recommender: A fitted model.
        query_set: Queries and their targets.
        candidates: (n_items,) bool, items that may be recommended: those with a train event.
        protocol: What to measure, by which rules.
        train: What the model learned from; metrics of popularity, diversity and the like need it.
        seed: Of the bootstrap.
        progress: Whether to show a progress bar on standard error.

    Raises:
        DataError: If there is no query or no candidate, the model's scores cannot be ranked (see `rank`), or a
            metric needs what is not there.
    """
    query_set = _with_candidates(query_set, candidates, protocol, train)
    task = RankingTask(query_set, candidates, protocol.exclude_history)
    ranking = rank(recommender, task, k=max(protocol.cutoffs), progress=progress)
    values, lists = measure(ranking, task, protocol, train)
    intervals = _intervals(values, query_set, protocol, seed)
    metrics = {name: float(column.mean()) for name, column in values.items()}
    for name in protocol.metrics:
        if name in CATALOGUE_METRICS:
            metrics |= {f"{name}@{k}": CATALOGUE_METRICS[name](lists, k) for k in protocol.cutoffs}
    groups = _groups(values, ranking, lists, query_set, protocol, train)
    return Evaluation(
        metrics=metrics
        | _ratings(recommender, query_set)
        | _shares(ranking, task)
        | {"n_queries": float(len(query_set))}
        | (main_gaps(groups) if groups else {}),
        intervals=intervals,
        per_query=_per_query(values, query_set),
        lists=ranking.lists,
        groups=groups,
    )


def _groups(
    values: dict[str, npt.NDArray[np.float64]],
    ranking: Ranking,
    lists: Lists,
    query_set: QuerySet,
    protocol: EvaluationProtocol,
    train: Interactions | None,
) -> dict[str, Any]:
    if not protocol.user_groups and not protocol.item_groups:
        return {}
    if train is None:
        raise DataError("groups of users and items need the log that was learned from; give it as `train`")
    return by_group(values, ranking.ranks, lists, query_set, protocol, train)


def _with_candidates(
    query_set: QuerySet,
    candidates: npt.NDArray[np.bool_],
    protocol: EvaluationProtocol,
    train: Interactions | None,
) -> QuerySet:
    """Give each query candidates of its own, where the protocol has them drawn."""
    if protocol.sampled is None:
        return query_set
    if train is None and protocol.sampled.by == "popularity":
        raise DataError("sampled.by=popularity needs the log that was learned from; give it as `train`")
    events = np.zeros(len(candidates), np.int64)
    if train is not None:
        events = np.bincount(train.items, minlength=len(candidates))
    drawn = sample_candidates(
        query_set,
        protocol.sampled,
        candidates=candidates,
        item_events=events,
        exclude_history=protocol.exclude_history,
    )
    return replace(query_set, candidates=drawn)


def _intervals(
    values: dict[str, npt.NDArray[np.float64]], query_set: QuerySet, protocol: EvaluationProtocol, seed: int
) -> dict[str, tuple[float, float]]:
    if not values:
        return {}
    ends = bootstrap_intervals(
        np.column_stack(list(values.values())),
        query_set.people,
        seed=seed,
        n_bootstrap=protocol.n_bootstrap,
        confidence=protocol.confidence,
    )
    return {name: (float(low), float(high)) for name, (low, high) in zip(values, ends, strict=True)}


def _shares(ranking: Ranking, task: RankingTask) -> dict[str, float]:
    """Return the shares of the targets that no model could have ranked, and how many candidates were given."""
    items = task.query_set.target_items
    known = (items != UNKNOWN) & task.candidates[items]
    shares = {"cold_targets": float(1.0 - known.mean())}
    if task.exclude_history:
        shares["masked_targets"] = float((known & np.isinf(ranking.ranks)).mean())
    given = task.query_set.candidates
    if given is not None:
        shares[SAMPLED] = float(given.counts.mean())
    return shares


def _ratings(recommender: Recommender, query_set: QuerySet) -> dict[str, float]:
    """Return how far the ratings that a model predicts are from those of the targets; {} if there are none."""
    given = query_set.target_weights
    if given is None or not isinstance(recommender, RatingPredictor):
        return {}
    rows = np.repeat(np.arange(len(query_set)), query_set.target_counts)
    known = query_set.target_items != UNKNOWN
    if not known.any():
        return {}
    items = query_set.target_items[known]
    predicted = recommender.predict_ratings(query_set.queries, rows[known], items)
    values = {name: metric(predicted, given[known].astype(np.float64)) for name, metric in RATING_METRICS.items()}
    return values | {"n_ratings": float(len(items))}


def _per_query(values: dict[str, npt.NDArray[np.float64]], query_set: QuerySet) -> pd.DataFrame:
    columns = {
        "query": np.arange(len(query_set), dtype=np.int64),
        "user": query_set.people,
        "n_targets": query_set.target_counts,
        "history_length": query_set.queries.lengths,
    }
    return pd.DataFrame(columns | values)
