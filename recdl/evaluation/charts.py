"""Where the marks of a comparison's plots stand, in the units of their drawing; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from recdl.evaluation.axes import Scale, Tick, nice_ticks
from recdl.evaluation.comparison import ComparedRun, Comparison

WIDTH = 320.0
N_STYLES = 8
"""Colours, and shapes of marks; the template and its style sheet have as many. A style is one of each."""

_ROW = 36.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 10.0, 30.0
_CURVE_HEIGHT = 200.0


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


def style_of(comparison: Comparison, run: ComparedRun) -> int:
    """Return the number of the run's colour and mark, the same in every plot; the first 64 differ."""
    return [other.label for other in comparison.runs].index(run.label) % N_STYLES**2


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


def bounds(run: ComparedRun, metric: str) -> tuple[float, float]:
    """Return the interval of a run's figure, or, where it has none, the figure twice."""
    figure = run.figures[metric]
    return figure.interval or (figure.value, figure.value)


def _interval_panel(comparison: Comparison, metric: str) -> IntervalPanel:
    runs = sorted(comparison.runs, key=lambda run: -run.figures[metric].value)
    ends = [end for run in runs for end in bounds(run, metric)]
    values = nice_ticks(min(ends), max(ends))
    x = Scale(values[0], values[-1], _RIGHT, WIDTH - _RIGHT)
    marks = []
    for row, run in enumerate(runs):
        low, high = bounds(run, metric)
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
