"""What a report shows of the groups that runs were evaluated with, and of models over their seeds."""

import json
from pathlib import Path
from typing import Any

import pytest

from recdl.evaluation.comparison import Comparison, compare
from recdl.evaluation.details import Details, look_closer
from recdl.evaluation.groupings import groupings
from recdl.evaluation.range_charts import gap_panels, seed_panels
from recdl.evaluation.records import RunRecord
from recdl.evaluation.report import comparison_page, write_comparison
from recdl.evaluation.seeds import by_seed, compare_seeds
from tests.evaluation.runs import write_run
from tests.evaluation.test_report import Page


def _groups(north: float, south: float, *, bags: bool = True) -> dict[str, Any]:
    of_bags = {"n_items": 2, "n_targets": int(bags), "events": 0.25, "exposure@10": 0.1}
    return {
        "users": {
            "activity": {"few": {"n_queries": 3, "ndcg@10": 0.9}, "many": {"n_queries": 1, "ndcg@10": 0.1}},
            "region": {
                "north": {"n_queries": 3, "ndcg@10": north, "hr@10": 1.0},
                "<b>south</b>": {"n_queries": 1, "ndcg@10": south, "hr@10": 0.0},
            },
        },
        "items": {
            "popularity": {"head": {"n_items": 1, "n_targets": 2, "events": 0.2, "recall@10": 1.0}},
            "category": {
                "shoes": {"n_items": 3, "n_targets": 7, "events": 0.75, "exposure@10": 0.9, "recall@10": 0.5},
                "bags": of_bags | ({"recall@10": 0.125} if bags else {}),
            },
        },
        "gaps": {},
    }


HITS = [1.0, 0.0, 1.0, 0.0]


def _run(folder: Path, model: str, seed: int, values: list[float], groups: dict[str, Any] | None) -> RunRecord:
    columns = {"ndcg@10": values, "hr@10": values}
    return write_run(folder / f"{model}-{seed}", model, columns=columns, seed=seed, groups=groups)


@pytest.fixture
def records(tmp_path: Path) -> list[RunRecord]:
    return [
        _run(tmp_path, "popularity", 0, [0.0, 0.0, 0.5, 0.0], _groups(0.25, 0.5, bags=False)),
        _run(tmp_path, "lstm", 0, HITS, _groups(0.75, 0.25)),
        _run(tmp_path, "lstm", 1, [1.0, 1.0, 1.0, 0.0], None),
    ]


def _details(records: list[RunRecord]) -> tuple[Comparison, Details]:
    comparison = compare(records)
    groups = by_seed(records)
    assert groups is not None
    return comparison, look_closer(comparison, records, None, seeds=compare_seeds(groups))


def test_groups_are_read_from_the_records_of_the_runs_that_have_them(records: list[RunRecord]) -> None:
    by_label = {"a": records[0], "b": records[1], "c": records[2]}
    region, category = groupings(by_label, "ndcg@10", segmented=True)
    assert (region.name, region.metric, region.unit) == ("Users by region", "ndcg@10", "query")
    assert [(group.name, group.size) for group in region.groups] == [("north", 3), ("<b>south</b>", 1)]
    assert region.labels == ["a", "b"]
    assert (region.gap("a"), region.gap("b"), region.gap("c")) == (0.25, 0.5, 0)
    assert (category.name, category.metric, category.unit) == ("Items by category", "recall@10", "target")
    assert category.values("a") == {"shoes": 0.5}
    assert category.values("b") == {"shoes": 0.5, "bags": 0.125}
    assert category.groups[0].exposures == {"a": 0.9, "b": 0.9} and category.groups[0].events == 0.75


def test_popular_items_are_shown_here_where_no_log_tells_of_them(records: list[RunRecord]) -> None:
    groups = _groups(0.1, 0.2)
    groups["items"]["popularity"]["tail"] = {"n_items": 9, "n_targets": 1, "events": 0.2, "recall@10": 0.5}
    run = _run(records[0].folder.parent, "ease", 0, HITS, groups)
    names = [one.name for one in groupings({"ease": run}, "ndcg@10", segmented=False)]
    assert names == ["Users by region", "Items by popularity", "Items by category"]


def test_the_page_shows_groups_with_their_sizes_and_gaps(records: list[RunRecord]) -> None:
    comparison, details = _details(records)
    text = comparison_page(comparison, details)
    assert "<b>south" not in text
    shown = Page(text).text("h3", "th", "td", "button", "span", "small")
    assert "Users by region: NDCG@10 Run north 3 queries <b>south</b> 1 query Gap" in shown
    assert "lstm (seed=0) 0.7500 0.2500 0.5000 popularity 0.2500 0.5000 0.2500" in shown
    assert "bags 0 targets 25 % of the events Gap" in shown
    assert "0.5000 90 % of the places \N{EN DASH} 10 % of the places 0.0000" in shown


def test_the_page_shows_the_means_over_seeds_with_deviation_and_test(records: list[RunRecord]) -> None:
    comparison, details = _details(records)
    text = comparison_page(comparison, details)
    assert 'title="seed 0: 0.5000, seed 1: 0.7500"' in text
    assert details.seeds is not None
    figure = details.seeds.groups[1].figures["ndcg@10"]
    assert figure.adjusted_p_value is not None
    shown = Page(text).text("span", "small", "td")
    assert f"0.6250 ± 0.1768 +0.5000, p = {figure.adjusted_p_value:.3f}" in shown


def test_a_page_without_seeds_and_groups_has_no_such_parts(records: list[RunRecord]) -> None:
    comparison = compare(records[2:])
    text = comparison_page(comparison, look_closer(comparison, records[2:], None))
    assert 'id="seeds"' not in text and 'id="groups"' not in text


def test_markdown_and_json_hold_the_same(records: list[RunRecord], tmp_path: Path) -> None:
    comparison, details = _details(records)
    written = write_comparison(comparison, tmp_path / "out", details)
    text = written.markdown.read_text(encoding="utf-8")
    assert "| lstm | 0.6250 ± 0.1768 (+0.5000, " in text
    assert "| popularity | 0.2500 | 0.5000 | 0.2500 |" in text
    assert "| popularity | 0.5000 | \u2013 | 0.0000 |" in text
    told = json.loads(written.data.read_text(encoding="utf-8"))
    assert told["seeds"]["groups"][1]["figures"]["ndcg@10"]["mean"] == 0.625
    assert told["groups"][0]["groups"][0]["figures"] == {"popularity": 0.25, "lstm (seed=0)": 0.75}


def test_what_a_column_says_nothing_of_is_a_dot_and_no_end_of_the_gap(tmp_path: Path) -> None:
    groups = _groups(0.75, 0.5)
    groups["users"]["region"]["not known"] = {"n_queries": 9, "ndcg@10": 0.125}
    runs = [_run(tmp_path, "lstm", 0, HITS, groups)]
    (region, _) = groupings({"lstm": runs[0]}, "ndcg@10", segmented=True)
    assert region.gap("lstm") == 0.25
    (panel,) = gap_panels(compare(runs), [region])
    assert panel.rows[0].below == "lowest: <b>south</b>, highest: north"
    assert len(panel.rows[0].dots) == 3


def test_a_row_of_groups_is_as_long_as_the_gap_and_names_its_ends(records: list[RunRecord]) -> None:
    comparison, details = _details(records)
    region, _ = gap_panels(comparison, details.groupings)
    lstm, popularity = region.rows
    assert lstm.right == "gap 0.5000" and lstm.below == "lowest: <b>south</b>, highest: north"
    assert lstm.high - lstm.low == pytest.approx(2 * (popularity.high - popularity.low), abs=0.1)
    assert [dot.written for dot in popularity.dots] == ["north: 0.2500", "<b>south</b>: 0.5000"]


def test_a_row_of_seeds_has_a_dot_each_and_their_mean_in_the_middle_of_its_line(records: list[RunRecord]) -> None:
    _, details = _details(records)
    assert details.seeds is not None
    panel = seed_panels(details.seeds)[0]
    lstm, popularity = panel.rows
    assert lstm.x is not None and lstm.x == pytest.approx((lstm.low + lstm.high) / 2, abs=0.02)
    assert [dot.written for dot in lstm.dots] == ["seed 0: 0.5000", "seed 1: 0.7500"]
    assert sum(dot.x for dot in lstm.dots) / 2 == pytest.approx(lstm.x, abs=0.02)
    assert popularity.low == popularity.high == popularity.x == panel.reference_x
