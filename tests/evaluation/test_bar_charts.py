from pathlib import Path

import pytest

from recdl.evaluation.bar_charts import (
    MOST_RUNS,
    WIDTH,
    exposure_stacks,
    segment_panels,
    shown_runs,
    win_loss_stacks,
)
from recdl.evaluation.comparison import Comparison, compare
from recdl.evaluation.details import Details, look_closer
from recdl.evaluation.line_charts import exposure_panel, learning_panels
from tests.evaluation.backgrounds import background
from tests.evaluation.runs import write_run

CURVE = [
    {"epoch": n, "loss": 4.0 / (n + 1), "validation/ndcg@1": value} for n, value in enumerate((0.1, 0.3, 0.2))
]


@pytest.fixture
def compared(tmp_path: Path) -> tuple[Comparison, Details]:
    figures = {"low": ([0.5, 0.0, 0.5, 0.0], 0), "high": ([1.0, 1.0, 0.5, 0.5], 1)}
    records = [
        write_run(
            tmp_path / name,
            name,
            columns={"ndcg@1": values},
            users=[0, 1, 2, -1],
            lists=[[item]] * 4,
            learning_curve=CURVE if name == "high" else (),
        )
        for name, (values, item) in figures.items()
    ]
    comparison = compare(records)
    return comparison, look_closer(comparison, records, background())


def test_bars_start_at_zero_and_are_as_long_as_their_figures(compared: tuple[Comparison, Details]) -> None:
    comparison, details = compared
    panel = segment_panels(comparison, details.segmentations)[0]
    new, known = panel.segments
    assert (new.heading, known.heading) == ("new to train, 2 queries", "known to train, 2 queries")
    assert panel.ticks[0].at == panel.left
    high, low = known.bars
    assert (high.label, high.written) == ("high", "1.000")
    assert (low.x - panel.left) / (high.x - panel.left) == pytest.approx(0.25, abs=0.01)
    assert all(panel.left <= bar.low <= bar.x <= bar.high for bar in (*new.bars, *known.bars))


def test_the_reference_is_drawn_however_low_it_stands(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / str(n), f"m{n}", columns={"ndcg@1": [n / 10, n / 10]}) for n in range(MOST_RUNS + 3)
    ]
    labels = [run.label for run in shown_runs(compare(records))]
    assert labels == ["m8", "m7", "m6", "m5", "m4", "m0"]


def test_the_pieces_of_a_bar_fill_it(compared: tuple[Comparison, Details]) -> None:
    comparison, details = compared
    assert details.bias is not None and details.win_loss is not None
    for panel in (exposure_stacks(comparison, details.bias), win_loss_stacks(details.win_loss)):
        for stack in panel.stacks:
            assert sum(piece.width for piece in stack.pieces) == pytest.approx(WIDTH - 24, abs=0.1)


def test_groups_of_items_are_stacked_for_the_log_the_targets_and_each_run(
    compared: tuple[Comparison, Details],
) -> None:
    comparison, details = compared
    assert details.bias is not None
    panel = exposure_stacks(comparison, details.bias)
    assert [stack.label for stack in panel.stacks] == ["what was learned from", "what was chosen", "high", "low"]
    assert [(piece.kind, piece.written) for piece in panel.stacks[3].pieces] == [("head", "100 %")]


def test_wins_are_written_with_their_share(compared: tuple[Comparison, Details]) -> None:
    _, details = compared
    assert details.win_loss is not None
    everyone = win_loss_stacks(details.win_loss).stacks[0]
    assert (everyone.label, everyone.right) == ("all users", "4 users")
    assert [(piece.kind, piece.written) for piece in everyone.pieces] == [
        ("first", "3 (75 %)"),
        ("alike", "1 (25 %)"),
    ]


def test_learning_is_drawn_by_epoch_and_the_best_is_marked(compared: tuple[Comparison, Details]) -> None:
    validation, loss = learning_panels(compared[0], compared[1].curves)
    assert [written for _, written in validation.x_ticks] == ["1", "2", "3"]
    (line,) = validation.lines
    assert (line.label, line.style) == ("high", 1)
    assert line.marked == [line.points[1]] and line.points[1][1] == min(y for _, y in line.points)
    (falling,) = loss.lines
    assert [tick.value for tick in loss.y_ticks][-1] == 1.0
    assert falling.points[0][1] < falling.points[1][1] < falling.points[2][1]  # heights count from the top


def test_runs_without_epochs_draw_no_learning(compared: tuple[Comparison, Details]) -> None:
    assert learning_panels(compared[0], {}) == []


def test_the_curve_of_what_was_chosen_is_that_of_no_run(compared: tuple[Comparison, Details]) -> None:
    comparison, details = compared
    assert details.bias is not None
    lines = exposure_panel(comparison, details.bias).lines
    assert [(line.label, line.style) for line in lines] == [("low", 0), ("high", 1), ("what was chosen", None)]
