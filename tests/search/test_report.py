import io
import json
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from recdl.search.report import progress_panel, search_page, search_table, slice_panel, write_search
from recdl.search.trials import SearchResult, TrialResult
from tests.evaluation.runs import write_run
from tests.evaluation.test_report import SCRIPT, Page


def result(reason: str = "diverged") -> SearchResult:
    trials = (
        TrialResult(0, {"model.l2": 0.01, "model.loss": "bpr"}, "finished", 0.30, {0: 0.2, 1: 0.3}, 2.0),
        TrialResult(1, {"model.l2": 1.0, "model.loss": "bpr"}, "failed", None, {0: float("nan")}, 1.0, reason),
        TrialResult(2, {"model.l2": 10.0, "model.loss": "hardest"}, "finished", 0.50, {}, 3.0),
        TrialResult(3, {"model.l2": 0.1, "model.loss": "bpr"}, "pruned", None, {0: 0.1}, 1.0),
    )
    return SearchResult("ndcg@10", trials, {"model.loss": 0.75, "model.l2": 0.25})


def test_the_curve_steps_up_where_a_trial_is_better_and_stays_elsewhere() -> None:
    panel = progress_panel(result())
    heights = [y for _, y in panel.steps]
    first, last = panel.dots[0].y, panel.dots[1].y
    assert heights == [first, first, first, first, first, last, last, last]
    assert [dot.best for dot in panel.dots] == [False, True]


def test_a_setting_over_tenfolds_is_drawn_by_its_logarithm() -> None:
    panel = slice_panel(result(), "model.l2")
    assert [text for _, text in panel.x_ticks] == ["0.01", "0.1", "1", "10"]
    places = [at for at, _ in panel.x_ticks]
    steps = [b - a for a, b in pairwise(places)]
    assert max(steps) - min(steps) < 0.1
    assert [dot.x for dot in panel.dots] == [places[0], places[-1]]


def test_choices_stand_side_by_side() -> None:
    assert [text for _, text in slice_panel(result(), "model.loss").x_ticks] == ["bpr", "hardest"]


def test_the_terminal_shows_finished_trials_the_best_first_and_what_mattered() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(search_table(result()))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "4 trials (2 finished, 1 pruned, 1 failed)" in text
    assert text.index("0.5000") < text.index("0.3000")
    assert "what mattered: loss 75 %, l2 25 %" in text.replace("\u202f", " ") or "loss 75%" in text


def test_the_page_is_whole_loads_nothing_and_escapes_what_trials_said(tmp_path: Path) -> None:
    text = search_page(result(SCRIPT), name=SCRIPT, final=write_run(tmp_path / "best"))
    page = Page(text)
    assert "alert(1)" in text
    assert SCRIPT not in text
    assert not [tag for tag, attributes in page.elements if "src" in attributes or tag == "link"]
    assert "trial 2" in " ".join(words for _, words in page.texts)


def test_the_page_of_a_search_without_a_finished_trial_says_so() -> None:
    failed = SearchResult("ndcg@10", (TrialResult(0, {"model.l2": 1.0}, "failed", reason="no memory"),))
    assert "None of 1 trial was finished" in search_page(failed, name="a")


def test_the_figures_are_json_with_null_for_what_is_no_number(tmp_path: Path) -> None:
    data, _ = write_search(result(), tmp_path, name="a", final=write_run(tmp_path / "best"))
    figures = json.loads(data.read_text())
    assert (figures["best"], figures["n_trials"], figures["best_so_far"]) == (2, 4, [0.3, 0.3, 0.5, 0.5])
    assert figures["trials"][1]["epochs"] == {"0": None}
    assert figures["final"]["metrics"]["test/ndcg@10"] == 0.375
