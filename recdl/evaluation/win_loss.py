"""Two runs side by side, user by user: for whom which is better, and what that looks like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recdl.data.vocabulary import UNKNOWN
from recdl.evaluation.background import Background
from recdl.evaluation.segments import activity_groups

_SHOWN_EVENTS = 8
_SHOWN_TARGETS = 8
_UNEQUAL = 1e-9  # per-query figures are kept in float32: equal sums may differ by rounding


@dataclass(frozen=True)
class Balance:
    """For how many users of a group the first run is better, the two are alike, the second is better."""

    group: str
    first: int
    alike: int
    second: int

    @property
    def n(self) -> int:
        """Users in the group."""
        return self.first + self.alike + self.second


@dataclass(frozen=True)
class ShownItem:
    """An item as it is shown.

    Attributes:
        name: What it is called.
        behavior: In a history, what was done.
        hit: In a list, whether it is a target; of a target, whether one of the two lists has it.
        had: Whether it stands in the history.
    """

    name: str
    behavior: str = ""
    hit: bool = False
    had: bool = False


@dataclass(frozen=True)
class Example:
    """One query, of someone who is known by a number of this report alone.

    Attributes:
        number: 1, 2, ... in the order shown; it says nothing of who it is.
        n_events: Length of the whole history.
        history: Its latest events, the latest first.
        first, second: What the two runs recommended, the best first.
        targets: What was chosen afterwards.
        n_targets: How many that were.
        first_value, second_value: The metric of the query.
    """

    number: int
    n_events: int
    history: tuple[ShownItem, ...]
    first: tuple[ShownItem, ...]
    second: tuple[ShownItem, ...]
    targets: tuple[ShownItem, ...]
    n_targets: int
    first_value: float
    second_value: float


@dataclass(frozen=True)
class WinLoss:
    """Two runs, user by user.

    Attributes:
        first, second: Labels of the runs.
        metric: By which they are compared ("ndcg@10").
        balances: Of all users, then by activity.
        for_first: Examples of queries on which the first run is better, drawn at random.
        for_second: The same of the second.
    """

    first: str
    second: str
    metric: str
    balances: tuple[Balance, ...]
    for_first: tuple[Example, ...] = ()
    for_second: tuple[Example, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON can say them, without the examples: these are of single people."""
        return {
            "first": self.first,
            "second": self.second,
            "metric": self.metric,
            "balances": [
                {"group": one.group, "first": one.first, "alike": one.alike, "second": one.second}
                for one in self.balances
            ],
        }


def balances(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> tuple[Balance, ...]:
    """Count the users for whom each of two runs is better, all together and by activity.

    A user's figure is the mean over the user's queries; each unknown visitor (-1) is a user of its own. Someone
    belongs to the group of the longest of the user's histories.

    Args:
        first: Per-query table of a run.
        second: The same of another run, of the same queries in the same order.
        metric: A column of both.
    """
    users = first["user"].to_numpy(np.int64)
    own = users < 0
    _, codes = np.unique(np.where(own, -1 - np.arange(len(users)), users), return_inverse=True)
    differences = first[metric].to_numpy(np.float64) - second[metric].to_numpy(np.float64)
    means = np.bincount(codes, weights=differences) / np.bincount(codes)
    lengths = np.zeros(len(means), np.int64)
    np.maximum.at(lengths, codes, first["history_length"].to_numpy(np.int64))
    everyone = ("all users", np.ones(len(means), np.bool_))
    groups = activity_groups(lengths)
    return tuple(_balance(name, means[rows]) for name, rows in [everyone, *(groups if len(groups) > 1 else [])])


def _balance(name: str, differences: npt.NDArray[np.float64]) -> Balance:
    better, worse = int((differences > _UNEQUAL).sum()), int((differences < -_UNEQUAL).sum())
    return Balance(name, better, len(differences) - better - worse, worse)


def examples(
    tables: tuple[pd.DataFrame, pd.DataFrame],
    lists: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
    metric: str,
    background: Background,
    *,
    n: int,
    seed: int = 0,
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Draw queries on which the first of two runs is better, and queries on which the second is.

    They are drawn at random, not the most telling ones, which would show what is rare as if it were common.

    Args:
        tables: Per-query tables of the two runs, of the same queries.
        lists: Their lists, (n_queries, at least the metric's cutoff) int32.
        metric: "ndcg@10"; its cutoff is the length of the lists that are shown.
        background: What the log tells.
        n: Examples of each kind, at most.
        seed: Of the draw.
    """
    values = [table[metric].to_numpy(np.float64) for table in tables]
    k = int(metric.rpartition("@")[2])
    generator = np.random.default_rng(seed)
    drawn: list[npt.NDArray[np.int64]] = []
    for sign in (1, -1):
        rows = np.flatnonzero(sign * (values[0] - values[1]) > _UNEQUAL)
        drawn.append(generator.choice(rows, min(n, len(rows)), replace=False))
    numbers = iter(range(1, 2 * n + 1))
    made = [
        tuple(
            _example(next(numbers), int(row), (lists[0][row, :k], lists[1][row, :k]), values, background)
            for row in rows
        )
        for rows in drawn
    ]
    return made[0], made[1]


def _example(
    number: int,
    row: int,
    lists: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]],
    values: list[npt.NDArray[np.float64]],
    background: Background,
) -> Example:
    query_set = background.query_set
    queries = query_set.queries
    start, end = int(queries.starts[row]), int(queries.ends[row])
    had = set(queries.items[start:end].tolist())
    latest = slice(max(start, end - _SHOWN_EVENTS), end)
    items, codes = queries.items[latest][::-1], queries.behaviors[latest][::-1]
    several = len(background.behavior_names) > 1
    targets = query_set.target_items[query_set.target_offsets[row] : query_set.target_offsets[row + 1]]
    shown = set(lists[0].tolist()) | set(lists[1].tolist())
    # What one of the lists holds first, so that it is not cut off.
    known = sorted((int(one) for one in targets if one != UNKNOWN), key=lambda one: one not in shown)
    names = _names(background, [items, *lists, np.array(known, np.int32)])
    chosen = set(known)
    return Example(
        number=number,
        n_events=end - start,
        history=tuple(
            ShownItem(names[int(item)], background.behavior_names[code] if several else "")
            for item, code in zip(items, codes, strict=True)
        ),
        first=_shown(lists[0], names, chosen, had),
        second=_shown(lists[1], names, chosen, had),
        targets=tuple(
            ShownItem(names[item], hit=item in shown, had=item in had) for item in known[:_SHOWN_TARGETS]
        ),
        n_targets=len(targets),
        first_value=float(values[0][row]),
        second_value=float(values[1][row]),
    )


def _shown(
    items: npt.NDArray[np.int32], names: Mapping[int, str], chosen: set[int], had: set[int]
) -> tuple[ShownItem, ...]:
    return tuple(
        ShownItem(names[item], hit=item in chosen, had=item in had) for item in items.tolist() if item != UNKNOWN
    )


def _names(background: Background, groups: list[npt.NDArray[np.int32]]) -> dict[int, str]:
    items = np.unique(np.concatenate(groups))
    items = items[items != UNKNOWN]
    return dict(zip(items.tolist(), background.names(items), strict=True))
