import json
from pathlib import Path

import pytest

from recdl.commands.given import evaluate_file
from recdl.commands.ingredients import log_of_run
from recdl.config import compose
from recdl.errors import ConfigError
from recdl.evaluation.lists import read_lists
from recdl.evaluation.records import RunRecord
from recdl.schemas import EvaluateSettings
from recdl.signatures import checked_settings
from tests.scripts.command_line import succeed


def write_lists_of(run: Path, path: Path) -> None:
    """Write what a run recommended on test as another program would: by raw ids, with ranks."""
    record = RunRecord.open(run)
    log = log_of_run(record, prepared=None, progress=False)
    lists = read_lists(run)
    assert lists is not None
    users = log.users.ids(record.per_query("test")["user"].to_numpy())
    rows = [
        f"{user},{item},{place}"
        for user, items in zip(users, lists, strict=True)
        for place, item in enumerate(log.items.ids(items[items >= 0]), start=1)
    ]
    path.write_text("\n".join(["user_id,item_id,rank", *reversed(rows)]) + "\n")


def test_the_lists_of_a_run_read_from_a_file_get_the_figures_of_the_run(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    # Of the LSTM, which scores no two items alike: ranks in a file say nothing of ties.
    write_lists_of(Path("runs/lstm"), Path("theirs.csv"))
    config = compose("evaluate", ["run=runs/lstm", "recommendations=theirs.csv", "run_dir=runs/theirs"])
    settings = checked_settings(EvaluateSettings, config)
    evaluate_file(settings, RunRecord.open(Path("runs/lstm")), Path("theirs.csv"))
    own, theirs = (RunRecord.open(Path("runs", name)) for name in ("lstm", "theirs"))
    for name, value in own.metrics.items():
        if name.startswith("test/") and "@" in name:
            assert theirs.metrics[name] == pytest.approx(value, abs=1e-9), name
    assert theirs.identity.model == "theirs"
    assert "time/fit_seconds" not in theirs.metrics and "model/n_parameters" not in theirs.metrics
    printed = succeed(shop, "compare.py", "runs/lstm", "runs/theirs", "output=runs/with_theirs")
    assert "theirs" in printed
    notes = json.loads((shop / "runs/with_theirs/comparison.json").read_text())["notes"]["theirs"]
    assert any("had their rows in another order" in note for note in notes)
    assert "had their rows in another order" in (shop / "runs/with_theirs/comparison.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["recommendations=theirs.csv", "evaluation=unseen"], "is evaluated by the protocol of the run"),
        (["name=theirs"], "name=theirs: is for recommendations=FILE"),
    ],
)
def test_what_recommendations_cannot_be_given_is_refused(
    shop: Path, overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recdl.commands.evaluate import evaluate

    monkeypatch.chdir(shop)
    with pytest.raises(ConfigError, match=message):
        evaluate(compose("evaluate", ["run=runs/knn", *overrides]))
