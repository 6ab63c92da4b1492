"""A comparison as a table in the terminal, and in files: a page to show around, Markdown, CSV and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recdl.evaluation import bar_charts, charts, line_charts, range_charts, scatter_charts, seed_words, wording
from recdl.evaluation.comparability import check_comparable
from recdl.evaluation.comparison import ComparedRun, Comparison, best_by_validation, validation_metric
from recdl.evaluation.details import Details
from recdl.evaluation.labels import run_labels
from recdl.evaluation.records import RunRecord
from recdl.evaluation.segments import HEAD_SHARE
from recdl.evaluation.tables import csv_table, markdown
from recdl.storage import write_json, write_text

FORMAT_VERSION = 1
"""Version of `comparison.json`."""

_FIXED_WIDTH, _FIGURE_WIDTH, _LABEL_WIDTH = 42, 20, 18
"""Characters of a terminal that go to a table's other columns, to a metric, and at least to a label."""

_PREFERRED = ("ndcg", "hr", "recall", "mrr")


class Written(NamedTuple):
    """Where the files of a report lie."""

    page: Path
    data: Path
    markdown: Path
    table: Path


def write_comparison(comparison: Comparison, folder: Path, details: Details | None = None) -> Written:
    """Write a comparison into `folder`: as JSON, a page, Markdown and CSV.

    The page is one file: it loads nothing from anywhere.
    """
    details = Details() if details is None else details
    written = Written(*(folder / f"comparison.{ending}" for ending in ("html", "json", "md", "csv")))
    write_json(written.data, {"format_version": FORMAT_VERSION, **comparison.to_json(), **details.to_json()})
    write_text(written.markdown, markdown(comparison, details))
    write_text(written.table, csv_table(comparison, details.further_seeds))
    write_text(written.page, comparison_page(comparison, details))
    return written


def comparison_page(comparison: Comparison, details: Details | None = None) -> str:
    """Return the page: what was compared, the table, plots, how it was measured. All text from runs is escaped."""
    details = Details() if details is None else details
    environment = Environment(
        loader=PackageLoader("recdl.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        details=details,
        interval_panels=charts.interval_panels(comparison),
        curve_panels=charts.curve_panels(comparison),
        scatter_panels=scatter_charts.scatter_panels(comparison),
        learning_panels=line_charts.learning_panels(comparison, details.curves),
        seed_panels=[] if details.seeds is None else range_charts.seed_panels(details.seeds),
        gap_panels=range_charts.gap_panels(comparison, details.groupings),
        seed_words=seed_words,
        range_width=range_charts.WIDTH,
        segment_panels=bar_charts.segment_panels(comparison, details.segmentations),
        shown_labels=[run.label for run in bar_charts.shown_runs(comparison)],
        **_exposure(comparison, details),
        **_pair(comparison, details),
        head_share=HEAD_SHARE,
        groups=bar_charts.GROUPS,
        style_of=charts.style_of,
        chart_width=charts.WIDTH,
        scatter_width=scatter_charts.WIDTH,
        scatter_height=scatter_charts.HEIGHT,
        line_width=line_charts.WIDTH,
        line_height=line_charts.HEIGHT,
        bar_width=bar_charts.WIDTH,
        words=wording,
    )


def _exposure(comparison: Comparison, details: Details) -> dict[str, Any]:
    if details.bias is None:
        return {"exposure_stacks": None, "exposure_lines": None}
    return {
        "exposure_stacks": bar_charts.exposure_stacks(comparison, details.bias),
        "exposure_lines": line_charts.exposure_panel(comparison, details.bias),
    }


def _pair(comparison: Comparison, details: Details) -> dict[str, Any]:
    """Return the two runs that are shown user by user, with their colours."""
    result = details.win_loss
    if result is None:
        return {"win_loss_stacks": None, "pair_styles": {}}
    styles = {run.label: charts.style_of(comparison, run) for run in comparison.runs}
    return {
        "win_loss_stacks": bar_charts.win_loss_stacks(result),
        "pair_styles": {"first": styles[result.first], "second": styles[result.second]},
    }


def comparison_table(comparison: Comparison, *, width: int | None = None) -> Table:
    """Return the comparison for a terminal: a row a run, the best first.

    Args:
        comparison: What to show.
        width: Characters in a line, of this terminal by default. As many metrics are shown as fit, at least two of
            them; NDCG, HR, recall and MRR go before others.
    """
    shown = _columns(comparison, Console().width if width is None else width)
    decimals = wording.digits(comparison, comparison.primary)
    validation = f"validation/{comparison.primary}"
    table = Table(
        title=Text(wording.subject(comparison)),
        caption=Text(wording.short_legend(comparison)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("run", overflow="fold", min_width=_LABEL_WIDTH)
    for name in shown:
        table.add_column(Text(wording.metric_name(name)), no_wrap=True)
    table.add_column(Text(f"validation\n{wording.metric_name(comparison.primary)}"), justify="right")
    table.add_column("fit", justify="right", no_wrap=True)
    for run in comparison.sorted_runs:
        table.add_row(
            _run_cell(run, comparison),
            *(_figure_cell(run, name, wording.digits(comparison, name)) for name in shown),
            Text(wording.number(run.metrics[validation], decimals) if validation in run.metrics else ""),
            Text(wording.duration(run.fit_seconds)),
        )
    return table


def sweep_table(records: Sequence[RunRecord], metric: str) -> Table:
    """Return the points of a sweep for a terminal, the best by validation first.

    A point is named by its model and by what tells it from the other points of that model: with a column a
    setting none would be readable where models of several kinds are swept over.

    Test results are not shown: hyperparameters are chosen on validation only.

    Raises:
        DataError: If the runs may not be compared, or one has no such validation metric.
    """
    check_comparable(records)
    best = best_by_validation(records, metric)
    name = metric.removeprefix("validation/")
    table = Table(title=Text(f"{wording.count(len(records), 'run')}, best validation first"), box=box.SIMPLE_HEAD)
    table.add_column("run", overflow="fold")
    table.add_column(Text(f"validation {wording.metric_name(name)}"), justify="right", no_wrap=True)
    table.add_column("fit", justify="right", no_wrap=True)
    table.add_column("folder", overflow="fold")
    rows = list(zip(records, run_labels(records), strict=True))
    for record, label in sorted(rows, key=lambda row: -validation_metric(row[0], metric)):
        figure = wording.number(validation_metric(record, metric))
        table.add_row(
            Text(label),
            Text(f"{figure} best" if record is best else figure, style="bold" if record is best else ""),
            Text(wording.duration(record.metrics.get("time/fit_seconds"))),
            Text(str(record.folder)),
        )
    return table


def _columns(comparison: Comparison, width: int) -> tuple[str, ...]:
    """Choose as many metrics as a line holds, the primary one first."""
    preferred = [name for key in _PREFERRED for name in comparison.metrics if name.rpartition("@")[0] == key]
    names = dict.fromkeys([comparison.primary, *preferred, *comparison.metrics])
    return tuple(names)[: max(2, (width - _FIXED_WIDTH) // _FIGURE_WIDTH)]


def _run_cell(run: ComparedRun, comparison: Comparison) -> Text:
    cell = Text(run.label)
    if run.label == comparison.reference and len(comparison.runs) > 1:
        cell.append("\n(reference)", style="dim")
    return cell.append(f"\n{wording.tuned(run)}", style="dim")


def _figure_cell(run: ComparedRun, name: str, decimals: int) -> Text:
    figure = run.figures[name]
    mark = wording.mark(figure)
    cell = Text(wording.number(figure.value, decimals), style="bold" if figure.best else "")
    cell.append(f" {mark}" if mark else "", style="green" if mark == "▲" else "red")
    if figure.interval is not None:
        cell.append(f"\n{wording.interval(figure.interval, decimals)}", style="not bold dim")
    if figure.difference is not None:
        compared = f"{wording.difference(figure, decimals)} {wording.p_value(figure.adjusted_p_value)}"
        cell.append(f"\n{compared}", style="not bold dim")
    return cell
