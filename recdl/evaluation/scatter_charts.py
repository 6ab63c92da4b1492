"""Runs as points: the primary metric over what it costs, or over how much of the catalogue is shown."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from recdl.evaluation import wording
from recdl.evaluation.axes import Scale, Tick, log_ticks, nice_ticks, size_ticks
from recdl.evaluation.charts import Mark, bounds, style_of
from recdl.evaluation.comparison import ComparedRun, Comparison

WIDTH, HEIGHT = 480.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 14.0, 12.0, 32.0
_LABEL_GAP = 14.0
_SHORTEST_SECONDS = 0.001
_COARSE = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 360_000, 3_600_000)
_FINE = tuple(
    sorted({0.001 * 10**power * factor for power in range(5) for factor in (1, 2, 5)})
    + [unit * factor for unit in (60, 3600) for factor in (1, 2, 5, 10, 20, 30)]
)


@dataclass(frozen=True)
class ScatterPanel:
    """The primary metric of each run over something else.

    Attributes:
        title: "NDCG@10 over the time to fit".
        x_ticks: With the values as they are written.
        y_ticks: Of the metric.
        marks: A run each.
        values: What each mark is over, as it is written, by the run's label.
    """

    title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[Tick]
    marks: list[Mark]
    values: Mapping[str, str]


def scatter_panels(comparison: Comparison) -> list[ScatterPanel]:
    """Return the primary metric over coverage, fit time, parameters and size, so far as runs have them."""
    coverage = f"coverage@{comparison.primary.rpartition('@')[2]}"
    covered = {run.label: run.figures[coverage].value for run in comparison.runs if coverage in run.figures}
    found = [
        _panel(comparison, covered, wording.metric_name(coverage), whole_percent, log=None),
        _panel(comparison, _known(comparison, _seconds), "time to fit", wording.duration, log=time_ticks),
        _panel(comparison, _known(comparison, _parameters), "learned numbers", _short_count, log=log_ticks),
        _panel(comparison, _known(comparison, _bytes), "stored size", wording.size, log=size_ticks),
    ]
    return [panel for panel in found if panel is not None]


def time_ticks(shortest: float, longest: float) -> list[float]:
    """Return round times within [shortest, longest], in seconds: tenfolds, or finer where these are few."""
    coarse, fine = ([time for time in times if shortest <= time <= longest] for times in (_COARSE, _FINE))
    return coarse if len(coarse) >= 3 else fine


def _seconds(run: ComparedRun) -> float | None:
    return None if run.fit_seconds is None else max(run.fit_seconds, _SHORTEST_SECONDS)


def _parameters(run: ComparedRun) -> float | None:
    return None if run.n_parameters is None else float(max(run.n_parameters, 1))


def _bytes(run: ComparedRun) -> float | None:
    return None if run.state_bytes is None else float(max(run.state_bytes, 1))


def _known(comparison: Comparison, value: Callable[[ComparedRun], float | None]) -> dict[str, float]:
    return {run.label: known for run in comparison.runs if (known := value(run)) is not None}


def whole_percent(share: float) -> str:
    """Write a share on an axis: "25 %"."""
    return f"{100 * share:.3g} %"


def _short_count(value: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _panel(
    comparison: Comparison,
    values: Mapping[str, float],
    over: str,
    written: Callable[[float], str],
    *,
    log: Callable[[float, float], list[float]] | None,
) -> ScatterPanel | None:
    """Return None where there are no two runs to tell apart."""
    runs = [run for run in comparison.runs if run.label in values]
    if len(runs) < 2:
        return None
    low, high = min(values.values()), max(values.values())
    if log is None:
        x_values = nice_ticks(min(low, 0.0), high)
        x = Scale(x_values[0], x_values[-1], _LEFT + 6, WIDTH - _RIGHT - 6)
    else:
        left, right = _padded(low, high)
        x_values = log(left, right)
        x = Scale(left, right, _LEFT, WIDTH - _RIGHT, log=True)
    metric = comparison.primary
    ends = [end for run in runs for end in bounds(run, metric)]
    y_values = nice_ticks(min(ends), max(ends))
    y = Scale(y_values[0], y_values[-1], HEIGHT - _BOTTOM, _TOP)
    marks = []
    for run in runs:
        lower, upper = bounds(run, metric)
        value = run.figures[metric].value
        style = style_of(comparison, run)
        marks.append(Mark(run, style, x(values[run.label]), y(value), value, y(lower), y(upper)))
    return ScatterPanel(
        title=f"{wording.metric_name(metric)} over {over}",
        x_ticks=[(x(value), written(value)) for value in x_values],
        y_ticks=[Tick(y(value), value) for value in y_values],
        marks=_spread_labels(marks),
        values={label: written(value) for label, value in values.items()},
    )


def _padded(low: float, high: float) -> tuple[float, float]:
    """Widen a range of positive values so that marks keep off the edges and some round value is in it."""
    margin = max((high / low) ** 0.08, 1.6)
    return low / margin, high * margin


def _spread_labels(marks: Sequence[Mark]) -> list[Mark]:
    """Set the labels' heights, from the top, so that none covers another."""
    spread: list[Mark] = []
    lowest = -math.inf
    for mark in sorted(marks, key=lambda mark: mark.y):
        lowest = max(mark.y, lowest + _LABEL_GAP)
        spread.append(replace(mark, label_y=lowest))
    over = lowest - (HEIGHT - _BOTTOM)
    if over > 0:  # too many below the last one: move all up that are in the way
        highest = math.inf
        for place in range(len(spread) - 1, -1, -1):
            highest = min(spread[place].label_y, highest - _LABEL_GAP, HEIGHT - _BOTTOM)
            spread[place] = replace(spread[place], label_y=highest)
    return spread
