import csv
import io
from pathlib import Path

import pytest

from recdl.evaluation.comparison import Comparison, compare
from recdl.evaluation.details import Details, LeftOut, look_closer
from recdl.evaluation.records import RunRecord
from recdl.evaluation.tables import csv_table, markdown
from tests.evaluation.backgrounds import background
from tests.evaluation.runs import write_run

USERS = [0, 1, 2, -1]


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    strong, weak = [1.0, 1.0, 0.5, 0.5], [0.5, 0.0, 0.5, 0.0]
    return compare(
        [
            write_run(tmp_path / "a", "weak|1", columns={"ndcg@1": weak}, users=USERS, lists=[[0]] * 4),
            write_run(tmp_path / "b", "strong", columns={"ndcg@1": strong}, users=USERS, lists=[[1]] * 4),
        ]
    )


def test_csv_has_a_row_a_run_and_figure_with_whole_numbers(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table(comparison))))
    best = next(row for row in rows if row["metric"] == "ndcg@1")
    tested = comparison.runs[1].figures["ndcg@1"]
    assert (best["run"], best["model"], best["seed"]) == ("strong", "strong", "0")
    assert float(best["value"]) == 0.75
    assert (float(best["difference"]), float(best["p_value"])) == (tested.difference, tested.p_value)
    assert best["significant"] == "false"
    reference = next(row for row in rows if row["run"] == "weak|1" and row["metric"] == "ndcg@1")
    assert (reference["low"], reference["difference"], reference["significant"]) == ("0.24", "", "")


def test_csv_has_runs_with_further_seeds_last_and_untested(comparison: Comparison, tmp_path: Path) -> None:
    further = write_run(tmp_path / "c", "strong", columns={"ndcg@1": [1.0] * 4}, users=USERS, seed=1)
    rows = list(csv.DictReader(io.StringIO(csv_table(comparison, [further]))))
    last = [row for row in rows if row["seed"] == "1"]
    assert rows[-len(last) :] == last
    row = next(row for row in last if row["metric"] == "ndcg@1")
    assert (row["run"], row["value"], row["low"], row["high"]) == ("strong", "1.0", "0.99", "1.01")
    assert (row["difference"], row["p_value"], row["significant"]) == ("", "", "")


def test_csv_has_what_else_a_run_measured_by_its_name_in_the_record(comparison: Comparison) -> None:
    rows = {(row["run"], row["metric"]): row for row in csv.DictReader(io.StringIO(csv_table(comparison)))}
    assert float(rows["strong", "time/fit_seconds"]["value"]) == 1.0
    assert float(rows["strong", "validation/ndcg@10"]["value"]) == 0.5
    assert ("strong", "test/ndcg@1") not in rows


def test_markdown_has_a_table_with_intervals_and_escapes_names(comparison: Comparison) -> None:
    lines = markdown(comparison, Details()).splitlines()
    assert "| run | NDCG@1 |" in lines
    assert "| --- | ---: |" in lines
    assert "| strong | **0.7500** [0.7400 to 0.7600] |" in lines
    assert "| weak\\|1 (reference) | 0.2500 [0.2400 to 0.2600] |" in lines
    assert all(line.count("|") - line.count("\\|") in (0, 3, 9) for line in lines)


def test_markdown_tells_of_segments_popularity_wins_and_what_is_left_out(comparison: Comparison) -> None:
    records = [RunRecord.open(run.folder) for run in comparison.runs]
    left_out = [LeftOut("gru", "It was cut off.")]
    details = look_closer(comparison, records, background(), missing=["something."], left_out=left_out)
    text = markdown(comparison, details)
    assert "> **Left out: gru.** It was cut off." in text
    assert "| run | new to train (2) | known to train (2) | gap |" in text
    assert "| strong | 0.5000 | 1.0000 | 0.5000 |" in text
    assert "| *what was learned from* | 0.0 % | 50 % | 40 % | 10 % | 5 |" in text
    assert "| all users | 3 (75 %) | 1 (25 %) | 0 (0.0 %) |" in text
    assert "- Not shown: something." in text
