"""What metrics look at, put together from a ranking, its queries, and the log that was learned from."""

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import QuerySet
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import ConfigError, DataError
from recdl.evaluation.columns import check_column, read_values
from recdl.evaluation.groups import check_groups
from recdl.evaluation.item_users import item_users, train_counts
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.metrics.lists import Histories, Lists
from recdl.metrics.ranking import RankedTargets
from recdl.metrics.registry import LIST_METRICS, RANK_METRICS, WHOLE_METRICS
from recdl.models.protocol import RankingTask
from recdl.models.ranking import Ranking, count_ranked

_OF_TRAIN = ("serendipity", "popularity", "novelty", "diversity", "category_diversity", "miscalibration")

Floats = npt.NDArray[np.float64]


def check_protocol(protocol: EvaluationProtocol, log: Interactions) -> None:
    """Check, before anything is trained, that a log has what a protocol asks of it.

    Raises:
        ConfigError: If it lacks a table, a column, a behaviour or numbers for its events; it names the setting.
    """
    if protocol.item_category is not None:
        column = protocol.item_category.column
        check_column(log.item_table, column, setting="evaluation.item_category.column", of="items")
    check_groups(protocol, log)
    if protocol.gains == "weight" and log.weights is None:
        raise ConfigError(
            "evaluation.gains: the log has no numbers for its events; name their column in data.columns.weight"
        )
    if not isinstance(protocol.gains, str):
        for name in protocol.gains or ():
            if name not in log.behavior_names:
                known = ", ".join(log.behavior_names)
                raise ConfigError(f"evaluation.gains.{name}: the log has no such behavior; it has {known}")


def measure(
    ranking: Ranking, task: RankingTask, protocol: EvaluationProtocol, train: Interactions | None
) -> tuple[dict[str, Floats], Lists]:
    """Return a value a query for each metric that has one, by "name@cutoff", and the lists for the others.

    Raises:
        DataError: If a metric needs what is not there.
    """
    if train is None:
        for name in protocol.metrics:
            if name in _OF_TRAIN:
                raise DataError(f"the metric {name} needs the log that was learned from; give it as `train`")
    targets = ranked_targets(ranking, task, protocol, train)
    lists = known_lists(ranking, task, protocol, train)
    for k in sorted(protocol.cutoffs, reverse=True):  # the hits of a smaller cutoff are found in those of a larger
        targets.hits(k)
    values: dict[str, Floats] = {}
    for name in protocol.metrics:
        if name in RANK_METRICS:
            values |= {f"{name}@{k}": RANK_METRICS[name](targets, k) for k in protocol.cutoffs}
        elif name in LIST_METRICS:
            values |= {f"{name}@{k}": LIST_METRICS[name](lists, k) for k in protocol.cutoffs}
        elif name in WHOLE_METRICS:
            values[name] = WHOLE_METRICS[name](targets)
    return values, lists


def ranked_targets(
    ranking: Ranking, task: RankingTask, protocol: EvaluationProtocol, train: Interactions | None
) -> RankedTargets:
    """Return the ranks of the targets with what metrics look at beside them.

    Raises:
        DataError: If the targets have no gains, or one below 0.
    """
    query_set = task.query_set
    popularity = None
    if "serendipity" in protocol.metrics and train is not None:
        popularity = _popularity_ranks(query_set.target_items, train, task.candidates)
    try:
        return RankedTargets(
            ranking.ranks,
            query_set.target_offsets,
            gains=_gains(query_set, protocol, train),
            n_ranked=count_ranked(task) if "auc" in protocol.metrics else None,
            popularity_ranks=popularity,
        )
    except ValueError as error:
        raise DataError(f"evaluation.gains: {error}; leave such events out of what is predicted") from error


def known_lists(
    ranking: Ranking, task: RankingTask, protocol: EvaluationProtocol, train: Interactions | None
) -> Lists:
    """Return the lists with what metrics look at beside them."""
    queries, wanted = task.query_set.queries, protocol.metrics
    # Plain views: compiled loops take no memory maps.
    histories = Histories(queries.starts, queries.ends, np.asarray(queries.items).view(np.ndarray))
    if train is None:
        return Lists(ranking.lists, task.candidates, histories=histories)
    categories = None
    if protocol.item_category is not None and train.item_table is not None:
        category = protocol.item_category
        categories = read_values(train.item_table, category.column, separator=category.separator).sets
    counts = train_counts(train) if {"popularity", "novelty"} & set(wanted) else None
    users = item_users(train) if "diversity" in wanted else None
    return Lists(ranking.lists, task.candidates, counts, histories, users, categories)


def _popularity_ranks(
    items: npt.NDArray[np.int32], train: Interactions, candidates: npt.NDArray[np.bool_]
) -> Floats:
    events = np.bincount(train.items, minlength=train.n_items)
    rising = np.sort(events[candidates])
    ranks = 1.0 + len(rising) - np.searchsorted(rising, events, side="right")
    return np.where(items == UNKNOWN, np.inf, ranks[items])


def _gains(query_set: QuerySet, protocol: EvaluationProtocol, train: Interactions | None) -> Floats | None:
    if "weighted_ndcg" not in protocol.metrics or protocol.gains is None:
        return None
    if isinstance(protocol.gains, str):
        if query_set.target_weights is None:
            raise DataError(
                "evaluation.gains=weight: the targets have no numbers; name gains by behaviour, or none"
            )
        return query_set.target_weights.astype(np.float64)
    if query_set.target_behaviors is None or train is None:
        raise DataError(
            "evaluation.gains: the targets are given without their behaviours; leave weighted_ndcg out of metrics"
        )
    by_code = np.array([protocol.gains.get(name, 1.0) for name in train.behavior_names])
    gains: Floats = by_code[query_set.target_behaviors]
    return gains
