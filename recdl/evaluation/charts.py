"""Where the marks of a comparison's plots stand, in the units of their drawing; the template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recdl.evaluation.axes import Scale, Tick, nice_ticks
from recdl.evaluation.comparison import ComparedRun, Comparison

WIDTH = 320.0
N_STYLES = 8
"""Colours and marks before they repeat; the template and its style sheet have as many."""

_ROW = 36.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 10.0, 30.0
_CURVE_HEIGHT, _COST_HEIGHT, _COST_WIDTH = 200.0, 320.0, 640.0
_LABEL_GAP = 14.0
_SHORTEST_SECONDS = 0.001
_COARSE = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 360_000, 3_600_000)
_FINE = tuple(
    sorted({0.001 * 10**power * factor for power in range(5) for factor in (1, 2, 5)})
    + [unit * factor for unit in (60, 3600) for factor in (1, 2, 5, 10, 20, 30)]
)


@dataclass(frozen=True)
class Mark:
    """A run's figure in a plot; `low` and `high` are the ends of its interval, along the axis of the figure."""

    run: ComparedRun
    style: int
    x: float
    y: float
    value: float
    low: float
    high: float
    label_y: float = 0.0


@dataclass(frozen=True)
class IntervalPanel:
    """One metric: a row a run, the best first, with the reference's mean as a line through all rows."""

    metric: str
    height: float
    ticks: list[Tick]
    marks: list[Mark]
    reference_x: float


@dataclass(frozen=True)
class CurvePanel:
    """One metric over its cutoffs: a line a run."""

    metric: str
    height: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[list[Mark]]


@dataclass(frozen=True)
class CostPanel:
    """The primary metric of each run over the time its fit took."""

    width: float
    height: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]


def style_of(comparison: Comparison, run: ComparedRun) -> int:
    """Return the number of the run's colour and mark, the same in every plot."""
    return [other.label for other in comparison.runs].index(run.label) % N_STYLES


def interval_panels(comparison: Comparison) -> list[IntervalPanel]:
    """Return a panel for each metric compared."""
    return [_interval_panel(comparison, metric) for metric in comparison.metrics]


def curve_panels(comparison: Comparison) -> list[CurvePanel]:
    """Return a panel for each metric with two cutoffs or more that all the runs have."""
    cutoffs: dict[str, list[int]] = {}
    for name in comparison.all_metrics:
        metric, _, cutoff = name.rpartition("@")
        cutoffs.setdefault(metric, []).append(int(cutoff))
    return [
        _curve_panel(comparison, metric, sorted(values)) for metric, values in cutoffs.items() if len(values) > 1
    ]


def cost_panel(comparison: Comparison) -> CostPanel | None:
    """Return the primary metric over the fit time, or None where there are no two runs to tell apart."""
    timed = [
        (run, max(run.fit_seconds, _SHORTEST_SECONDS)) for run in comparison.runs if run.fit_seconds is not None
    ]
    if len(timed) < 2:
        return None
    seconds = [time for _, time in timed]
    left, right = _padded_log(min(seconds), max(seconds))
    x = Scale(left, right, _LEFT, _COST_WIDTH - _RIGHT, log=True)
    bounds = [bound for run, _ in timed for bound in _bounds(run, comparison.primary)]
    y_values = nice_ticks(min(bounds), max(bounds))
    y = Scale(y_values[0], y_values[-1], _COST_HEIGHT - _BOTTOM, _TOP)
    marks = []
    for run, time in timed:
        low, high = _bounds(run, comparison.primary)
        value = run.figures[comparison.primary].value
        marks.append(Mark(run, style_of(comparison, run), x(time), y(value), value, y(low), y(high)))
    return CostPanel(
        width=_COST_WIDTH,
        height=_COST_HEIGHT,
        x_ticks=[Tick(x(value), value) for value in time_ticks(left, right)],
        y_ticks=[Tick(y(value), value) for value in y_values],
        marks=_spread_labels(marks),
    )


def time_ticks(shortest: float, longest: float) -> list[float]:
    """Return round times within [shortest, longest], in seconds: tenfolds, or finer where these are few."""
    coarse, fine = ([time for time in times if shortest <= time <= longest] for times in (_COARSE, _FINE))
    return coarse if len(coarse) >= 3 else fine


def _padded_log(low: float, high: float) -> tuple[float, float]:
    """Widen a range of positive values so that marks keep off the edges and some round value is in it."""
    margin = max((high / low) ** 0.08, 1.6)
    return low / margin, high * margin


def _bounds(run: ComparedRun, metric: str) -> tuple[float, float]:
    figure = run.figures[metric]
    return figure.interval or (figure.value, figure.value)


def _interval_panel(comparison: Comparison, metric: str) -> IntervalPanel:
    runs = sorted(comparison.runs, key=lambda run: -run.figures[metric].value)
    bounds = [bound for run in runs for bound in _bounds(run, metric)]
    values = nice_ticks(min(bounds), max(bounds))
    x = Scale(values[0], values[-1], _RIGHT, WIDTH - _RIGHT)
    marks = []
    for row, run in enumerate(runs):
        low, high = _bounds(run, metric)
        value = run.figures[metric].value
        y = _TOP + _ROW * row + _ROW * 0.72
        marks.append(Mark(run, style_of(comparison, run), x(value), y, value, x(low), x(high), y - 11))
    reference = next(run for run in runs if run.label == comparison.reference)
    return IntervalPanel(
        metric=metric,
        height=_TOP + _ROW * len(runs) + _BOTTOM,
        ticks=[Tick(x(value), value) for value in values],
        marks=marks,
        reference_x=x(reference.figures[metric].value),
    )


def _curve_panel(comparison: Comparison, metric: str, cutoffs: Sequence[int]) -> CurvePanel:
    x = Scale(cutoffs[0], cutoffs[-1], _LEFT + 8, WIDTH - _RIGHT - 8, log=True)
    names = [f"{metric}@{cutoff}" for cutoff in cutoffs]
    # From 0, so that the eye compares heights, not differences blown up.
    values = nice_ticks(0.0, max(run.figures[name].value for run in comparison.runs for name in names) or 1.0)
    y = Scale(values[0], values[-1], _CURVE_HEIGHT - _BOTTOM, _TOP)
    lines = []
    for run in comparison.runs:
        figures = [run.figures[name].value for name in names]
        style = style_of(comparison, run)
        lines.append(
            [
                Mark(run, style, x(cutoff), y(value), value, y(value), y(value))
                for cutoff, value in zip(cutoffs, figures, strict=True)
            ]
        )
    return CurvePanel(
        metric=metric,
        height=_CURVE_HEIGHT,
        x_ticks=[Tick(x(cutoff), cutoff) for cutoff in cutoffs],
        y_ticks=[Tick(y(value), value) for value in values],
        lines=lines,
    )


def _spread_labels(marks: Sequence[Mark]) -> list[Mark]:
    """Set the labels' heights, from the top, so that none covers another."""
    spread: list[Mark] = []
    lowest = -math.inf
    for mark in sorted(marks, key=lambda mark: mark.y):
        lowest = max(mark.y, lowest + _LABEL_GAP)
        spread.append(Mark(mark.run, mark.style, mark.x, mark.y, mark.value, mark.low, mark.high, lowest))
    return spread
