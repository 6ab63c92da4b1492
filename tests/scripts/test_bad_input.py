from pathlib import Path

import pytest

from tests.scripts.command_line import fail, fail_here

CSV = ("data=csv", "data.path=log.csv", "progress=false")
HEAD = "user_id,item_id,timestamp\n"
EVENTS = "".join(f"u{n % 7},i{n % 5},{1_500_000_000 + n * 3600}\n" for n in range(60))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (HEAD.replace("item_id", "sku") + EVENTS, [], "no column 'item_id'"),
        ("", [], "is empty"),
        (HEAD, [], "log.csv"),
        (HEAD + EVENTS + "u1,i1,yesterday\n", [], "yesterday"),
        (HEAD + EVENTS, ["data.filters.min_user_events=1000"], "nothing is left of 60 rows"),
        (HEAD + EVENTS, ["data.path=nowhere.csv"], "there is no file"),
    ],
)
def test_a_log_that_cannot_be_prepared_is_told_and_leaves_nothing(
    text: str,
    overrides: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "log.csv").write_text(text)
    assert message in fail_here(monkeypatch, capsys, "prepare", *CSV, *overrides)
    assert not list(tmp_path.glob("prepared/*"))


@pytest.mark.parametrize(
    "events",
    ["u1,i1,1500000000\n", "u1,i1,1500000000\nu1,i2,1500000001\n", "u1,i1,1500000000\nu2,i2,1500000000\n"],
    ids=["one event", "one user", "one moment"],
)
def test_a_log_too_small_to_split_is_told_and_starts_no_run(
    events: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text(HEAD + events)
    message = fail_here(monkeypatch, capsys, "train", *CSV, "model=popularity", "run_dir=runs/a")
    assert "split" in message or "test" in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model.learning_rat=1"],
            "model.learning_rat: there is no such setting; did you mean model.learning_rate?",
        ),
        (["model.learning_rate=fast"], 'model.learning_rate: expected a number, got "fast"'),
        (["model._target_=os.system"], "model._target_: 'os.system' is not allowed here"),
        (["split.test_fraction=2"], "split.test_fraction must lie between 0 and 1, but is 2.0"),
    ],
)
def test_a_bad_setting_is_told_before_any_work_starts(arguments: list[str], message: str, tmp_path: Path) -> None:
    assert fail(tmp_path, "train.py", *arguments).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text(HEAD + EVENTS)
    (tmp_path / "prepared").write_text("a file where a folder should be")
    message = fail_here(monkeypatch, capsys, "prepare", *CSV)
    assert "prepared" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "prepared"]


def test_a_run_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert "there is no run at nowhere" in fail_here(monkeypatch, capsys, "compare", "nowhere")
    assert "empty is not the folder of a run" in fail_here(monkeypatch, capsys, "export", "run=empty")
