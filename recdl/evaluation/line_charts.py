"""Runs as lines: how they learned, and to which items their lists give room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recdl.evaluation import wording
from recdl.evaluation.axes import Scale, Tick, nice_ticks
from recdl.evaluation.charts import style_of
from recdl.evaluation.comparison import Comparison
from recdl.evaluation.exposure import PopularityBias
from recdl.evaluation.learning import LearningCurve
from recdl.evaluation.scatter_charts import whole_percent

WIDTH, HEIGHT = 480.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 14.0, 12.0, 32.0
_MOST_MARKED = 15  # points of a line that each get a mark


@dataclass(frozen=True)
class Line:
    """A line.

    Attributes:
        label: What it is of.
        style: Number of the run's colour and mark; None of a line that is of no run, drawn dashed.
        points: In the units of the drawing.
        marked: Points that get a mark.
    """

    label: str
    style: int | None
    points: list[tuple[float, float]]
    marked: list[tuple[float, float]]


@dataclass(frozen=True)
class LinePanel:
    """Lines over one axis.

    Attributes:
        title: What the height is.
        x_title: What the axis is.
        x_ticks: With the values as they are written.
        y_ticks: Of the height.
        lines: In the order of the comparison.
    """

    title: str
    x_title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[Tick]
    lines: list[Line]


def learning_panels(comparison: Comparison, curves: Mapping[str, LearningCurve]) -> list[LinePanel]:
    """Return the validation metric and the loss by epoch; the loss relative to that of the run's first epoch.

    Losses of different kinds have different scales, so that only how they fall can be put side by side.
    """
    values: list[_Series] = []
    losses: list[_Series] = []
    metric = next((curve.metric for curve in curves.values() if curve.metric), None)
    for run in comparison.runs:
        curve = curves.get(run.label)
        if curve is None:
            continue
        style = style_of(comparison, run)
        if curve.best is not None:
            points = list(zip(curve.epochs, curve.values, strict=True))
            values.append(_Series(run.label, style, points, marked=(curve.best,)))
        first = curve.losses[0]
        if first:
            pairs = zip(curve.epochs, curve.losses, strict=True)
            relative = [(epoch, loss / first) for epoch, loss in pairs if loss is not None]
            losses.append(_Series(run.label, style, relative))
    found = []
    if values and metric is not None:
        title = f"Validation {wording.metric_name(metric)}; the mark is the best epoch"
        found.append(_panel(title, "epoch", values))
    if losses:
        found.append(_panel("Training loss, relative to the first epoch", "epoch", losses))
    return found


def exposure_panel(comparison: Comparison, bias: PopularityBias) -> LinePanel:
    """Return the share of the places that the most popular items take, of each run, and among the targets."""
    series = [
        _Series(run.label, style_of(comparison, run), bias.runs[run.label].curve, marked=())
        for run in comparison.runs
        if run.label in bias.runs
    ]
    series.append(_Series("what was chosen", None, bias.targets.curve, marked=()))
    title = f"Share of the places in lists of {bias.k}"
    return _panel(title, "share of the catalogue, the most popular first", series, shares=True)


@dataclass(frozen=True)
class _Series:
    label: str
    style: int | None
    points: Sequence[tuple[float, float]]
    marked: tuple[int, ...] | None = None  # None: all, where there are not too many


def _panel(title: str, x_title: str, series: Sequence[_Series], *, shares: bool = False) -> LinePanel:
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    x_values = [0.0, 0.25, 0.5, 0.75, 1.0] if shares else _whole_ticks(int(min(xs)), int(max(xs)))
    y_values = x_values if shares else nice_ticks(min(0.0, *ys), max(ys))
    last = max(x_values[-1], *xs)
    x = Scale(x_values[0], last if last > x_values[0] else last + 1, _LEFT + 6, WIDTH - _RIGHT - 8)
    y = Scale(y_values[0], y_values[-1], HEIGHT - _BOTTOM, _TOP)
    lines = []
    for one in series:
        drawn = [(x(point), y(height)) for point, height in one.points]
        every = range(len(drawn)) if len(drawn) <= _MOST_MARKED else ()
        marked = [drawn[place] for place in (every if one.marked is None else one.marked)]
        lines.append(Line(one.label, one.style, drawn, marked))
    written = whole_percent if shares else "{:.0f}".format
    return LinePanel(
        title,
        x_title,
        [(x(value), written(value)) for value in x_values],
        [Tick(y(value), value) for value in y_values],
        lines,
    )


def _whole_ticks(low: int, high: int, n: int = 6) -> list[float]:
    step = next(
        power * factor
        for power in (1, 10, 100, 1000, 10**4, 10**5)
        for factor in (1, 2, 5)
        if (high - low) / (power * factor) <= n
    )
    return [float(value) for value in range(low, high + 1, step)]
