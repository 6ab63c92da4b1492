from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from recdl.evaluation.axes import log_ticks
from recdl.evaluation.comparison import Comparison, compare
from recdl.evaluation.scatter_charts import HEIGHT, scatter_panels, time_ticks
from tests.evaluation.runs import write_run


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    low, high = ({"ndcg@10": [value, value], "coverage@10": [value, value]} for value in (0.2, 0.4))
    return compare(
        [
            write_run(tmp_path / "low", "low", columns=low, fit_seconds=1.0),
            write_run(tmp_path / "high", "high", columns=high, fit_seconds=100.0),
        ],
        metrics=["ndcg@10"],
    )


def test_ticks_of_time_are_tenfolds_and_familiar_units() -> None:
    assert time_ticks(0.05, 700) == [0.1, 1, 10, 60, 600]


def test_ticks_of_a_short_range_of_time_are_finer() -> None:
    assert time_ticks(25, 150) == pytest.approx([50, 60, 120])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(1, 1e4, [1, 10, 100, 1e3, 1e4]), (5, 60, [5, 10, 20, 50]), (1, 1e9, [1, 100, 1e4, 1e6, 1e8]), (3, 4, [3])],
)
def test_ticks_of_a_logarithm_are_few_and_round(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


def test_runs_are_set_over_coverage_time_parameters_and_size(comparison: Comparison) -> None:
    assert [panel.title for panel in scatter_panels(comparison)] == [
        "NDCG@10 over Coverage@10",
        "NDCG@10 over time to fit",
        "NDCG@10 over learned numbers",
        "NDCG@10 over stored size",
    ]


def test_what_a_mark_is_over_is_written(comparison: Comparison) -> None:
    covered, timed, numbers, stored = scatter_panels(comparison)
    assert covered.values == {"low": "20 %", "high": "40 %"}
    assert timed.values == {"low": "1 s", "high": "1.7 min"}
    assert numbers.values == {"low": "6", "high": "6"}
    assert stored.values == {"low": "25 B", "high": "25 B"}


def test_the_slower_run_stands_to_the_right(comparison: Comparison) -> None:
    panel = scatter_panels(comparison)[1]
    left, right = sorted(panel.marks, key=lambda mark: mark.x)
    assert (left.run.label, right.run.label) == ("low", "high")


def test_a_run_of_unknown_size_is_left_out_of_that_plot(comparison: Comparison) -> None:
    low, high = comparison.runs
    sized = {name: value for name, value in low.metrics.items() if not name.startswith("model/")}
    titles = [
        panel.title for panel in scatter_panels(replace(comparison, runs=(replace(low, metrics=sized), high)))
    ]
    assert titles == ["NDCG@10 over Coverage@10", "NDCG@10 over time to fit"]


@pytest.mark.parametrize("n_runs", [5, 18])
def test_labels_of_like_runs_neither_cover_each_other_nor_leave_the_plot(tmp_path: Path, n_runs: int) -> None:
    runs = [write_run(tmp_path / str(seed), seed=seed) for seed in range(n_runs)]
    for panel in scatter_panels(compare(runs)):
        heights = sorted(mark.label_y for mark in panel.marks)
        assert min(after - before for before, after in pairwise(heights)) >= 14
        assert heights[-1] <= HEIGHT


def test_a_single_run_has_no_plot(tmp_path: Path) -> None:
    assert scatter_panels(compare([write_run(tmp_path / "run")])) == []
