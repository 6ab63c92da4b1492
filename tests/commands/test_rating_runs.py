"""Ratings, from a file to the record of a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from recdl.commands.train import train
from recdl.config import compose


def test_a_run_on_ratings_records_and_shows_how_far_they_were_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    users, items = generator.normal(size=50), generator.normal(size=30)
    rows = [
        f"u{user},i{item},{moment},{3 + users[user] + items[item] + 0.1 * generator.normal():.4f}"
        for user in range(50)
        for moment, item in enumerate(generator.choice(30, 15, replace=False))
    ]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp,stars", *rows]) + "\n")
    data = ("data=csv", f"data.path={tmp_path / 'log.csv'}", "data.columns.weight=stars", "split=random")
    folders = (f"prepared_root={tmp_path / 'prepared'}", f"run_dir={tmp_path / 'run'}")
    train(compose("train", [*data, *folders, "model=biased_mf", "tracking=none", "progress=false"]))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0.1 <= metrics["test/rmse"] < 0.35  # of the deviation of 1.4 the noise is 0.1
    assert metrics["test/mae"] < metrics["test/rmse"]
    assert metrics["validation/n_ratings"] > 30
    assert "rmse" in capsys.readouterr().out
