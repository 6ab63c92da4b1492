"""Runs of several folds: within each, and over them."""

from pathlib import Path

import pytest

from recdl.errors import DataError
from recdl.evaluation.folds import by_fold, compare_folds, folds_table
from recdl.evaluation.identity import Ingredient
from recdl.evaluation.records import RunRecord
from tests.evaluation.runs import write_run

N = 40


def folded(folder: Path, model: str, fold: int, share: float, **settings: float) -> RunRecord:
    """A run in which the first `share` of 40 queries are hits."""
    split = Ingredient("rolling", f"{fold}" * 64, {"fold": fold, "n_folds": 2, **settings})
    hits = [1.0 if query < share * N else 0.0 for query in range(N)]
    return write_run(folder / f"{model}-{fold}", model, columns={"ndcg@10": hits, "hr@10": hits}, split=split)


def test_each_fold_is_compared_by_itself_and_the_means_count_each_alike(tmp_path: Path) -> None:
    shares = {("base", 0): 0.1, ("base", 1): 0.2, ("better", 0): 0.9, ("better", 1): 0.2}
    records = [folded(tmp_path, model, fold, share) for (model, fold), share in shares.items()]
    folds = by_fold(records)
    assert folds is not None
    found = compare_folds(folds)
    assert list(found.folds) == [0, 1]
    assert found.first.reference == "base"
    figure = found.figures["better"]["ndcg@10"]
    assert figure.by_fold == (0.9, 0.2)
    assert figure.mean == pytest.approx(0.55)
    assert (figure.better, figure.worse) == (1, 0)
    assert found.figures["base"]["ndcg@10"].mean == pytest.approx(0.15)
    assert found.to_json()["runs"]["better"]["ndcg@10"]["by_fold"] == [0.9, 0.2]
    assert folds_table(found).row_count == 2


def test_the_reference_may_be_named_by_the_folder_of_its_run_in_any_fold(tmp_path: Path) -> None:
    records = [folded(tmp_path, model, fold, 0.5) for fold in (0, 1) for model in ("a", "b")]
    folds = by_fold(records)
    assert folds is not None
    assert compare_folds(folds, reference=str(tmp_path / "b-1")).first.reference == "b"


def test_a_model_that_lacks_a_fold_is_named(tmp_path: Path) -> None:
    records = [folded(tmp_path, "a", 0, 0.5), folded(tmp_path, "a", 1, 0.5), folded(tmp_path, "b", 1, 0.5)]
    folds = by_fold(records)
    assert folds is not None
    with pytest.raises(
        DataError, match="fold 1 and fold 0 are not of the same models: 'b' is in one of them only"
    ):
        compare_folds(folds)


def test_runs_of_one_fold_or_that_differ_otherwise_are_no_folds_of_one_comparison(tmp_path: Path) -> None:
    one, other = folded(tmp_path, "a", 0, 0.5), folded(tmp_path, "b", 0, 0.5)
    assert by_fold([one, other]) is None
    assert by_fold([one, folded(tmp_path, "c", 1, 0.5, window=0.2)]) is None
    assert by_fold([one, write_run(tmp_path / "d", "d")]) is None
