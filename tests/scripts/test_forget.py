"""Users forgotten from the command line, and what had learned from them."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recdl.commands.export import export
from recdl.commands.forget import forget
from recdl.commands.train import train
from recdl.config import compose
from recdl.data.appending import append
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import Privacy
from recdl.errors import ConfigError, DataError
from tests.data.files import csv_log
from tests.scripts.command_line import run

ROWS = [(f"u{user}", f"i{(user + step) % 7}", 10 * step + user) for user in range(12) for step in range(6)]
LOG = "user_id,item_id,timestamp\n" + "".join(f"{user},{item},{time}\n" for user, item, time in ROWS)
WITHOUT = "".join(line for line in LOG.splitlines(keepends=True) if not line.startswith("u3,"))
QUICK = ("data=csv", "model=popularity", "evaluation.cutoffs=[5]", "progress=false", "trainer.progress_bar=false")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log(name: str = "one", text: str = LOG, **settings: Any) -> PreparedLog:
    return prepare(csv_log(Path(f"{name}.csv"), text, name=name, **settings), Path("prepared"), progress=False)


def told(*overrides: str) -> dict[str, Any]:
    forget(compose("forget", ["output=told.json", *overrides]))
    return report()


def report() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("told.json").read_text())
    return content


def make_run(folder: str, fingerprint: str, *, file: str = "record.json") -> None:
    Path(folder).mkdir(parents=True)
    data = {"name": "one", "fingerprint": fingerprint}
    (Path(folder) / file).write_text(json.dumps({"identity": {"model": "lstm", "data": data}}))


def folders(found: list[dict[str, Any]]) -> list[str]:
    return [one["folder"] for one in found]


def test_runs_and_bundles_that_learned_from_a_user_are_named_and_no_other_and_no_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in (("one", LOG), ("two", WITHOUT)):
        Path(f"{name}.csv").write_text(text)
        own = (f"data.name={name}", f"data.path={name}.csv", f"run_dir=runs/deep/{name}")
        train(compose("train", [*QUICK, *own]))
    export(compose("export", ["run=runs/deep/one", "progress=false"]))
    Path("left.csv").write_text("user_id\nu3\nstranger\n")
    capsys.readouterr()
    found = told("users_file=left.csv")
    assert found["users"] == {"given": 2, "forgotten_before": 0, "found_in_a_log": 1}
    states = [(one["state"], one["users"], one["events"]) for one in found["logs"]]
    assert states == [("rewritten", 1, 6), ("untouched", 0, 0)]
    assert [(one["kind"], one["folder"], one["to_do"]) for one in found["have_learned_from_them"]] == [
        ("run", "runs/deep/one", "train again, then delete it"),
        ("bundle", "bundles/one", "export again, then delete it wherever it is"),
    ]
    assert found["cannot_be_said"] == []
    shown = capsys.readouterr()
    assert "runs/deep/one" in shown.out
    assert "runs/deep/two" not in shown.out
    for text in (shown.out, shown.err, Path("told.json").read_text()):
        assert "u3" not in text
        assert "stranger" not in text


def test_what_learned_is_named_again_until_it_is_gone_also_where_it_was_cut_off() -> None:
    make_run("runs/a", log().fingerprint, file="started.json")
    told("users=[u3]")
    assert folders(told("users=[]")["have_learned_from_them"]) == ["runs/a"]
    (Path("runs") / "a" / "started.json").unlink()
    assert told("users=[]")["have_learned_from_them"] == []


def test_a_run_of_a_log_before_an_earlier_forgetting_has_learned_from_later_forgotten_users_too() -> None:
    make_run("runs/a", log().fingerprint)
    told("users=[u3]")
    make_run("runs/b", PreparedLog.open(next(Path("prepared").glob("one-*"))).fingerprint)
    assert folders(told("users=[]")["have_learned_from_them"]) == ["runs/a"]
    assert folders(told("users=[u4]")["have_learned_from_them"]) == ["runs/a", "runs/b"]


def test_a_run_of_a_log_before_it_grew_has_not_learned_from_whom_the_later_piece_brought() -> None:
    before = log()
    make_run("runs/a", before.fingerprint)
    grown = append(before, csv_log(Path("later.csv"), "user_id,item_id,timestamp\nnew,i0,99\n"), progress=False)
    assert grown.fingerprint != before.fingerprint
    make_run("runs/b", grown.fingerprint)
    found = told("users=[new]")
    assert (folders(found["have_learned_from_them"]), found["cannot_be_said"]) == (["runs/b"], [])
    assert folders(told("users=[u3]")["have_learned_from_them"]) == ["runs/a", "runs/b"]


def test_a_run_whose_log_is_not_there_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    log()
    make_run("elsewhere/a", "0" * 64)
    found = told("users=[u3]", "runs=[elsewhere,nowhere]")
    assert found["have_learned_from_them"] == []
    assert folders(found["cannot_be_said"]) == ["elsewhere/a"]
    assert "nowhere (not there)" in capsys.readouterr().out


def test_with_one_log_to_look_into_nothing_is_said_of_runs_of_others() -> None:
    one, two = log(), log("two", LOG + "u3,i0,99\n")
    make_run("runs/a", two.fingerprint)
    found = told("users=[u3]", f"prepared={one.folder}")
    assert (folders(found["logs"]), folders(found["cannot_be_said"])) == ([str(one.folder)], ["runs/a"])


def test_a_damaged_log_and_a_damaged_run_end_in_status_1_and_all_else_is_done(here: Path) -> None:
    kept, damaged = log(), log("two")
    (damaged.folder / "items.npy").unlink()
    make_run("runs/a", kept.fingerprint)
    make_run("runs/b", "")
    Path("runs/b/record.json").write_text("{")
    done = run(here, "forget.py", "users=[u3]", "output=told.json")
    assert done.returncode == 1
    assert done.stderr == "error: 2 of the folders above could not be looked into; mend that, and call again\n"
    assert [one["state"] for one in report()["logs"]] == ["rewritten", "unreadable"]
    assert folders(report()["have_learned_from_them"]) == ["runs/a"]
    assert folders(report()["cannot_be_said"]) == ["runs/b"]


def test_raw_ids_find_pseudonyms_by_the_key_and_without_it_the_log_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECDL_KEY", "a key that is no shorter than sixteen")
    make_run("runs/a", log(privacy=Privacy(pseudonyms=("user",))).fingerprint)
    monkeypatch.delenv("RECDL_KEY")
    with pytest.raises(DataError, match="1 of the folders above could not be looked into"):
        told("users=[u3]")
    assert "no key was given" in report()["logs"][0]["problem"]
    assert folders(report()["cannot_be_said"]) == ["runs/a"]
    Path("key").write_text("a key that is no shorter than sixteen\n")
    found = told("users=[u3]", "key_file=key")
    assert (found["users"]["found_in_a_log"], folders(found["have_learned_from_them"])) == (1, ["runs/a"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"give either users=\[\.\.\.\] or users_file=FILE"),
        (["users=[a]", "users_file=left.csv"], r"give either users=\[\.\.\.\] or users_file=FILE"),
        (["users_file=none.csv"], r"none\.csv cannot be read"),
        (["users_file=gaps.csv"], r"gaps\.csv: 1 rows have no user_id; remove them"),
        (["users_file=gaps.parquet"], r"gaps\.parquet: 1 rows have no user_id; remove them"),
        (
            ["users_file=floats.parquet"],
            r"no column 'user_id' of ids as text or whole numbers: it is of type double",
        ),
        (["users=[a]", "prepared_root=nowhere"], r"there is no folder nowhere of prepared logs"),
        (["users=[a]", "key_file=none"], r"key_file: names no file that can be read"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is(overrides: list[str], message: str) -> None:
    Path("gaps.csv").write_text('user_id,why\na,left\n" ",left\n')
    pd.DataFrame({"user_id": ["a", None]}).to_parquet("gaps.parquet")
    pd.DataFrame({"user_id": [1.0, 2.5]}).to_parquet("floats.parquet")
    Path("prepared").mkdir()
    with pytest.raises((ConfigError, DataError), match=message):
        told(*overrides)
    assert list(Path("prepared").iterdir()) == []
