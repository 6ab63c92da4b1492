import json
from pathlib import Path

import pytest

from tests.scripts.command_line import SHOP, fail_here, succeed
from tests.scripts.conftest import TINY


def test_runs_are_compared_in_a_table_a_page_and_figures(shop: Path) -> None:
    printed = succeed(shop, "compare.py", "runs/popularity", "runs/knn", "runs/lstm", "output=runs/compared")
    figures = json.loads((shop / "runs" / "compared" / "comparison.json").read_text())
    assert [run["model"] for run in figures["runs"]] == ["popularity", "item_knn", "lstm"]
    assert figures["reference"] == "popularity"
    page = (shop / "runs" / "compared" / "comparison.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    for model in ("popularity", "item_knn", "lstm"):
        assert model in printed
        assert model in page


def test_a_run_under_another_protocol_is_recorded_and_not_compared_with_the_first(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluation=unseen", "evaluation.cutoffs=[10]", "progress=false", "run_dir=runs/unseen"]
    succeed(shop, "evaluate.py", "run=runs/lstm", *arguments)
    full, unseen = (json.loads((shop / "runs" / name / "metrics.json").read_text()) for name in ("lstm", "unseen"))
    assert unseen["time/fit_seconds"] == full["time/fit_seconds"]
    assert unseen["test/masked_targets"] > 0
    monkeypatch.chdir(shop)
    message = fail_here(monkeypatch, capsys, "compare", "runs/lstm", "runs/unseen")
    assert "protocol" in message
    assert "exclude_history=True" in message


def test_runs_of_several_seeds_are_also_compared_by_their_means(shop: Path) -> None:
    for seed in (0, 1):
        succeed(
            shop, "train.py", *SHOP, "model=lstm", *TINY, f"seed={seed}", f"run_dir=runs/seed-{seed}", "trials=7"
        )
    arguments = ["runs/popularity", "runs/seed-0", "runs/seed-1", "test=bootstrap", "difference=0.01"]
    printed = succeed(shop, "compare.py", *arguments, "output=runs/seeds")
    figures = json.loads((shop / "runs" / "seeds" / "seeds.json").read_text())
    assert [(group["label"], group["seeds"], group["trials"]) for group in figures["groups"]] == [
        ("popularity", [0], 1),
        ("lstm", [0, 1], 7),
    ]
    assert "means over seeds" in printed and "of 7 settings" in printed and "untuned" in printed
    assert "to see a difference of 0.01 in NDCG@10" in printed
    assert json.loads((shop / "runs" / "seeds" / "comparison.json").read_text())["test"] == "bootstrap"
