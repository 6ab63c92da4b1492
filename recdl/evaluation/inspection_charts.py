"""Where the bars and lines of a log's page stand, in the units of their drawing; the template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from recdl.data.diagnosis.findings import percent
from recdl.data.diagnosis.rhythm import Rhythm
from recdl.data.diagnosis.shape import Shape
from recdl.data.diagnosis.timeline import DAY, Timeline
from recdl.evaluation.axes import Scale, Tick, nice_ticks

WIDE, NARROW, HEIGHT = 640.0, 320.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 12.0, 10.0, 30.0
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_GAP_LABELS = (
    (1e-3, "1 ms"),
    (1.0, "1 s"),
    (60.0, "1 min"),
    (3_600.0, "1 h"),
    (86_400.0, "1 day"),
    (2_629_800.0, "1 month"),
    (31_557_600.0, "1 year"),
)
_LABELS = 5


@dataclass(frozen=True)
class Label:
    """A text below the axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Bar:
    """A count, and what to say of it."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Panel:
    """A plot of bars, or of a line, with counts or shares upwards."""

    title: str
    note: str
    width: float
    y_ticks: list[Tick]
    labels: list[Label]
    bars: list[Bar] = field(default_factory=list)
    line: list[tuple[float, float]] = field(default_factory=list)
    diagonal: bool = False
    mark: Label | None = None
    height: float = HEIGHT


def panels(shape: Shape, timeline: Timeline, rhythm: Rhythm) -> list[Panel]:
    """Return the plots that have something to show."""
    found = [
        activity_panel(timeline) if len(timeline.activity) > 1 else None,
        history_panel(shape),
        popularity_panel(shape) if shape.items > 1 else None,
        gap_panel(rhythm) if any(rhythm.bins) else None,
        hour_panel(timeline) if timeline.by_hour is not None else None,
        weekday_panel(timeline) if timeline.last - timeline.first >= 7 * DAY else None,
    ]
    return [panel for panel in found if panel is not None]


def activity_panel(timeline: Timeline) -> Panel:
    """Return events over time."""
    n, step = len(timeline.activity), timeline.activity_step
    days = step // DAY
    dates = [timeline.day(timeline.activity_start + place * step) for place in range(n)]
    shown = sorted({round(place * (n - 1) / (_LABELS - 1)) for place in range(_LABELS)})
    unit = "day" if days == 1 else f"{days} days"
    titles = [f"from {date}" if days > 1 else date for date in dates]
    left = f"; {timeline.outside:,} events outside are not drawn" if timeline.outside else ""
    return _bars(
        "Activity over time",
        f"Events a {unit}{left}." if days == 1 else f"Events in {unit}, the last bar may be shorter{left}.",
        timeline.activity,
        titles,
        {place: dates[place] for place in shown},
        width=WIDE,
    )


def hour_panel(timeline: Timeline) -> Panel:
    """Return events by hour of the day."""
    assert timeline.by_hour is not None, "times have hours"
    titles = [f"{hour}:00 to {hour}:59" for hour in range(24)]
    labels = {hour: f"{hour}:00" for hour in range(0, 24, 6)}
    return _bars("Hours of the day", f"By the clock of {timeline.timezone}.", timeline.by_hour, titles, labels)


def weekday_panel(timeline: Timeline) -> Panel:
    """Return events by weekday."""
    labels = dict(enumerate(_WEEKDAYS))
    return _bars("Days of the week", "Of all the log.", timeline.by_weekday, list(_WEEKDAYS), labels)


def history_panel(shape: Shape) -> Panel:
    """Return users by the length of their history."""
    bounds = shape.history_bounds
    names = [f"{low:,}" if high == low + 1 else f"{low:,} to {high - 1:,}" for low, high in pairwise(bounds)]
    every = max(1, math.ceil(len(names) / 7))
    labels = {place: f"{bounds[place]:,}" for place in range(0, len(names), every)}
    return _bars(
        "Events a user",
        "Users by the length of their history; each bar spans twice the range of the one before.",
        shape.history_counts,
        [f"{name} events" for name in names],
        labels,
        noun="users",
    )


def gap_panel(rhythm: Rhythm) -> Panel:
    """Return the gaps between a user's events, by their logarithm, with the end of sessions."""
    used = [place for place, count in enumerate(rhythm.bins) if count]
    low, high = used[0], used[-1] + 1
    edges = rhythm.bin_edges[low : high + 1]
    x = Scale(edges[0], edges[-1], LEFT, WIDE - RIGHT, log=True)
    gap = rhythm.suggested_gap
    panel = _bars(
        "Time between a user's events",
        "On a logarithmic axis; events at one time (gap 0) are left out."
        + (" The line is the suggested end of a session." if gap is not None else ""),
        rhythm.bins[low:high],
        [f"{_seconds(start)} to {_seconds(end)}" for start, end in pairwise(edges)],
        {},
        width=WIDE,
        noun="gaps",
    )
    within = [(seconds, name) for seconds, name in _GAP_LABELS if edges[0] <= seconds <= edges[-1]]
    return Panel(
        panel.title,
        panel.note,
        panel.width,
        panel.y_ticks,
        [Label(x(seconds), name) for seconds, name in within],
        panel.bars,
        mark=None if gap is None else Label(x(min(max(gap, edges[0]), edges[-1])), _seconds(gap)),
    )


def popularity_panel(shape: Shape) -> Panel:
    """Return the share of the events that the most popular items have."""
    x, y = Scale(0, 100, LEFT, NARROW - RIGHT), Scale(0, 100, HEIGHT - BOTTOM, TOP)
    step = 100 / (len(shape.lorenz) - 1)
    return Panel(
        "Popularity",
        f"Share of the events (%) that the most popular share of the items has. Gini {shape.gini:.2f}; the "
        "dashed line "
        f"is equality. The top 1 % has {percent(shape.top_shares['1 %'])}.",
        NARROW,
        [Tick(y(value), value) for value in (0, 25, 50, 75, 100)],
        [Label(x(value), f"{value} %") for value in (0, 25, 50, 75, 100)],
        line=[(x(place * step), y(100 * share)) for place, share in enumerate(shape.lorenz)],
        diagonal=True,
    )


def _bars(
    title: str,
    note: str,
    counts: Sequence[int],
    titles: Sequence[str],
    labels: dict[int, str],
    *,
    width: float = NARROW,
    noun: str = "events",
) -> Panel:
    """Return a bar for each count, from 0, with labels below some of them."""
    values = nice_ticks(0.0, float(max(counts)))
    y = Scale(values[0], values[-1], HEIGHT - BOTTOM, TOP)
    slot = (width - LEFT - RIGHT) / len(counts)
    gap = min(2.0, slot * 0.2)
    bars = [
        Bar(
            round(LEFT + place * slot + gap / 2, 2),
            y(count),
            round(slot - gap, 2),
            round(HEIGHT - BOTTOM - y(count), 2),
            f"{name}: {count:,} {noun}",
        )
        for place, (count, name) in enumerate(zip(counts, titles, strict=True))
    ]
    return Panel(
        title,
        note,
        width,
        [Tick(y(value), value) for value in values],
        [Label(round(LEFT + (place + 0.5) * slot, 2), text) for place, text in labels.items()],
        bars,
    )


def _seconds(seconds: float) -> str:
    for unit, name, limit in (
        (1e-3, "ms", 1.0),
        (1.0, "s", 60.0),
        (60.0, "min", 3_600.0),
        (3_600.0, "h", 86_400.0),
        (86_400.0, "days", math.inf),
    ):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    raise AssertionError("a gap is finite")
