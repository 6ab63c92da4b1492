import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recdl.commands.export import export
from recdl.commands.recommend import recommend
from recdl.commands.train import train
from recdl.config import build_model, compose
from recdl.data.privacy import Key
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError
from recdl.serving.bundle import read_bundle
from recdl.serving.manifest import sealed
from tests.scripts.command_line import fail_here, succeed


def test_known_users_get_their_best_items_as_csv(shop: Path, bundle: Path) -> None:
    users = pd.read_parquet(bundle / "users.parquet")["id"].tolist()[:2]
    printed = succeed(shop, "recommend.py", "bundle=bundles/lstm", f"users=[{','.join(users)}]", "k=3")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [(row["user_id"], row["rank"]) for row in rows] == [(user, str(r)) for user in users for r in (1, 2, 3)]
    scores = [float(row["score"]) for row in rows[:3]]
    assert scores == sorted(scores, reverse=True)
    assert {row["item_id"] for row in rows} <= set(pd.read_parquet(bundle / "items.parquet")["id"])


def test_new_histories_get_items_they_do_not_hold_as_parquet(shop: Path, bundle: Path) -> None:
    items = pd.read_parquet(bundle / "items.parquet")["id"].tolist()
    rows = [("new", items[0]), ("new", items[1]), ("other", items[2]), ("other", "never seen")]
    histories = shop / "bundles" / "histories.csv"
    pd.DataFrame(rows, columns=["user_id", "item_id"]).to_csv(histories, index=False)
    arguments = ["histories=bundles/histories.csv", "exclude_history=true", "output=bundles/out.parquet"]
    assert succeed(shop, "recommend.py", "bundle=bundles/lstm", *arguments, "k=5") == "bundles/out.parquet\n"
    table = pd.read_parquet(shop / "bundles" / "out.parquet")
    assert table["user_id"].tolist() == ["new"] * 5 + ["other"] * 5
    assert not set(table["item_id"][:5]) & {items[0], items[1]}


def test_a_run_whose_weights_do_not_fit_its_settings_is_not_exported(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(shop / "runs" / "lstm", tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("hidden_size: 8", "hidden_size: 9"))
    monkeypatch.chdir(shop)
    message = fail_here(monkeypatch, capsys, "export", f"run={tmp_path / 'run'}", f"bundle={tmp_path / 'bundle'}")
    assert "the stored weights do not fit the model's settings" in message
    assert not (tmp_path / "bundle").exists()


def test_what_cannot_be_had_is_told(
    shop: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop)
    Path("bundles/strange.csv").write_text("user_id,item_id\nv,never seen\nw,never seen\n")
    recommend(compose("recommend", ["bundle=bundles/lstm", "histories=bundles/strange.csv", "k=100000"]))
    captured = capsys.readouterr()
    n_items = sum(pd.read_parquet(bundle / "candidates.parquet").iloc[:, 0])
    assert f"k=100000: there are {n_items:,} items to recommend" in captured.err
    assert "2 of 2 visitors have no known item" in captured.err
    assert len(captured.out.splitlines()) == 1 + 2 * n_items


def test_users_in_a_file_are_those_in_a_list(
    shop: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    users = pd.read_parquet(bundle / "users.parquet")["id"].tolist()[:2]
    monkeypatch.chdir(shop)
    Path("bundles/users.csv").write_text("\n".join(["user_id", *users]) + "\n")
    pd.DataFrame({"user_id": users}).to_parquet("bundles/users.parquet")
    printed = []
    for given in (f"[{','.join(users)}]", "bundles/users.csv", "bundles/users.parquet"):
        recommend(compose("recommend", ["bundle=bundles/lstm", f"users={given}", "k=2"]))
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give either users=... \\(of the log\\) or histories=FILE"),
        (["users=[nobody]"], "1 of 1 user ids are not in the log"),
        (["users=none.csv"], "none.csv cannot be read"),
        (["users=bundles/wrong.csv"], "has no column 'user_id'"),
        (["users=[a]", "prepared_root=elsewhere"], "not prepared in elsewhere; give prepared=FOLDER"),
        (["users=[a]", "output=out.xlsx"], "out.xlsx: recommendations are written to a .csv or .parquet file"),
        (["users=[1.5]"], r"users: expected a list"),
    ],
)
def test_what_cannot_be_recommended_is_told(
    overrides: list[str], message: str, shop: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bundle.is_dir()
    monkeypatch.chdir(shop)
    Path("bundles/wrong.csv").write_text("id\na\n")
    with pytest.raises((ConfigError, DataError), match=message):
        recommend(compose("recommend", ["bundle=bundles/lstm", *overrides]))


def test_a_bundle_that_was_tampered_with_executes_nothing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    manifest = Path("bundle/manifest.json")
    manifest.write_text(manifest.read_text().replace("recdl.training.sequence.SequenceRecommender", "os.system"))
    message = fail_here(monkeypatch, capsys, "recommend", "bundle=bundle", "users=[a]")
    assert "was changed since it was written" in message


def test_a_bundle_that_was_sealed_again_executes_nothing(
    shop: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["checksum"]
    manifest["model"]["_target_"] = "os.system"
    (tmp_path / "bundle" / "manifest.json").write_text(json.dumps(sealed(manifest)))
    monkeypatch.chdir(shop)
    message = fail_here(monkeypatch, capsys, "recommend", f"bundle={tmp_path / 'bundle'}", "users=[a]")
    assert message.startswith("model._target_: 'os.system' is not allowed here")


def test_a_visitor_is_followed_from_a_bundle_event_by_event(bundle: Path) -> None:
    opened = read_bundle(bundle)
    model = build_model(opened.model, extras={"seed": opened.seed}).set_state(opened.state)
    items = opened.items.indices(list(opened.items.ids(np.arange(4))))
    state = model.begin(Queries.anonymous([[]]))
    for n, item in enumerate(items):
        state = model.advance(state, Queries.anonymous([[item]], timestamps=[[1_700_000_000_000_000 + n]]))
    times = [1_700_000_000_000_000 + n for n in range(4)]
    whole = Queries.anonymous([items.tolist()], timestamps=[times])
    np.testing.assert_allclose(model.score_state(state), model.score(whole), rtol=1e-6, atol=1e-6)


def test_users_who_are_pseudonyms_are_found_by_raw_id_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECDL_KEY", "a key that is no shorter than sixteen")
    rows = [f"u{user},i{(user + step) % 7},{10 * step + user}" for user in range(12) for step in range(6)]
    Path("log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    own = ["data=csv", "data.path=log.csv", "data.privacy.pseudonyms=[user]", "evaluation.cutoffs=[5]"]
    quiet = ["progress=false", "trainer.progress_bar=false", "model=personal_popularity", "run_dir=runs/one"]
    train(compose("train", [*own, *quiet]))
    export(compose("export", ["run=runs/one", "progress=false"]))
    capsys.readouterr()

    def recommended(*overrides: str) -> list[list[str]]:
        recommend(compose("recommend", ["bundle=bundles/one", "k=2", *overrides]))
        return [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]

    by_raw_id = recommended("users=[u3,u4,u3]")
    assert [row[0] for row in by_raw_id] == ["u3", "u3", "u4", "u4"]
    pseudonyms = Key(b"a key that is no shorter than sixteen").pseudonyms("user", ["u3", "u4"])
    monkeypatch.delenv("RECDL_KEY")
    by_pseudonym = recommended(f"users=[{','.join(pseudonyms)}]")
    assert [row[1:] for row in by_pseudonym] == [row[1:] for row in by_raw_id]
    with pytest.raises(DataError, match="1 of 1 user ids are no pseudonyms of the log, and there is no key"):
        recommended("users=[u3]")
    monkeypatch.setenv("RECDL_KEY", "another that is no shorter than sixteen")
    with pytest.raises(DataError, match="and the key is another one to find raw ids by; give the key"):
        recommended("users=[u3]")
