"""What was found in a log as a table in the terminal, a JSON file, and a page to read before training."""

from collections import Counter
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich import box
from rich.table import Table
from rich.text import Text

from recdl.data.diagnosis.diagnose import Diagnosis
from recdl.data.diagnosis.findings import SEVERITIES, duration, percent
from recdl.data.prepared import REASONS
from recdl.data.timestamps import iso_text
from recdl.evaluation import inspection_charts as charts
from recdl.storage import write_json, write_text

FORMAT_VERSION = 1
"""Version of `inspection.json`."""

_STYLES = {"serious": "bold red", "warning": "yellow", "notice": "cyan"}
_PLURALS = {"serious": "serious", "warning": "warnings", "notice": "notices"}


def write_inspection(diagnosis: Diagnosis, folder: Path) -> tuple[Path, Path]:
    """Write `inspection.json` and `inspection.html` into `folder` and return their paths.

    The page is one file: it loads nothing from anywhere. Neither file holds an id.
    """
    data, page = folder / "inspection.json", folder / "inspection.html"
    write_json(data, {"format_version": FORMAT_VERSION, **diagnosis.to_json()})
    write_text(page, inspection_page(diagnosis))
    return data, page


def inspection_page(diagnosis: Diagnosis) -> str:
    """Return the page: findings, figures, plots, how it was measured. All text from the log is escaped."""
    environment = Environment(
        loader=PackageLoader("recdl.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("inspection.html.j2").render(
        diagnosis=diagnosis,
        headline=headline(diagnosis),
        overview=overview(diagnosis),
        panels=charts.panels(diagnosis.shape, diagnosis.timeline, diagnosis.rhythm),
        drawing=charts,
        reasons=REASONS,
        percent=percent,
    )


def findings_table(diagnosis: Diagnosis) -> Table:
    """Return the findings for a terminal, the gravest first."""
    table = Table(
        title=Text(f"{diagnosis.name}: {headline(diagnosis)}"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_header=bool(diagnosis.findings),
        show_lines=False,
        padding=(0, 1, 1, 0),
    )
    table.add_column("")
    table.add_column("finding", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for finding in diagnosis.findings:
        what = Text(finding.title, style="bold").append(f"\n{finding.evidence}", style="not bold dim")
        table.add_row(Text(finding.severity, style=_STYLES[finding.severity]), what, Text(finding.advice))
    return table


def headline(diagnosis: Diagnosis) -> str:
    """Say in one sentence how the log stands."""
    counts = Counter(finding.severity for finding in diagnosis.findings)
    if not counts:
        return "nothing was found wrong with this log."
    parts = [
        f"{counts[severity]} {_PLURALS[severity] if counts[severity] > 1 else severity}"
        for severity in SEVERITIES
        if counts[severity]
    ]
    if not counts["serious"] and not counts["warning"]:
        return f"nothing was found wrong with this log; {parts[0]}."
    return f"{', '.join(parts)}."


def overview(diagnosis: Diagnosis) -> dict[str, list[tuple[str, str]]]:
    """Return the key figures, (name, text), by theme."""
    shape, timeline, rhythm = diagnosis.shape, diagnosis.timeline, diagnosis.rhythm
    funnel, bots = diagnosis.funnel, diagnosis.bots
    gap = (
        "half an hour (custom)"
        if rhythm.suggested_gap is None
        else f"{duration(rhythm.suggested_gap)} (suggested)"
    )
    return {
        "Size": [
            ("Events", f"{shape.events:,}"),
            ("Users", f"{shape.users:,}"),
            ("Items", f"{shape.items:,}"),
            ("Distinct user-item pairs", f"{shape.pairs:,}"),
            ("Density", f"{100 * shape.density:.3g} % of all pairs"),
            ("Events a user", _spread(shape.events_per_user)),
            ("Events an item", _spread(shape.events_per_item)),
        ],
        "Time": [
            ("First event", _moment(timeline.first)),
            ("Last event", _moment(timeline.last)),
            ("Times are exact to the", timeline.resolution),
            ("Events with a tie in time", f"{rhythm.ties:,} ({percent(rhythm.ties / shape.events)})"),
            ("Median gap in a history", "-" if rhythm.median_gap is None else duration(rhythm.median_gap)),
            ("Gap that ends a session", "- (days only)" if timeline.resolution == "day" else gap),
            ("Sessions", "-" if timeline.resolution == "day" else f"{rhythm.sessions:,}"),
        ],
        "Habits": [
            ("Repeat consumption", f"{percent(funnel.repeat_rate)} of the events"),
            *(
                (f"Repeats among {name}", percent(rate))
                for name, rate in funnel.repeat_rates.items()
                if rate is not None and len(funnel.repeat_rates) > 1
            ),
            (
                "Same item as just before",
                "-" if funnel.same_as_last_rate is None else f"{percent(funnel.same_as_last_rate)} of the steps",
            ),
            ("Bot-like users", f"{len(bots.suspects):,} ({percent(bots.events / shape.events)} of the events)"),
            ("Busiest day of a user", f"median {bots.typical_busiest_day:,.0f}, most {bots.busiest_day:,}"),
        ],
    }


def _spread(quantiles: list[float]) -> str:
    return f"median {quantiles[2]:,.0f}, 90 % up to {quantiles[4]:,.0f}, most {quantiles[6]:,.0f}"


def _moment(time: int) -> str:
    return f"{iso_text(time)[:19].replace('T', ' ')} UTC"
