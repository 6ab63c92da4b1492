from dataclasses import replace
from pathlib import Path

import pytest

from recdl.evaluation import wording
from recdl.evaluation.comparison import Figure, compare
from recdl.evaluation.identity import Ingredient
from tests.evaluation.runs import PROTOCOL, write_run

# The default run has 0, 1/2, 1, 0.
OTHER = {"hr@10": [0.0, 1.0, 1.0, 0.0], "ndcg@10": [0.5, 0.0, 0.0, 1.0]}


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.081, "0.081 s"), (2.14, "2.1 s"), (9.99, "10 s"), (65.4, "65 s"), (412, "6.9 min"), (9000, "2.5 h")],
)
def test_times_are_written_in_the_unit_that_fits(seconds: float, written: str) -> None:
    assert wording.duration(seconds) == written


@pytest.mark.parametrize(
    ("n_bytes", "written"), [(25, "25 B"), (3500, "3.4 KiB"), (2**27, "128 MiB"), (3 * 2**30, "3.0 GiB")]
)
def test_sizes_are_written_in_the_unit_that_fits(n_bytes: int, written: str) -> None:
    assert wording.size(n_bytes) == written


def test_what_is_not_known_is_left_empty() -> None:
    unknown = (wording.duration(None), wording.size(None), wording.count(None), wording.p_value(None))
    assert unknown == ("", "", "", "")
    assert wording.interval(None) == wording.difference(Figure(0.5, None)) == ""


@pytest.mark.parametrize(("p", "written"), [(0.0004, "p < 0.001"), (0.0312, "p = 0.031"), (1.0, "p = 1.000")])
def test_small_p_values_are_written_as_a_bound(p: float, written: str) -> None:
    assert wording.p_value(p) == written


@pytest.mark.parametrize(
    ("difference", "significant", "mark"),
    [(0.1, True, "▲"), (-0.1, True, "▼"), (0.1, False, ""), (None, False, "")],
)
def test_only_significant_differences_are_marked(difference: float | None, significant: bool, mark: str) -> None:
    assert wording.mark(Figure(0.5, None, difference=difference, significant=significant)) == mark


def test_a_difference_is_better_in_the_direction_of_its_metric_and_nothing_where_there_is_none() -> None:
    lower = Figure(0.5, None, difference=-0.1, significant=True)
    assert [wording.mark(replace(lower, better=better)) for better in ("more", "less", "neither")] == [
        "▼",
        "▲",
        "",
    ]


def test_a_run_that_was_not_tuned_is_called_so(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, name) for name in ("a", "b")]
    runs[0].write_trials(1200)
    a, b = compare(runs).runs
    assert [wording.trials(run) for run in (a, b)] == ["1,200", "1 (untuned)"]
    assert [wording.tuned(run) for run in (a, b)] == ["of 1,200 settings", "untuned"]


def test_the_queries_that_show_a_difference_are_said_for_each_run_but_the_reference(tmp_path: Path) -> None:
    comparison = compare([write_run(tmp_path / "a", "a"), write_run(tmp_path / "b", "b", columns=OTHER)])
    (sentence,) = wording.queries_needed_for(comparison, 0.1)
    # Differences -1/2, 1/2, -1, 1: the standard deviation is sqrt(2.5 / 3), and (2.8016 sd / 0.1)^2 = 654.1
    assert sentence.startswith(
        "b: to see a difference of 0.1 in NDCG@10 to a four times out of five takes about 655"
    )
    assert wording.queries_needed_for(comparison, None) == []
    assert any("four times out of five" in said for said in wording.legend(comparison))


def test_differences_carry_their_sign() -> None:
    assert wording.difference(Figure(0.5, None, difference=0.0123)) == "+0.0123"
    assert wording.difference(Figure(0.5, None, difference=-0.0123)) == "\N{MINUS SIGN}0.0123"


def test_metrics_are_written_as_the_field_does() -> None:
    assert [wording.metric_name(name) for name in ("ndcg@10", "recall@5", "map")] == ["NDCG@10", "Recall@5", "MAP"]


@pytest.mark.parametrize(("value", "decimals"), [(0.5, 4), (0.005, 5), (0.0005, 6), (0.0, 4)])
def test_small_metrics_have_more_decimals(tmp_path: Path, value: float, decimals: int) -> None:
    comparison = compare([write_run(tmp_path / "run", columns={"hr@10": [value, value]})])
    assert wording.digits(comparison, "hr@10") == decimals


def test_nouns_agree_with_their_number() -> None:
    assert wording.count(1, "query", "queries") == "1 query"
    assert wording.count(12_345, "query", "queries") == "12,345 queries"
    assert wording.count(0, "run") == "0 runs"


def test_whether_history_may_be_recommended_is_said_in_words(tmp_path: Path) -> None:
    unseen = Ingredient("unseen", "a" * 64, {**PROTOCOL.settings, "exclude_history": True})
    said = wording.rules(compare([write_run(tmp_path / "run", protocol=unseen)]))
    assert "The items of a query's own history are taken out of its candidates." in said


def test_masked_targets_are_told_apart_from_cold_ones(tmp_path: Path) -> None:
    comparison = replace(compare([write_run(tmp_path / "run")]), masked_target_share=0.031)
    assert any(
        sentence.startswith("3.1 % of the targets stand in their query's history")
        for sentence in wording.rules(comparison)
    )


def test_a_reference_that_is_best_says_how_many_are_worse(tmp_path: Path) -> None:
    high, low = {"ndcg@10": [1.0, 0.5] * 20}, {"ndcg@10": [0.0, 0.0] * 20}
    records = [
        write_run(tmp_path / "a", "best", columns=high),
        write_run(tmp_path / "b", "low", columns=low),
        write_run(tmp_path / "c", "like", columns={"ndcg@10": [0.5, 0.99] * 20}),
    ]
    assert wording.finding(compare(records)) == (
        "best has the highest NDCG@10, 0.7500 (95 % interval 0.7400 to 0.7600); it is the reference, and 1 of "
        "the 2 others are significantly worse."
    )


def test_a_run_says_how_it_came_about(tmp_path: Path) -> None:
    comparison = compare([write_run(tmp_path / "a", seed=1), write_run(tmp_path / "b", settings={"k": 11})])
    facts = wording.run_facts(comparison.runs[1])
    assert facts["Folder"] == str(tmp_path / "b")
    assert facts["Seed"] == "0"
    assert facts["Settings that differ"] == "model.k=11"
    assert "numpy=" in facts["Versions"]


def test_figures_among_sampled_candidates_are_warned_of_where_they_are_shown(tmp_path: Path) -> None:
    found = compare([write_run(tmp_path / "a")])
    assert wording.sampled(found) == ""
    assert "none is sampled" in wording.rules(found)[0]
    marked = replace(found.runs[0], metrics={**found.runs[0].metrics, "test/sampled_candidates": 99.97})
    warned = replace(found, runs=(marked,))
    for text in (wording.rules(warned)[0], wording.short_legend(warned)):
        assert "Sampled candidates: each query ranks about 100 items" in text
        assert "Krichene & Rendle" in text


def test_how_lists_made_elsewhere_were_tuned_is_not_known(tmp_path: Path) -> None:
    run = compare([write_run(tmp_path / "a")]).runs[0]
    assert (wording.trials(run), wording.tuned(run)) == ("1 (untuned)", "untuned")
    given = replace(run, metrics={name: value for name, value in run.metrics.items() if "fit_seconds" not in name})
    assert (wording.trials(given), wording.tuned(given)) == ("\N{EN DASH}", "made elsewhere")
