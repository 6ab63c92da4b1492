"""How large and how sparse a log is, how concentrated on few items, and what preparation dropped."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recdl.data.diagnosis.blocks import user_blocks
from recdl.data.diagnosis.findings import Finding, Severity, percent
from recdl.data.interactions import Interactions
from recdl.data.prepared import REASONS

CURVE_POINTS = 101
SHORT_HISTORY = 3
"""Events that a history needs: one to learn from, one to stop by, one to test."""
DROP_ADVICE = {
    "missing_user": "events of unknown users teach nothing about a person; if they have a session id, set "
    "data.columns.user to it",
    "missing_item": "check that data.columns.item is the right column",
    "excluded": "data.exclude names them on purpose",
    "bad_timestamp": "check the rows; state data.time.format if they are times in another notation",
    "bad_weight": "check the rows; data.columns.weight names a column of finite numbers",
    "outside_period": "data.start and data.end are set on purpose or need changing",
    "behavior_not_kept": "data.filters.behaviors leaves them out; null keeps all",
    "forgotten": "their users asked to be forgotten; nothing is to be done",
    "duplicate": "rows alike in user, item, behaviour and time count once. Where the times are coarse, true "
    "repeats go with them: give finer times, if the source has them, as data.columns.timestamp",
    "few_events": "data.filters.min_user_events and min_item_events drop them; figures then hold for active "
    "users only",
    "few_users": "data.filters.min_item_users drops them on purpose; these items are never recommended",
}
"""What to do about the rows that preparation dropped, by each of its reasons."""
_ON_PURPOSE = ("excluded", "behavior_not_kept", "forgotten", "few_users")
_SUSPICIOUS = {"missing_user": 0.05, "missing_item": 0.01, "bad_timestamp": 0.01, "duplicate": 0.2}


@dataclass(frozen=True)
class Shape:
    """Counts of a log.

    Attributes:
        events: Events.
        users: Users with an event.
        items: Items with an event.
        pairs: Distinct pairs of a user and an item.
        density: `pairs / (users * items)`.
        events_by_behavior: Events by name of the behaviour.
        events_per_user: Quantiles 0, .25, .5, .75, .9, .99 and 1.
        events_per_item: The same.
        history_bounds: Histories of `history_bounds[i]` to `history_bounds[i + 1] - 1` events are counted in
        history_counts: (len(history_bounds) - 1,).
        short_user_share: Share of the users with fewer than `SHORT_HISTORY` events.
        single_item_share: Share of the items with one event only.
        gini: Of the events over the items that have any: 0 all alike, 1 a single item has all.
        top_shares: Share of the events that the most popular 1, 10 and 20 % of the items have.
        lorenz: (CURVE_POINTS,) share of the events that the most popular 0, 1, ... 100 % of the items have.
        rows_read: Rows of the source.
        dropped: Rows that preparation dropped, by reason.
    """

    events: int
    users: int
    items: int
    pairs: int
    density: float
    events_by_behavior: dict[str, int]
    events_per_user: list[float]
    events_per_item: list[float]
    history_bounds: list[int]
    history_counts: list[int]
    short_user_share: float
    single_item_share: float
    gini: float
    top_shares: dict[str, float]
    lorenz: list[float]
    rows_read: int
    dropped: dict[str, int]


def measure_shape(log: Interactions, *, pairs: int, rows_read: int, dropped: Mapping[str, int]) -> Shape:
    """Count.

    Args:
        log: The log; it has an event.
        pairs: Its distinct pairs of user and item.
        rows_read: Rows that preparation read.
        dropped: Rows that it dropped, by reason.
    """
    per_item = np.zeros(log.n_items, np.int64)
    per_behavior = np.zeros(len(log.behavior_names), np.int64)
    for block in user_blocks(log):
        per_item += np.bincount(block.items, minlength=log.n_items)
        per_behavior += np.bincount(block.behaviors, minlength=len(per_behavior))
    per_item = np.sort(per_item[per_item > 0])[::-1]
    per_user = np.diff(log.offsets)
    per_user = per_user[per_user > 0]
    lorenz = lorenz_curve(per_item)
    bounds = _doubling(int(per_user.max()))
    return Shape(
        events=log.n_events,
        users=len(per_user),
        items=len(per_item),
        pairs=pairs,
        density=pairs / (len(per_user) * len(per_item)),
        events_by_behavior=dict(zip(log.behavior_names, per_behavior.tolist(), strict=True)),
        events_per_user=_quantiles(per_user),
        events_per_item=_quantiles(per_item),
        history_bounds=bounds,
        history_counts=np.histogram(per_user, [*bounds[:-1], bounds[-1] - 0.5])[0].tolist(),
        short_user_share=float((per_user < SHORT_HISTORY).mean()),
        single_item_share=float((per_item == 1).mean()),
        gini=gini(per_item),
        top_shares={f"{top} %": float(lorenz[top]) for top in (1, 10, 20)},
        lorenz=lorenz.tolist(),
        rows_read=rows_read,
        dropped=dict(dropped),
    )


def gini(counts: npt.NDArray[np.int64]) -> float:
    """Return the Gini coefficient of positive counts: 0 if all are alike, (n - 1) / n if one of n had all."""
    rising = np.sort(counts).astype(np.float64)
    n = len(rising)
    return float((2 * np.arange(1, n + 1) - n - 1) @ rising / (n * rising.sum()))


def lorenz_curve(falling: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return (CURVE_POINTS,) the shares that the first 0, 1, ... 100 % of falling counts have."""
    cumulative = np.append(0, np.cumsum(falling)) / falling.sum()
    at = np.linspace(0, len(falling), CURVE_POINTS)
    shares: npt.NDArray[np.float64] = np.interp(at, np.arange(len(falling) + 1), cumulative)
    return shares


def shape_findings(shape: Shape, *, named_behaviors: bool) -> Iterator[Finding]:
    """Say what is unusual about the counts.

    Args:
        shape: The counts.
        named_behaviors: Whether the behaviours' order was stated (`data.behaviors`), not that of the alphabet.
    """
    yield from _drop_findings(shape)
    if shape.short_user_share > 0.3:
        yield Finding(
            "short_histories",
            "warning" if shape.short_user_share > 0.6 else "notice",
            f"{percent(shape.short_user_share)} of the users have fewer than {SHORT_HISTORY} events",
            f"median {shape.events_per_user[2]:,.0f} events a user, mean {shape.events / shape.users:.1f}",
            "Little can be learned of a user from one or two events. data.filters.min_user_events=3 leaves them "
            "out (and the figures then speak of the others only); else let popularity be the bar to beat.",
            shape.short_user_share,
        )
    if shape.single_item_share > 0.3:
        yield Finding(
            "rare_items",
            "notice",
            f"{percent(shape.single_item_share)} of the items have a single event",
            f"{shape.items:,} items, median {shape.events_per_item[2]:,.0f} events an item",
            "No model that learns from interactions alone can place them. data.filters.min_item_events=2 (or 5) "
            "makes a smaller and faster catalogue; it also takes the hard targets out.",
            shape.single_item_share,
        )
    if shape.top_shares["1 %"] > 0.5 and shape.items >= 200:
        yield Finding(
            "popularity",
            "notice",
            f"the most popular 1 % of the items have {percent(shape.top_shares['1 %'])} of the events",
            f"Gini {shape.gini:.2f} over {shape.items:,} items",
            "Train model=popularity beside every other, and look at coverage as well as accuracy.",
            shape.top_shares["1 %"],
        )
    if len(shape.events_by_behavior) > 1 and not named_behaviors:
        yield Finding(
            "behavior_order",
            "warning",
            "the behaviours stand in the order of the alphabet, not of the funnel",
            f"behaviours: {', '.join(shape.events_by_behavior)}",
            "Name them, the least committed first: data.behaviors={view:[...],cart:[...],purchase:[...]}.",
            1.0,
        )


def _drop_findings(shape: Shape) -> Iterator[Finding]:
    for reason, rows in shape.dropped.items():
        share = rows / shape.rows_read if shape.rows_read else 0.0
        if not rows or reason in _ON_PURPOSE:
            continue
        severity: Severity = "warning" if share > _SUSPICIOUS.get(reason, 2.0) else "notice"
        yield Finding(
            f"dropped_{reason}",
            severity,
            f"{percent(share)} of the rows were dropped: {REASONS[reason]}",
            f"{rows:,} of {shape.rows_read:,} rows",
            _sentence(DROP_ADVICE[reason]),
            share,
        )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _quantiles(counts: npt.NDArray[np.int64]) -> list[float]:
    return [float(value) for value in np.quantile(counts, (0, 0.25, 0.5, 0.75, 0.9, 0.99, 1))]


def _doubling(most: int) -> list[int]:
    """Return 1, 2, 4, ... up to the first power of two above `most`."""
    bounds = [1]
    while bounds[-1] <= most:
        bounds.append(2 * bounds[-1])
    return bounds
