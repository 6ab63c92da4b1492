"""Figures by segment: users by how active they were and whether they are new, items by how popular they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd

from recdl.data.vocabulary import UNKNOWN
from recdl.evaluation.background import Background

HEAD_SHARE = 0.2
"""Share of the events that the head takes, and the tail."""
ITEM_GROUPS = ("head", "middle", "tail")
_N_ACTIVE = 3  # groups of users with a history

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SegmentFigure:
    """A mean of one run over one segment, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Segment:
    """A group of queries, or of targets, and what each run reached on it.

    Attributes:
        name: "5 to 17 events".
        size: Queries (or targets) in it.
        figures: By label of the run.
    """

    name: str
    size: int
    figures: Mapping[str, SegmentFigure]


@dataclass(frozen=True)
class Segmentation:
    """All queries, or all targets, by one property.

    Attributes:
        name: "Users by activity".
        metric: What the figures are of ("ndcg@10").
        unit: What is counted: "query" or "target".
        segments: None of them empty.
        note: How the groups are made.
    """

    name: str
    metric: str
    unit: str
    segments: tuple[Segment, ...]
    note: str

    def gap(self, label: str) -> float:
        """Return the highest minus the lowest figure of a run over the segments."""
        values = [segment.figures[label].value for segment in self.segments]
        return max(values) - min(values)


def activity_groups(lengths: npt.NDArray[np.int64]) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Cut queries by the events in their history: none, and about equal thirds of the others.

    Returns:
        Name and (n_queries,) bool of each group that is not empty, the least active first.
    """
    groups = [("no history", lengths == 0)]
    known = lengths[lengths > 0]
    if len(known):
        cuts = np.unique(np.quantile(known, np.linspace(0, 1, _N_ACTIVE + 1)[1:-1], method="lower"))
        bounds = [0, *(int(cut) for cut in cuts if cut < known.max()), int(known.max())]
        for low, high in pairwise(bounds):
            name = _events_between(low + 1, high, open_ended=high == bounds[-1])
            groups.append((name, (lengths > low) & (lengths <= high)))
    return [(name, rows) for name, rows in groups if rows.any()]


def _events_between(low: int, high: int, *, open_ended: bool) -> str:
    if open_ended:
        return f"{low:,} or more events" if low > 1 else "some history"
    return f"{low:,} to {high:,} events" if low < high else f"{high:,} event{'s' if high > 1 else ''}"


def item_groups(events: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """Group items by popularity: 0 head, 1 middle, 2 tail, -1 without an event.

    The head is the fewest items that take a fifth of the events together; the tail are the least popular items
    that together take no more than a fifth. Equally popular items are told apart by their index.

    Abdollahpouri, Mansoury, Burke, Mobasher and Malthouse, "User-centered evaluation of popularity bias in
    recommender systems", UMAP 2021.

    Args:
        events: (n_items,) int64, events of each item.
    """
    groups = np.full(len(events), -1, np.int8)
    order = np.argsort(-events, kind="stable")
    order = order[events[order] > 0]
    if not len(order):
        return groups
    taken = np.cumsum(events[order])
    before, total = taken - events[order], int(taken[-1])
    groups[order] = np.where(before < HEAD_SHARE * total, 0, np.where(before >= (1 - HEAD_SHARE) * total, 2, 1))
    return groups


def mean_with_interval(values: Floats, clusters: npt.NDArray[np.integer], confidence: float) -> SegmentFigure:
    """Return a mean over rows with its normal interval, rows of one cluster >= 0 counting as dependent.

    The variance is that of a ratio of sums over clusters, by linearization: Cochran, "Sampling Techniques", 1977,
    section 6.4. With one cluster alone there is none, and the interval has no width.

    Args:
        values: (n,) float64, n at least 1.
        clusters: (n,) integers; each -1 is a cluster of its own.
        confidence: Of the interval.
    """
    mean = float(values.mean())
    own = clusters < 0
    _, codes = np.unique(np.where(own, -1 - np.arange(len(values)), clusters), return_inverse=True)
    residuals = np.bincount(codes, weights=values - mean)
    n = len(residuals)
    if n < 2:
        return SegmentFigure(mean, mean, mean)
    error = float(np.sqrt(n / (n - 1) * np.square(residuals).sum())) / len(values)
    width = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return SegmentFigure(mean, mean - width, mean + width)


def user_segmentations(
    tables: Mapping[str, pd.DataFrame], metric: str, confidence: float, background: Background | None
) -> list[Segmentation]:
    """Return a metric by activity and, where the log is at hand, by whether train knows the user.

    Args:
        tables: Per-query tables by label of the run, all of the same queries.
        metric: A column of them.
        confidence: Of the intervals.
        background: What the log tells.
    """
    first = next(iter(tables.values()))
    lengths = first["history_length"].to_numpy(np.int64)
    columns = {label: table[metric].to_numpy(np.float64) for label, table in tables.items()}
    clusters = first["user"].to_numpy(np.int64)
    found = [
        Segmentation(
            "Users by activity",
            metric,
            "query",
            _segments(activity_groups(lengths), columns, clusters, confidence),
            "Queries by the events in their history: none, and thirds of the others.",
        )
    ]
    if background is not None:
        users = background.query_set.queries.users
        known = (users != UNKNOWN) & (background.user_events[users] > 0)
        found.append(
            Segmentation(
                "New and known users",
                metric,
                "query",
                _segments([("new to train", ~known), ("known to train", known)], columns, clusters, confidence),
                "Known is who has an event in what the models learned from.",
            )
        )
    return [one for one in found if len(one.segments) > 1]


def item_segmentation(
    lists: Mapping[str, npt.NDArray[np.int32]], k: int, confidence: float, background: Background
) -> Segmentation | None:
    """Return the share of the targets found in lists of length `k`, by the popularity of the target.

    Args:
        lists: (n_queries, at least k) int32 by label of the run.
        k: The cutoff.
        confidence: Of the intervals.
        background: What the log tells.

    Returns:
        None if all targets are of one group.
    """
    query_set = background.query_set
    rows = np.repeat(np.arange(len(query_set)), query_set.target_counts)
    items = query_set.target_items
    of_items = item_groups(background.item_events)
    of_targets = np.where(items == UNKNOWN, -1, of_items[items])
    found = {label: found_targets(one[:, :k], rows, items) for label, one in lists.items()}
    groups = [(f"{name} items", of_targets == code) for code, name in enumerate(ITEM_GROUPS)]
    groups.append(("unseen in train", of_targets == -1))
    segments = _segments(groups, found, query_set.people[rows].astype(np.int64), confidence)
    if len(segments) < 2:
        return None
    note = (
        "Targets by popularity in what the models learned from: the head takes the first"
        f" {100 * HEAD_SHARE:.0f} % of the events, the tail the last."
        " The figure is the share of the targets that are in the list."
    )
    return Segmentation("Targets by popularity", f"hits@{k}", "target", segments, note)


def found_targets(
    lists: npt.NDArray[np.int32], rows: npt.NDArray[np.int64], items: npt.NDArray[np.int32]
) -> Floats:
    """Return (n_targets,) float64, 1 where `items[j]` stands in list `rows[j]`; an unknown item never does."""
    hits: Floats = ((lists[rows] == items[:, None]).any(axis=1) & (items != UNKNOWN)).astype(np.float64)
    return hits


def _segments(
    groups: Sequence[tuple[str, npt.NDArray[np.bool_]]],
    columns: Mapping[str, Floats],
    clusters: npt.NDArray[np.int64],
    confidence: float,
) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            name,
            int(rows.sum()),
            {
                label: mean_with_interval(values[rows], clusters[rows], confidence)
                for label, values in columns.items()
            },
        )
        for name, rows in groups
        if rows.any()
    )
