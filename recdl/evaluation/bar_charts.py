"""Bars: figures by segment, groups of items in the lists, wins and losses."""

from collections.abc import Sequence
from dataclasses import dataclass

from recdl.evaluation import wording
from recdl.evaluation.axes import Scale, Tick, nice_ticks
from recdl.evaluation.charts import style_of
from recdl.evaluation.comparison import ComparedRun, Comparison
from recdl.evaluation.exposure import Exposure, PopularityBias
from recdl.evaluation.segments import ITEM_GROUPS, Segment, Segmentation
from recdl.evaluation.win_loss import WinLoss

WIDTH = 480.0
MOST_RUNS = 6
"""Runs that are drawn in a segment; tables hold all."""

_SIDE, _LABELS = 12.0, 118.0
_HEADING, _BAR, _GAP, _AXIS = 22.0, 15.0, 10.0, 26.0
_ROW = 40.0
GROUPS = (*ITEM_GROUPS, "unseen")


@dataclass(frozen=True)
class Bar:
    """A run's figure on a segment: from 0 to `x`, with its interval."""

    label: str
    style: int
    y: float
    x: float
    low: float
    high: float
    written: str
    interval: str


@dataclass(frozen=True)
class SegmentBars:
    """The bars of one segment below its heading."""

    heading: str
    y: float
    bars: list[Bar]


@dataclass(frozen=True)
class SegmentPanel:
    """One segmentation."""

    title: str
    note: str
    height: float
    left: float
    ticks: list[Tick]
    segments: list[SegmentBars]


@dataclass(frozen=True)
class Piece:
    """A part of a stacked bar: what it is of, where it is, and how much it is."""

    kind: str
    x: float
    width: float
    written: str


@dataclass(frozen=True)
class Stack:
    """A bar in pieces, with its label above and what it counts at the right."""

    label: str
    right: str
    y: float
    pieces: list[Piece]


@dataclass(frozen=True)
class StackPanel:
    """Bars in pieces, one below the other."""

    title: str
    height: float
    stacks: list[Stack]


def shown_runs(comparison: Comparison) -> list[ComparedRun]:
    """Return the runs that are drawn by segment: the best, and the reference whatever it reached."""
    best = comparison.sorted_runs[:MOST_RUNS]
    if any(run.label == comparison.reference for run in best):
        return best
    return [*best[:-1], next(run for run in comparison.runs if run.label == comparison.reference)]


def segment_panels(comparison: Comparison, segmentations: Sequence[Segmentation]) -> list[SegmentPanel]:
    """Return a panel for each segmentation."""
    return [_segment_panel(comparison, segmentation) for segmentation in segmentations]


def exposure_stacks(comparison: Comparison, bias: PopularityBias) -> StackPanel:
    """Return what groups of items take the places: in the log, among the targets, in the lists of each run."""
    rows = [("what was learned from", bias.log), ("what was chosen", bias.targets)]
    rows += [(run.label, bias.runs[run.label]) for run in comparison.sorted_runs if run.label in bias.runs]
    stacks = [_exposure_stack(label, one, place) for place, (label, one) in enumerate(rows)]
    return StackPanel(f"Places in lists of {bias.k}", _ROW * len(stacks) + 4, stacks)


def win_loss_stacks(result: WinLoss) -> StackPanel:
    """Return for how many users each of two runs is better, all together and by activity."""
    stacks = []
    for place, one in enumerate(result.balances):
        counts = {"first": one.first, "alike": one.alike, "second": one.second}
        shares = {kind: count / one.n for kind, count in counts.items()}
        said = {kind: f"{counts[kind]:,} ({wording.percent(share)})" for kind, share in shares.items()}
        pieces = _pieces(shares, said)
        stacks.append(Stack(one.group, wording.count(one.n, "user"), _ROW * place, pieces))
    title = f"Users by {wording.metric_name(result.metric)}"
    return StackPanel(title, _ROW * len(stacks) + 4, stacks)


def _segment_panel(comparison: Comparison, segmentation: Segmentation) -> SegmentPanel:
    runs = [run for run in shown_runs(comparison) if run.label in segmentation.segments[0].figures]
    figures = [segment.figures[run.label] for segment in segmentation.segments for run in runs]
    values = nice_ticks(0.0, max(max(one.high, one.value) for one in figures) or 1.0)
    x = Scale(0.0, values[-1], _LABELS, WIDTH - _SIDE - 46)
    y = 4.0
    drawn = []
    for segment in segmentation.segments:
        heading = f"{segment.name}, {_counted(segment, segmentation.unit)}"
        bars = [_bar(comparison, run, segment, x, y + _HEADING + _BAR * row) for row, run in enumerate(runs)]
        drawn.append(SegmentBars(heading, y + 13, bars))
        y += _HEADING + _BAR * len(runs) + _GAP
    return SegmentPanel(
        title=f"{segmentation.name}: {wording.metric_name(segmentation.metric)}",
        note=segmentation.note,
        height=y + _AXIS,
        left=_LABELS,
        ticks=[Tick(x(value), value) for value in values],
        segments=drawn,
    )


def _counted(segment: Segment, unit: str) -> str:
    return wording.count(segment.size, unit, "queries" if unit == "query" else None)


def _bar(comparison: Comparison, run: ComparedRun, segment: Segment, x: Scale, y: float) -> Bar:
    figure = segment.figures[run.label]
    return Bar(
        label=run.label,
        style=style_of(comparison, run),
        y=y,
        x=x(figure.value),
        low=x(max(figure.low, 0.0)),
        high=x(max(figure.high, 0.0)),
        written=wording.number(figure.value, 3),
        interval=wording.interval((figure.low, figure.high), 3),
    )


def _exposure_stack(label: str, exposure: Exposure, place: int) -> Stack:
    shares = {name: exposure.shares[name] for name in GROUPS}
    said = {name: wording.percent(share) for name, share in shares.items()}
    return Stack(label, wording.count(exposure.n_items, "item"), _ROW * place, _pieces(shares, said))


def _pieces(shares: dict[str, float], said: dict[str, str]) -> list[Piece]:
    """Lay shares that sum to 1 side by side."""
    pieces, x, whole = [], _SIDE, WIDTH - 2 * _SIDE
    for kind, share in shares.items():
        if share:
            pieces.append(Piece(kind, round(x, 2), round(share * whole, 2), said[kind]))
        x += share * whole
    return pieces
