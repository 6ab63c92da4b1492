"""Rows of dots along a line: the seeds of a model, the groups that a run serves."""

from collections.abc import Sequence
from dataclasses import dataclass

from recdl.evaluation import seed_words, wording
from recdl.evaluation.axes import Scale, Tick, nice_ticks
from recdl.evaluation.charts import N_STYLES, style_of
from recdl.evaluation.comparison import Comparison
from recdl.evaluation.groupings import Grouping
from recdl.evaluation.seeds import SeedComparison, SeedFigure, SeedGroup

WIDTH = 480.0
_SIDE, _TOP, _BOTTOM = 14.0, 8.0, 26.0
_SEED_ROW, _GROUP_ROW = 38.0, 54.0
_NAME = 24  # characters of a group's name that there is room for


@dataclass(frozen=True)
class Dot:
    """A value in a row, and what it is of."""

    x: float
    written: str


@dataclass(frozen=True)
class Row:
    """A model, or a run: dots, with a line from `low` to `high` and a mark at `x`, if there is one.

    Attributes:
        label: Above the line, at the left.
        right: The same at the right.
        below: Under the line, such as the names of its ends.
    """

    label: str
    style: int
    y: float
    low: float
    high: float
    dots: list[Dot]
    right: str
    x: float | None = None
    below: str = ""
    best: bool = False


@dataclass(frozen=True)
class RangePanel:
    """Rows on one scale."""

    title: str
    height: float
    ticks: list[Tick]
    rows: list[Row]
    reference_x: float | None = None


def seed_panels(comparison: SeedComparison) -> list[RangePanel]:
    """Return a panel for each metric: a row a model, its seeds, their mean, one standard deviation around it."""
    return [_seed_panel(comparison, metric) for metric in comparison.metrics]


def gap_panels(comparison: Comparison, groupings: Sequence[Grouping]) -> list[RangePanel]:
    """Return a panel for each way of grouping: a row a run, its groups, the line as long as the gap."""
    return [_gap_panel(comparison, grouping) for grouping in groupings]


def _seed_panel(comparison: SeedComparison, metric: str) -> RangePanel:
    order = sorted(comparison.groups, key=lambda group: -group.figures[metric].mean)
    figures = [group.figures[metric] for group in order]
    ends = [end for figure in figures for end in (*figure.by_seed, *_deviating(figure))]
    values = nice_ticks(min(ends), max(ends))
    x = Scale(values[0], values[-1], _SIDE, WIDTH - _SIDE)
    rows = []
    for place, group in enumerate(order):
        figure = group.figures[metric]
        low, high = _deviating(figure)
        rows.append(
            Row(
                label=group.label,
                style=comparison.groups.index(group) % N_STYLES**2,
                y=_TOP + _SEED_ROW * place + 26,
                low=x(low),
                high=x(high),
                dots=_seed_dots(group, metric, x),
                right=f"{seed_words.over_seeds(figure)} {seed_words.seed_mark(figure, metric)}".rstrip(),
                x=x(figure.mean),
                best=place == 0,
            )
        )
    reference = next(group for group in order if group.label == comparison.reference)
    return RangePanel(
        title=wording.metric_name(metric),
        height=_TOP + _SEED_ROW * len(rows) + _BOTTOM,
        ticks=[Tick(x(value), value) for value in values],
        rows=rows,
        reference_x=x(reference.figures[metric].mean) if len(rows) > 1 else None,
    )


def _deviating(figure: SeedFigure) -> tuple[float, float]:
    width = figure.deviation or 0.0
    return figure.mean - width, figure.mean + width


def _seed_dots(group: SeedGroup, metric: str, x: Scale) -> list[Dot]:
    return [
        Dot(x(value), f"seed {seed}: {wording.number(value)}")
        for seed, value in zip(group.seeds, group.figures[metric].by_seed, strict=True)
    ]


def _gap_panel(comparison: Comparison, grouping: Grouping) -> RangePanel:
    runs = [run for run in comparison.sorted_runs if run.label in grouping.labels]
    by_run = {run.label: grouping.values(run.label) for run in runs}
    values = nice_ticks(0.0, max(value for own in by_run.values() for value in own.values()) or 1.0)
    x = Scale(0.0, values[-1], _SIDE, WIDTH - _SIDE)
    rows = []
    for place, run in enumerate(runs):
        own, known = by_run[run.label], grouping.known_values(run.label)
        lowest, highest = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        rows.append(
            Row(
                label=run.label,
                style=style_of(comparison, run),
                y=_TOP + _GROUP_ROW * place + 26,
                low=x(own[lowest]),
                high=x(own[highest]),
                dots=[Dot(x(value), f"{name}: {wording.number(value)}") for name, value in own.items()],
                right=f"gap {wording.number(own[highest] - own[lowest])}",
                below=_ends(lowest, highest),
            )
        )
    return RangePanel(
        title=f"{grouping.name}: {wording.metric_name(grouping.metric)}",
        height=_TOP + _GROUP_ROW * len(rows) + _BOTTOM,
        ticks=[Tick(x(value), value) for value in values],
        rows=rows,
    )


def _ends(lowest: str, highest: str) -> str:
    if lowest == highest:
        return lowest
    return f"lowest: {_short(lowest)}, highest: {_short(highest)}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
