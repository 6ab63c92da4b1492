"""Accuracy and exposure by group of users and of items, and how far groups lie apart."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import QuerySet
from recdl.data.vocabulary import UNKNOWN
from recdl.evaluation.columns import check_column, read_values
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.evaluation.segments import ITEM_GROUPS, activity_groups, item_groups
from recdl.metrics.lists import Lists

if TYPE_CHECKING:
    import pyarrow as pa

ACTIVITY, NEWNESS, POPULARITY = "activity", "newness", "popularity"
MOST_GROUPS = 20
"""Values of a column that are groups of their own, the most frequent ones; the others are one group."""

NOT_KNOWN = "not known"
"""The group of those for whom a column says nothing: no value of it, so no gap is measured to it."""

Group = tuple[str, npt.NDArray[np.bool_]]
Floats = npt.NDArray[np.float64]


def check_groups(protocol: EvaluationProtocol, log: Interactions) -> None:
    """Check that the log has the columns that a protocol groups users and items by.

    Raises:
        ConfigError: If it lacks one; it names the setting.
    """
    for names, built_in, table, of in (
        (protocol.user_groups, (ACTIVITY, NEWNESS), log.user_table, "users"),
        (protocol.item_groups, (POPULARITY,), log.item_table, "items"),
    ):
        for name in names:
            if name not in built_in:
                check_column(table, name, setting=f"evaluation.{of.removesuffix('s')}_groups", of=of)


def by_group(
    values: Mapping[str, Floats],
    ranks: Floats,
    lists: Lists,
    query_set: QuerySet,
    protocol: EvaluationProtocol,
    train: Interactions,
) -> dict[str, Any]:
    """Return figures by group, as JSON can say them.

    `users`: by way of grouping and group, `n_queries` and the mean of every metric of single queries over them.
    `items`: by way of grouping and group, `n_items` (candidates), `n_targets`, the share that the group has of the
    train events (`events`) and of the places in lists (`exposure@k`), and the share of its targets that are found
    (`recall@k`). `gaps`: the largest less the smallest of a figure over the groups of a way of grouping, but for
    those of whom the column says nothing.

    Args:
        values: (n_queries,) by metric.
        ranks: (n_targets,) where the targets stand.
        lists: What was recommended.
        query_set: The queries.
        protocol: Which groups, at which cutoffs.
        train: What was learned from.
    """
    users = {
        name: {
            group: {"n_queries": int(rows.sum())} | {one: float(of[rows].mean()) for one, of in values.items()}
            for group, rows in _user_groups(name, query_set, train)
            if rows.any()
        }
        for name in protocol.user_groups
    }
    measured = _item_measure(ranks, lists, query_set, protocol, train)
    items = {
        name: {group: measured(chosen) for group, chosen in _item_groups(name, train, protocol) if chosen.any()}
        for name in protocol.item_groups
    }
    gaps = {
        f"{name}/{figure}": gap
        for kind in (users, items)
        for name, groups in kind.items()
        for figure, gap in _gaps([of for group, of in groups.items() if group != NOT_KNOWN]).items()
    }
    return {"users": users, "items": items, "gaps": gaps}


def main_gaps(groups: Mapping[str, Any]) -> dict[str, float]:
    """Return the gaps in NDCG between users and in recall between items, as "gap/activity/ndcg@10"."""
    of_items = tuple(groups["items"])
    found = {}
    for name, gap in groups["gaps"].items():
        way, _, figure = name.rpartition("/")
        if figure.startswith("recall@" if way in of_items else "ndcg@"):
            found[f"gap/{name}"] = gap
    return found


def _gaps(groups: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the range of each figure over the groups; a group without targets has no recall."""
    names = dict.fromkeys(name for group in groups for name in group if "@" in name or name == "auc")
    known = {name: [group[name] for group in groups if name in group] for name in names}
    return {name: max(own) - min(own) for name, own in known.items()}


def _user_groups(name: str, query_set: QuerySet, train: Interactions) -> list[Group]:
    queries = query_set.queries
    if name == ACTIVITY:
        return activity_groups(queries.lengths)
    if name == NEWNESS:
        known = (queries.users != UNKNOWN) & (np.diff(train.offsets)[queries.users] > 0)
        return [("new", ~known), ("known", known)]
    assert train.user_table is not None, "the table was checked"
    people = query_set.people
    rows = [(group, chosen[people] & (people != UNKNOWN)) for group, chosen in _by_column(train.user_table, name)]
    told = np.zeros(len(people), np.bool_)
    for _, chosen in rows:
        told |= chosen
    return [*rows, (NOT_KNOWN, ~told)]


def _item_groups(name: str, train: Interactions, protocol: EvaluationProtocol) -> list[Group]:
    if name == POPULARITY:
        codes = item_groups(np.bincount(train.items, minlength=train.n_items))
        return [*((group, codes == code) for code, group in enumerate(ITEM_GROUPS)), ("unseen", codes < 0)]
    assert train.item_table is not None, "the table was checked"
    category = protocol.item_category
    separator = category.separator if category is not None and category.column == name else None
    groups = _by_column(train.item_table, name, separator=separator)
    told = np.any([chosen for _, chosen in groups], axis=0) if groups else np.zeros(train.n_items, np.bool_)
    return [*groups, (NOT_KNOWN, ~told)]


def _by_column(table: "pa.Table", name: str, *, separator: str | None = None) -> list[Group]:
    """Group rows by the values of a column; a row with several values is in several groups.

    Numbers of which there are more than `MOST_GROUPS` different ones are cut in about equal thirds.
    """
    import pyarrow as pa

    column = table[name].combine_chunks()
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if len(np.unique(numbers[np.isfinite(numbers)])) > MOST_GROUPS:
            return _thirds(numbers)
    values = read_values(table, name, separator=separator)
    offsets, members, n = values.sets
    rows = np.repeat(np.arange(len(table)), np.diff(offsets))
    order = np.argsort(-np.bincount(members, minlength=n), kind="stable")
    groups = []
    for codes, title in [([code], values.names[code]) for code in order[:MOST_GROUPS]] + [
        (order[MOST_GROUPS:].tolist(), "others")
    ]:
        chosen = np.zeros(len(table), np.bool_)
        chosen[rows[np.isin(members, codes)]] = True
        groups.append((title, chosen))
    return [(title, chosen) for title, chosen in groups if chosen.any()]


def _thirds(numbers: Floats) -> list[Group]:
    known = numbers[np.isfinite(numbers)]
    low, high = np.quantile(known, [1 / 3, 2 / 3], method="lower")
    with np.errstate(invalid="ignore"):
        cut = [numbers <= low, (numbers > low) & (numbers <= high), numbers > high]
    return [(f"{numbers[one].min():g} to {numbers[one].max():g}", one) for one in cut if one.any()]


def _item_measure(
    ranks: Floats, lists: Lists, query_set: QuerySet, protocol: EvaluationProtocol, train: Interactions
) -> "Callable[[npt.NDArray[np.bool_]], dict[str, float]]":
    """Return what measures a group of items, given as (n_items,) bool."""
    n_items = len(lists.candidates)
    events = np.bincount(train.items, minlength=n_items)
    places = {}
    for k in protocol.cutoffs:
        shown = lists.first(k)
        places[k] = np.bincount(shown[shown >= 0], minlength=n_items)
    targets = query_set.target_items

    def measure(chosen: npt.NDArray[np.bool_]) -> dict[str, float]:
        own = (targets != UNKNOWN) & chosen[targets]
        found = {
            "n_items": int((chosen & lists.candidates).sum()),
            "n_targets": int(own.sum()),
            "events": float(events[chosen].sum() / max(int(events.sum()), 1)),
        }
        for k in protocol.cutoffs:
            found[f"exposure@{k}"] = float(places[k][chosen].sum() / max(int(places[k].sum()), 1))
            if own.any():
                found[f"recall@{k}"] = float((ranks[own] <= k).mean())
        return found

    return measure
