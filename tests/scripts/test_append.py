from pathlib import Path

import pytest

from tests.scripts.command_line import fail_here, succeed

TINY = ("trainer.progress_bar=false", "progress=false", "evaluation.cutoffs=[10]", "model=popularity")


def write(path: Path, first: int, last: int) -> None:
    """Ten persons who meet an item a day, each another, from one day to another."""
    rows = [
        f"person{user},thing{(user + day) % (8 + last // 10)},{1_600_000_000 + day * 86_400 + user}"
        for user in range(first // 10, 10)
        for day in range(first, last)
    ]
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")


def test_a_log_is_appended_to_and_trained_on_and_the_run_on_the_old_one_stays_whole(tmp_path: Path) -> None:
    write(tmp_path / "april.csv", 0, 30)
    write(tmp_path / "may.csv", 30, 60)
    csv = ("data=csv", "data.path=april.csv")
    old = succeed(tmp_path, "prepare.py", *csv, "progress=false").strip()
    succeed(tmp_path, "train.py", *csv, *TINY, "run_dir=runs/april")
    new = succeed(tmp_path, "append.py", f"prepared={old}", "data.path=may.csv", "progress=false").strip()
    assert Path(old).parent == Path(new).parent and old != new
    again = succeed(tmp_path, "append.py", f"prepared={new}", "data.path=may.csv", "progress=false").strip()
    assert again == new
    printed = succeed(tmp_path, "train.py", "data=prepared", f"data.path={new}", *TINY, "run_dir=runs/may")
    assert "popularity on prepared" in printed
    for run in ("april", "may"):
        succeed(tmp_path, "evaluate.py", f"run=runs/{run}", "evaluation=unseen", f"run_dir=runs/{run}-unseen")


def test_what_cannot_be_appended_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "log is no prepared log: it has no manifest.json" in fail_here(
        monkeypatch, capsys, "append", "prepared=log", "data.path=may.csv"
    )
    assert "data.path: must be given" in fail_here(monkeypatch, capsys, "append", "prepared=log")
    assert "data.ends: there is no such setting; did you mean data.end?" in fail_here(
        monkeypatch, capsys, "append", "prepared=log", "data.path=may.csv", "data.ends=2025-01-01"
    )
