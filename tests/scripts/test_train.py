import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.scripts.command_line import SHOP, command, environment, fail_here, succeed


def test_a_run_leaves_flat_metrics(shop: Path) -> None:
    metrics = json.loads((shop / "runs" / "knn" / "metrics.json").read_text())
    for name in ("test/ndcg@10", "test/hr@10", "validation/ndcg@10", "time/fit_seconds"):
        assert isinstance(metrics[name], float)
    assert 0 < metrics["test/ndcg@10"] < metrics["test/hr@10"] <= 1


def test_a_run_leaves_its_resolved_configuration(shop: Path) -> None:
    config = yaml.safe_load((shop / "runs" / "knn" / "config.yaml").read_text())
    model = config["model"]
    assert (model["_target_"], model["k"], model["shrinkage"]) == ("recdl.models.neighbors.ItemKNN", 100, 20.0)
    assert config["data"]["n_users"] == 150
    assert "hydra" not in config


def test_a_run_names_what_it_was_made_of(shop: Path) -> None:
    identity = json.loads((shop / "runs" / "lstm" / "record.json").read_text())["identity"]
    assert identity["model"] == "lstm"
    names = (identity["data"]["name"], identity["split"]["name"], identity["protocol"]["name"])
    assert names == ("shop", "temporal", "full")


def test_a_network_leaves_its_learning_curve_and_tensorboard_events(shop: Path) -> None:
    curve = json.loads((shop / "runs" / "lstm" / "learning_curve.json").read_text())
    assert [entry["epoch"] for entry in curve] == [0, 1]
    assert all("validation/ndcg@10" in entry for entry in curve)
    assert list((shop / "runs" / "lstm" / "tensorboard").glob("events.*"))


def test_one_log_is_prepared_once_and_nothing_else_is_left(shop: Path) -> None:
    assert len(list((shop / "prepared").iterdir())) == 1
    assert {path.name for path in shop.iterdir()} <= {"prepared", "runs", "bundles"}


def test_a_finished_run_is_not_overwritten(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shop)
    before = Path("runs/knn/record.json").read_bytes()
    message = fail_here(monkeypatch, capsys, "train", *SHOP, "model=popularity", "run_dir=runs/knn")
    assert message == (
        "run_dir=runs/knn holds a finished run; choose another run_dir, or give overwrite=true to replace it"
    )
    assert Path("runs/knn/record.json").read_bytes() == before


def test_without_a_folder_a_run_gets_a_dated_one_and_the_same_seed_the_same_figures(shop: Path) -> None:
    printed = succeed(shop, "train.py", *SHOP, "model=item_knn")
    folder = Path(printed.splitlines()[-1].removeprefix("run record: "))
    assert folder.parent == Path("runs")
    assert folder.name.endswith("-shop-item_knn")
    again, first = ((shop / path / "metrics.json").read_text() for path in (folder, "runs/knn"))
    assert json.loads(again)["test/ndcg@10"] == json.loads(first)["test/ndcg@10"]


def test_a_sweep_names_the_best_by_validation_and_a_failing_point_does_not_lose_the_others(
    sweep: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = sweep
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 2
    assert "nothing is left of" in done.stderr
    validation = {
        point: json.loads((folder / "runs" / "sweep" / point / "metrics.json").read_text())["validation/ndcg@10"]
        for point in ("0", "2")
    }
    best = max(validation, key=lambda point: validation[point])
    assert done.stdout.splitlines()[-1] == f"best by validation ndcg@10: runs/sweep/{best}"


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="needs signals")
def test_an_interrupted_run_is_never_taken_for_whole(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = ["model=neumf", "trainer.max_epochs=100000", "trainer.patience=100000", "run_dir=runs/interrupted"]
    folder = shop / "runs" / "interrupted"
    process = subprocess.Popen(
        command("train.py", *SHOP, *endless),
        cwd=shop,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells start what runs beside them deaf
    )
    try:
        deadline = time.monotonic() + 120
        while not list(folder.glob("checkpoints/*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, printed
    assert printed.splitlines()[-1] == "interrupted: nothing that was under way is taken for whole"
    assert not (folder / "record.json").exists()
    monkeypatch.chdir(shop)
    message = fail_here(monkeypatch, capsys, "compare", "runs/knn", "runs/interrupted")
    assert message.startswith("the run in runs/interrupted was cut off")
