"""How popular what is recommended is, beside what was learned from and what was chosen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recdl.data.vocabulary import UNKNOWN
from recdl.evaluation.background import Background
from recdl.evaluation.segments import ITEM_GROUPS, item_groups

N_POINTS = 60
"""Points of a curve, at most."""


@dataclass(frozen=True)
class Exposure:
    """How places (in lists, among targets, in the log) are spread over the items, the most popular first.

    Attributes:
        shares: By group of `recdl.evaluation.segments.ITEM_GROUPS`, and "unseen": items without an event in train.
        n_items: Distinct items that have a place.
        median_rank: The median place of an item, by its place in the order of popularity, 1 the most popular.
        curve: (share of the items, share of the places that these have together), rising from (0, 0) to (1, 1).
    """

    shares: dict[str, float]
    n_items: int
    median_rank: float
    curve: list[tuple[float, float]]


@dataclass(frozen=True)
class PopularityBias:
    """The exposure that each run gives, beside that of the log and of what was asked for.

    Attributes:
        k: Length of the lists that are looked at.
        log: Of the events that the models learned from.
        targets: Of the targets.
        runs: Of the lists, by label; none of a run without a list.
    """

    k: int
    log: Exposure
    targets: Exposure
    runs: dict[str, Exposure]


def popularity_bias(
    lists: Mapping[str, npt.NDArray[np.int32]], k: int, background: Background
) -> PopularityBias | None:
    """Return what groups of items the lists show.

    Abdollahpouri, Burke and Mobasher, "Managing popularity bias in recommender systems with personalized
    re-ranking", FLAIRS 2019; the curve is that of Lorenz with the items in the order of train's popularity.

    Args:
        lists: (n_queries, at least k) int32 by label of the run, -1 where there is nothing.
        k: The cutoff.
        background: What the log tells.

    Returns:
        None if no target is an item of the log.
    """
    events = background.item_events
    targets = background.query_set.target_items
    targets = targets[targets != UNKNOWN]
    if not len(targets):
        return None
    groups = item_groups(events)
    order = np.argsort(-events, kind="stable")
    places = {label: _count(one[:, :k].ravel(), len(events)) for label, one in lists.items()}
    return PopularityBias(
        k=k,
        log=_exposure(events, order, groups),
        targets=_exposure(_count(targets, len(events)), order, groups),
        runs={label: _exposure(one, order, groups) for label, one in places.items() if one.any()},
    )


def _count(items: npt.NDArray[np.int32], n_items: int) -> npt.NDArray[np.int64]:
    return np.bincount(items[items != UNKNOWN], minlength=n_items)


def _exposure(
    places: npt.NDArray[np.int64], order: npt.NDArray[np.int64], groups: npt.NDArray[np.int8]
) -> Exposure:
    """Return how `places` (n_items,) are spread, `order` being the items by falling popularity."""
    total = places.sum()
    by_group = np.bincount(groups + 1, weights=places, minlength=len(ITEM_GROUPS) + 1) / total
    shares = {"unseen": float(by_group[0])}
    shares |= {name: float(share) for name, share in zip(ITEM_GROUPS, by_group[1:], strict=True)}
    taken = np.cumsum(places[order])
    at = np.unique(np.geomspace(1, len(order), N_POINTS).astype(np.int64))
    curve = [(0.0, 0.0)]
    curve += [(float(n / len(order)), float(taken[n - 1] / total)) for n in at]
    return Exposure(
        shares=shares,
        n_items=int(np.count_nonzero(places)),
        median_rank=float(np.searchsorted(taken, (total + 1) // 2) + 1),
        curve=curve,
    )
