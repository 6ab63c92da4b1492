import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from recdl.data.diagnosis.diagnose import Diagnosis, diagnose
from recdl.data.diagnosis.rhythm import measure_rhythm
from recdl.data.diagnosis.shape import measure_shape
from recdl.data.diagnosis.timeline import DAY, SECOND, measure_timeline
from recdl.data.sources import Columns
from recdl.data.splits import TemporalSplit
from recdl.evaluation import inspection_charts as charts
from recdl.evaluation.inspection import findings_table, headline, inspection_page, write_inspection
from tests.data.files import prepared
from tests.evaluation.test_report import Page
from tests.logs import log_of_events

START = 1_511_568_000
NOW = 1_700_000_000 * SECOND
SCRIPT = "<script>alert(1)</script>"


def rows(behavior: str, *, days: int = 10) -> str:
    lines = [
        f"u{user},i{(user + 2 * day + step) % 40},{START + day * 86_400 + user * 98 + step * 1_800},{name}"
        for user in range(300)
        for day in range(days)
        for step, name in enumerate((behavior, "buy"))
    ]
    return "user_id,item_id,timestamp,action\n" + "\n".join(lines) + "\n"


def looked_at(tmp_path: Path, behavior: str = "view", *, days: int = 10, named: bool = True) -> Diagnosis:
    settings = {"columns": Columns(behavior="action")}
    behaviors = {"behaviors": {"view": (behavior,), "buy": ("buy",)}} if named else {}
    log = prepared(tmp_path, rows(behavior, days=days), **settings, **behaviors)
    return diagnose(log, TemporalSplit(), order_events=10_000, seed=0, now=NOW)


def shown(diagnosis: Diagnosis) -> str:
    console = Console(file=io.StringIO(), width=500)
    console.print(findings_table(diagnosis))
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_clean_log_is_said_to_be_clean_in_page_and_terminal(tmp_path: Path) -> None:
    diagnosis = replace(looked_at(tmp_path), findings=())
    assert headline(diagnosis) == "nothing was found wrong with this log."
    assert "None: times, counts, users and the split are as they should be." in Page(
        inspection_page(diagnosis)
    ).text("p")
    assert "nothing was found wrong with this log" in shown(diagnosis)


def test_findings_stand_in_page_and_terminal_by_rank(tmp_path: Path) -> None:
    diagnosis = looked_at(tmp_path, days=1, named=False)
    severities = [finding.severity for finding in diagnosis.findings]
    assert severities[0] == "warning"
    page = Page(inspection_page(diagnosis))
    assert [element["class"] for element in page.all("li")] == severities
    for finding in diagnosis.findings:
        assert finding.title[1:] in page.text("h3")
        assert finding.title in shown(diagnosis)


def test_the_page_is_one_file_with_a_plot_for_each_theme(tmp_path: Path) -> None:
    text = inspection_page(looked_at(tmp_path))
    page = Page(text)
    assert text.startswith("<!doctype html>")
    captions = ["Activity over time", "Events a user", "Popularity", "Time between a user's events"]
    for caption in [*captions, "Hours of the day", "Days of the week"]:
        assert caption in page.text("figcaption")
    assert not page.all("script")
    assert not re.search(r"https?://|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text


def test_text_of_the_log_is_escaped(tmp_path: Path) -> None:
    text = inspection_page(looked_at(tmp_path, SCRIPT, named=False))
    assert SCRIPT not in text
    assert "&lt;script&gt;" in text


def test_a_log_that_cannot_be_split_has_a_page(tmp_path: Path) -> None:
    log = prepared(tmp_path, f"user_id,item_id,timestamp\na,b,{START}\n")
    diagnosis = diagnose(log, TemporalSplit(), order_events=10, seed=0, now=NOW)
    assert "cannot be split as asked" in Page(inspection_page(diagnosis)).text("p")
    assert headline(diagnosis).endswith(".")


def test_the_figures_are_written_beside_the_page(tmp_path: Path) -> None:
    data, page = write_inspection(looked_at(tmp_path), tmp_path / "out")
    figures = json.loads(data.read_text())
    assert figures["format_version"] == 1
    assert figures["timeline"]["first"] == "2017-11-25T00:00:00Z"
    assert page.read_text() == inspection_page(looked_at(tmp_path))


def test_bars_stand_on_the_axis_and_are_as_high_as_their_counts() -> None:
    times = [
        (0, (START + day * 86_400) * SECOND + n, 0, 0) for day, count in enumerate((4, 2, 1)) for n in range(count)
    ]
    panel = charts.activity_panel(measure_timeline(log_of_events(times, n_users=1, n_items=1)))
    bottom = charts.HEIGHT - charts.BOTTOM
    assert [bar.y + bar.height for bar in panel.bars] == pytest.approx([bottom] * 3, abs=0.02)
    heights = [bar.height for bar in panel.bars]
    assert heights == pytest.approx([heights[0], heights[0] / 2, heights[0] / 4], abs=0.02)
    assert panel.bars[0].title == "2017-11-25: 4 events"
    assert [label.text for label in panel.labels] == ["2017-11-25", "2017-11-26", "2017-11-27"]


def test_gaps_are_drawn_from_the_shortest_to_the_longest() -> None:
    log = log_of_events(
        [(0, 0, 0, 0), (0, 2 * SECOND, 0, 0), (0, 2 * SECOND + DAY * 3, 0, 0)], n_users=1, n_items=1
    )
    panel = charts.gap_panel(measure_rhythm(log, resolution="second"))
    assert panel.bars[0].height > 0
    assert panel.bars[-1].height > 0
    assert [label.text for label in panel.labels] == ["1 min", "1 h", "1 day"]
    assert panel.mark is None


def test_the_popularity_line_runs_from_nothing_to_all() -> None:
    log = log_of_events([(0, n, 0, n % 7 % 3) for n in range(30)], n_users=1, n_items=3)
    panel = charts.popularity_panel(measure_shape(log, pairs=3, rows_read=30, dropped={}))
    assert panel.line[0] == (charts.LEFT, charts.HEIGHT - charts.BOTTOM)
    assert panel.line[-1] == (charts.NARROW - charts.RIGHT, charts.TOP)
