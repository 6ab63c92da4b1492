"""A search as a table in the terminal, a JSON file, and a page."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from rich import box
from rich.table import Table
from rich.text import Text

from recdl.evaluation import wording
from recdl.evaluation.axes import Scale, Tick, nice_ticks
from recdl.evaluation.records import RunRecord
from recdl.search.space import Value
from recdl.search.trials import Outcome, SearchResult, TrialResult
from recdl.storage import write_json, write_text

FORMAT_VERSION = 1
"""Version of `search.json`."""

_ROWS = 10
"""Trials that the terminal shows; the page shows all."""

WIDTH, HEIGHT, SMALL_WIDTH, SMALL_HEIGHT = 640.0, 280.0, 320.0, 200.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 12.0, 10.0, 30.0


@dataclass(frozen=True)
class Dot:
    """A trial in a plot."""

    trial: TrialResult
    x: float
    y: float
    best: bool


@dataclass(frozen=True)
class Panel:
    """A plot of trials: their values over their numbers or over one setting.

    Attributes:
        title: What is along the horizontal axis.
        width, height: Of the drawing.
        x_ticks: With what to write at each.
        y_ticks: Of the metric.
        dots: The finished trials.
        steps: Corners of the curve of the best so far; empty of a setting's panel.
    """

    title: str
    width: float
    height: float
    x_ticks: list[tuple[float, str]]
    y_ticks: list[Tick]
    dots: list[Dot]
    steps: list[tuple[float, float]]


def write_search(
    result: SearchResult, folder: Path, *, name: str, final: RunRecord | None = None
) -> tuple[Path, Path]:
    """Write `search.json` and `search.html`, a file that loads nothing from anywhere, and return their paths.

    Args:
        result: What came of the search.
        folder: Where to.
        name: Of the search.
        final: The run with the best settings, the only one that was tested.
    """
    data, page = folder / "search.json", folder / "search.html"
    tested = None if final is None else {"folder": str(final.folder), "metrics": final.metrics}
    write_json(
        data, {"format_version": FORMAT_VERSION, "name": name, "final": tested, **_finite(result.to_json())}
    )
    write_text(page, search_page(result, name=name, final=final))
    return data, page


def search_page(result: SearchResult, *, name: str, final: RunRecord | None = None) -> str:
    """Return the page: the best, the curve of the best so far, what mattered, every trial. All text is escaped."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("recdl.search"), PackageLoader("recdl.evaluation")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("search.html.j2").render(
        result=result,
        name=name,
        final=final,
        keys=_keys(result),
        progress=progress_panel(result),
        slices=[slice_panel(result, key) for key in _keys(result)] if result.finished else [],
        show=shown,
        words=wording,
    )


def search_table(result: SearchResult) -> Table:
    """Return the best trials for a terminal, and in a line what mattered and what became of the others."""
    ranked = sorted(result.finished, key=lambda trial: -(trial.value or 0.0))
    table = Table(
        title=Text(f"{summary(result)}; the best by validation first"),
        caption=Text(_mattered(result)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("trial", justify="right")
    table.add_column(Text(f"validation {wording.metric_name(result.metric)}"), justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for trial in ranked[:_ROWS]:
        settings = ", ".join(f"{short(key, result)}={shown(value)}" for key, value in trial.settings.items())
        figure = wording.number(trial.value or 0.0)
        table.add_row(str(trial.number), figure, wording.duration(trial.seconds), Text(settings))
    return table


def summary(result: SearchResult) -> str:
    """Say how many trials there were, and what became of them."""
    outcomes: tuple[Outcome, ...] = ("finished", "pruned", "failed")
    parts = ", ".join(f"{count} {outcome}" for outcome in outcomes if (count := result.count(outcome)))
    return f"{wording.count(len(result.trials), 'trial')} ({parts})"


def short(key: str, result: SearchResult) -> str:
    """Return the last part of a setting's key where that tells it from the others, else all of it."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in _keys(result)) == 1 else key


def shown(value: Value) -> str:
    """Return a setting's value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).strip('"')


def progress_panel(result: SearchResult) -> Panel:
    """Return the value of each trial in order, and the best so far as a curve."""
    values = [trial.value for trial in result.trials if trial.value is not None]
    y, y_ticks = _vertical(values, HEIGHT)
    last = max(1, result.trials[-1].number if result.trials else 1)
    x = Scale(0, last, _LEFT, WIDTH - _RIGHT)
    ticks = [tick for tick in nice_ticks(0, last) if tick <= last and tick == int(tick)]
    corners = list[tuple[float, float]]()
    for trial, best in zip(result.trials, result.best_so_far(), strict=True):
        if best is not None:
            height = y(best)
            corners += [(x(trial.number), corners[-1][1] if corners else height), (x(trial.number), height)]
    return Panel(
        "trial",
        WIDTH,
        HEIGHT,
        [(x(tick), f"{tick:.0f}") for tick in ticks],
        y_ticks,
        [Dot(one, x(one.number), y(one.value or 0.0), one is result.best) for one in result.finished],
        corners,
    )


def slice_panel(result: SearchResult, key: str) -> Panel:
    """Return the value of each finished trial over one setting: by its logarithm where it spans tenfolds."""
    trials = [trial for trial in result.finished if key in trial.settings]
    y, y_ticks = _vertical([trial.value or 0.0 for trial in trials], SMALL_HEIGHT)
    settings = [trial.settings[key] for trial in trials]
    numbers = [value for value in settings if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(settings):
        places, ticks = _numeric(numbers)
    else:
        places, ticks = _categorical([shown(value) for value in settings])
    dots = [
        Dot(trial, at, y(trial.value or 0.0), trial is result.best)
        for trial, at in zip(trials, places, strict=True)
    ]
    return Panel(key, SMALL_WIDTH, SMALL_HEIGHT, ticks, y_ticks, dots, [])


def _vertical(values: Sequence[float], height: float) -> tuple[Scale, list[Tick]]:
    ticks = nice_ticks(min(values, default=0.0), max(values, default=1.0))
    y = Scale(ticks[0], ticks[-1], height - _BOTTOM, _TOP)
    return y, [Tick(y(value), value) for value in ticks]


def _numeric(values: Sequence[float]) -> tuple[list[float], list[tuple[float, str]]]:
    low, high = min(values), max(values)
    ends = (_LEFT + 8, SMALL_WIDTH - _RIGHT - 8)
    if low > 0 and high / low >= 10:
        x = Scale(low, high, *ends, log=True)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [10.0**power for power in powers if low <= 10.0**power <= high]
    else:
        ticks = nice_ticks(low, high)
        x = Scale(ticks[0], ticks[-1], *ends)
    return [x(value) for value in values], [(x(tick), f"{tick:g}") for tick in ticks]


def _categorical(values: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    names = sorted(set(values))
    width = (SMALL_WIDTH - _LEFT - _RIGHT) / len(names)
    at = {name: round(_LEFT + width * (place + 0.5), 2) for place, name in enumerate(names)}
    return [at[value] for value in values], [(at[name], name) for name in names]


def _keys(result: SearchResult) -> list[str]:
    """Return the settings searched over, the most important first."""
    found = dict.fromkeys(key for trial in result.trials for key in trial.settings)
    return sorted(found, key=lambda key: -result.importances.get(key, 0.0))


def _mattered(result: SearchResult) -> str:
    if not result.importances:
        return "too few different results to say which settings mattered"
    shares = [f"{short(key, result)} {share:.0%}" for key, share in result.importances.items()]
    return f"what mattered: {', '.join(shares)}"


def _finite(value: Any) -> Any:
    """Return `value` with null for what is no number: an epoch's metric may be none."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
