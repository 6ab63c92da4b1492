"""A published protocol from its files to figures, as a user runs it."""

import json
from pathlib import Path

import pytest

from tests.scripts.command_line import SHOP, fail, succeed

FILES = {
    "train.tsv": "user\titem\n" + "".join(f"{u}\ti{(u + step) % 9}\n" for u in range(12) for step in range(4)),
    "test.tsv": "".join(f"{u}\ti{(u + 4) % 9}\t5\n" for u in range(12)),
    "candidates.tsv": "".join(f"({u},i{(u + 4) % 9})\ti{(u + 5) % 9}\ti{(u + 6) % 9}\n" for u in range(12)),
}
GIVEN = (
    "data=ordered",
    "data.path=train.tsv",
    "data.columns.user=user",
    "data.columns.item=item",
    "split=given",
    "split.test=test.tsv",
    "split.candidates=candidates.tsv",
    "split.header=[user,item,rating]",
    "split.columns.user=user",
    "split.columns.item=item",
    "split.validation_fraction=1.0",
    "split.validation_candidates=2",
    "refit=true",
    "evaluation.cutoffs=[1,3]",
    "evaluation.metrics=[hr,ndcg]",
    "tracking=none",
    "progress=false",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("protocol")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_runs_on_given_files_are_compared_with_a_warning_of_sampled_candidates(folder: Path) -> None:
    for model in ("popularity", "item_knn"):
        shown = succeed(folder, "train.py", *GIVEN, f"model={model}", f"run_dir=runs/{model}")
        assert f"{model} on ordered, among sampled candidates" in shown
    metrics = json.loads((folder / "runs" / "item_knn" / "metrics.json").read_text())
    assert (metrics["test/sampled_candidates"], metrics["validation/sampled_candidates"]) == (3.0, 3.0)
    assert metrics["test/hr@3"] == 1.0
    table = " ".join(succeed(folder, "compare.py", "runs/popularity", "runs/item_knn", "output=report").split())
    assert "Sampled candidates: each query ranks about 3 items" in table
    assert "Sampled candidates" in (folder / "report" / "comparison.html").read_text(encoding="utf-8")


def test_runs_on_other_candidates_are_not_put_into_one_table(folder: Path) -> None:
    (folder / "others.tsv").write_text(
        FILES["candidates.tsv"].replace("(0,i4)\ti5", "(0,i4)\ti7"), encoding="utf-8"
    )
    own = ("model=popularity", "overwrite=true")
    succeed(folder, "train.py", *GIVEN, *own, "run_dir=runs/first")
    succeed(folder, "train.py", *GIVEN, *own, "run_dir=runs/others", "split.candidates=others.tsv")
    message = fail(folder, "compare.py", "runs/first", "runs/others")
    assert "these runs cannot be compared" in message
    assert "candidates=others.tsv" in message


def test_runs_of_several_folds_are_compared_within_each_and_over_all(tmp_path: Path) -> None:
    points = ("split=rolling", "split.fold=0,1", "model=popularity,item_knn", "run_dir=runs", "tracking=none")
    succeed(tmp_path, "train.py", "--multirun", *SHOP, *points)
    runs = [f"runs/{point}" for point in range(4)]
    shown = succeed(tmp_path, "compare.py", *runs, "output=report")
    assert "mean over folds 0, 1 of shop (rolling split)" in shown
    over = json.loads((tmp_path / "report" / "folds.json").read_text())
    for label in ("popularity", "item_knn"):
        expected = [
            next(run for run in json.loads(page.read_text())["runs"] if run["label"] == label)["figures"][
                "ndcg@10"
            ]
            for page in (tmp_path / "report" / f"fold-{fold}" / "comparison.json" for fold in (0, 1))
        ]
        assert over["runs"][label]["ndcg@10"]["by_fold"] == [figure["value"] for figure in expected]
