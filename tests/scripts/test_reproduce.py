import json
from pathlib import Path

import pytest

from tests.scripts.command_line import fail, fail_here, succeed


def test_a_network_is_reproduced_bit_for_bit(shop: Path) -> None:
    printed = succeed(shop, "reproduce.py", "run=runs/lstm", "run_dir=runs/lstm-again")
    assert printed.splitlines()[-1] == "reproduced, bit for bit"
    found = json.loads((shop / "runs" / "lstm-again" / "reproduction.json").read_text())
    assert (found["exact"], found["metrics"], found["arrays"], found["first_epoch"]) == (True, [], {}, None)


def test_a_run_whose_figures_were_changed_is_not_reproduced_and_the_status_says_so(
    shop: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(shop / "runs" / "knn", tmp_path / "knn", symlinks=False)
    metrics = json.loads((tmp_path / "knn" / "metrics.json").read_text())
    metrics["test/ndcg@10"] += 0.01
    (tmp_path / "knn" / "metrics.json").write_text(json.dumps(metrics))
    message = fail(shop, "reproduce.py", f"run={tmp_path / 'knn'}", f"run_dir={tmp_path / 'again'}")
    assert message.startswith("the run was not reproduced: test/ndcg@10 was")


def test_a_run_does_not_take_its_own_place(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop)
    message = fail_here(monkeypatch, capsys, "reproduce", "run=runs/knn", "run_dir=runs/knn", "overwrite=true")
    assert message == "run_dir=runs/knn is the run itself; choose another folder"
