from pathlib import Path

import pytest

from recdl.evaluation.axes import Scale, nice_ticks
from recdl.evaluation.charts import (
    WIDTH,
    curve_panels,
    interval_panels,
    style_of,
)
from recdl.evaluation.comparison import Comparison, compare
from tests.evaluation.runs import write_run


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    low = {"ndcg@5": [0.1, 0.1], "ndcg@10": [0.2, 0.2], "hr@10": [0.3, 0.3]}
    high = {"ndcg@5": [0.2, 0.2], "ndcg@10": [0.4, 0.4], "hr@10": [0.2, 0.2]}
    return compare(
        [
            write_run(tmp_path / "low", "low", columns=low, fit_seconds=1.0),
            write_run(tmp_path / "high", "high", columns=high, fit_seconds=100.0),
        ],
        metrics=["ndcg@10", "hr@10"],
    )


def test_a_scale_is_even_in_its_values() -> None:
    scale = Scale(2.0, 4.0, 10.0, 30.0)
    assert [scale(value) for value in (2.0, 2.5, 4.0)] == [10.0, 15.0, 30.0]


def test_a_logarithmic_scale_is_even_in_its_factors() -> None:
    scale = Scale(1.0, 100.0, 0.0, 50.0, log=True)
    assert [scale(value) for value in (1.0, 10.0, 100.0)] == [0.0, 25.0, 50.0]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 0.4, [0.0, 0.1, 0.2, 0.3, 0.4]),
        (0.011, 0.039, [0.01, 0.02, 0.03, 0.04]),
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (-0.003, 0.012, [-0.005, 0.0, 0.005, 0.01, 0.015]),
        (0.5, 0.5, [0.45, 0.475, 0.5, 0.525, 0.55]),
        (200.0, 200.00000000000003, [180.0, 190.0, 200.0, 210.0, 220.0]),
        (0.0, 0.0, [-0.5, -0.25, 0.0, 0.25, 0.5]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_rows_of_intervals_are_sorted_by_each_metric(comparison: Comparison) -> None:
    ndcg, hr = interval_panels(comparison)
    assert [mark.run.label for mark in ndcg.marks] == ["high", "low"]
    assert [mark.run.label for mark in hr.marks] == ["low", "high"]
    assert ndcg.marks[0].y < ndcg.marks[1].y


def test_intervals_lie_around_their_mean_within_the_panel(comparison: Comparison) -> None:
    for panel in interval_panels(comparison):
        for mark in panel.marks:
            assert 0 < mark.low < mark.x < mark.high < WIDTH


def test_the_line_of_the_reference_is_at_its_mean(comparison: Comparison) -> None:
    for panel in interval_panels(comparison):
        (reference,) = [mark for mark in panel.marks if mark.run.label == "low"]
        assert panel.reference_x == reference.x


def test_only_metrics_at_several_cutoffs_have_curves(comparison: Comparison) -> None:
    (panel,) = curve_panels(comparison)
    assert panel.metric == "ndcg"
    assert [tick.value for tick in panel.x_ticks] == [5, 10]
    assert [[mark.value for mark in line] for line in panel.lines] == [
        pytest.approx([0.1, 0.2]),
        pytest.approx([0.2, 0.4]),
    ]


def test_curves_start_at_zero_and_rise_with_the_figures(comparison: Comparison) -> None:
    (panel,) = curve_panels(comparison)
    assert panel.y_ticks[0].value == 0
    low, high = panel.lines
    assert panel.y_ticks[0].at > low[0].y > low[1].y > high[1].y  # heights are counted from the top


def test_a_run_keeps_its_colour_in_every_plot(comparison: Comparison) -> None:
    for panel in interval_panels(comparison):
        assert {mark.run.label: mark.style for mark in panel.marks} == {"low": 0, "high": 1}
    assert [style_of(comparison, run) for run in comparison.runs] == [0, 1]
