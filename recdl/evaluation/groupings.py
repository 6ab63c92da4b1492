"""What the records of runs say of groups of users and of items, run by run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recdl.evaluation.groups import ACTIVITY, NEWNESS, NOT_KNOWN, POPULARITY
from recdl.evaluation.records import RunRecord
from recdl.evaluation.results import PART


@dataclass(frozen=True)
class GroupColumn:
    """One group, and what each run reached on it.

    Attributes:
        name: Of the group: a value of the column.
        size: Queries of its users, or targets of its items.
        figures: By label of the run; None where the group has no target.
        exposures: By label, the share of the places in lists that items of the group take; empty for users.
        events: The share of the events that models learned from; None for users.
    """

    name: str
    size: int
    figures: Mapping[str, float | None]
    exposures: Mapping[str, float]
    events: float | None


@dataclass(frozen=True)
class Grouping:
    """All queries, or all items, by one column.

    Attributes:
        name: "Users by region".
        metric: What the figures are of ("ndcg@10").
        unit: What is counted: "query" or "target".
        groups: Two or more.
    """

    name: str
    metric: str
    unit: str
    groups: tuple[GroupColumn, ...]

    def gap(self, label: str) -> float:
        """Return the highest less the lowest figure of a run over the groups; 0 if it has none."""
        values = self.known_values(label).values()
        return max(values, default=0.0) - min(values, default=0.0)

    def known_values(self, label: str) -> dict[str, float]:
        """Return the same but for the group of whom the column says nothing, if there are others."""
        values = self.values(label)
        return {name: value for name, value in values.items() if name != NOT_KNOWN} or values

    def values(self, label: str) -> dict[str, float]:
        """Return the figures of a run by group, where it has one."""
        figures = {group.name: group.figures.get(label) for group in self.groups}
        return {name: value for name, value in figures.items() if value is not None}

    @property
    def labels(self) -> list[str]:
        """Of the runs that have figures by group."""
        return list(dict.fromkeys(label for group in self.groups for label in group.figures if self.values(label)))


def groupings(of_runs: Mapping[str, RunRecord], metric: str, *, segmented: bool) -> list[Grouping]:
    """Return the figures by each way of grouping that the runs were evaluated with, on test.

    Args:
        of_runs: By label.
        metric: Of users ("ndcg@10"); of items it is the recall at its cutoff.
        segmented: Whether new users and popular items are shown as segments already, as users by activity are.
    """
    kept = {label: groups for label, record in of_runs.items() if (groups := record.groups(PART))}
    shown_elsewhere = {ACTIVITY, NEWNESS, POPULARITY} if segmented else {ACTIVITY}
    k = metric.rpartition("@")[2]
    found: list[Grouping] = []
    for kind, figure, unit, count in (
        ("users", metric, "query", "n_queries"),
        ("items", f"recall@{k}", "target", "n_targets"),
    ):
        ways = dict.fromkeys(way for groups in kept.values() for way in groups[kind])
        for way in ways:
            if way not in shown_elsewhere:
                tables = {label: groups[kind].get(way, {}) for label, groups in kept.items()}
                columns = _columns(tables, figure, count, f"exposure@{k}")
                if len(columns) > 1 and any(_known(column) for column in columns):
                    found.append(Grouping(f"{kind.capitalize()} by {way}", figure, unit, tuple(columns)))
    return found


def _columns(
    tables: Mapping[str, Mapping[str, Any]], figure: str, count: str, exposure: str
) -> Sequence[GroupColumn]:
    names = dict.fromkeys(name for table in tables.values() for name in table)
    columns = []
    for name in names:
        own = {label: table[name] for label, table in tables.items() if name in table}
        first = next(iter(own.values()))
        columns.append(
            GroupColumn(
                name,
                int(first[count]),
                {label: group.get(figure) for label, group in own.items()},
                {label: group[exposure] for label, group in own.items() if exposure in group},
                first.get("events"),
            )
        )
    return columns


def _known(column: GroupColumn) -> list[float]:
    return [value for value in column.figures.values() if value is not None]
