"""Who takes part in a benchmark, and what chance and tuning do with them."""

import csv
import json
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from recdl.commands.contenders import Contender, contenders, space_of, tuned
from recdl.config import compose
from recdl.evaluation.records import RunRecord
from recdl.schemas import BenchmarkSettings
from recdl.search.study import read_result
from recdl.signatures import checked_settings
from tests.scripts.command_line import SCRIPTS, SHOP, fail_here, succeed

TUNED = (
    *SHOP,
    "models=[popularity,als]",
    "baselines=null",
    "seeds=2",
    "tuning.trials=2",
    "run_dir=runs/tuned",
)


def entered(*overrides: str) -> dict[str, Contender]:
    config = compose("benchmark", [*SHOP, *overrides])
    return {one.name: one for one in contenders(config, checked_settings(BenchmarkSettings, config))}


def folders(contender: Contender) -> list[tuple[int, str]]:
    points = [contender.run(Path("runs"), seed, contender.point) for seed in contender.seeds]
    return [(point["seed"], point["run_dir"]) for point in points]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a benchmark of two seeds, then of three, and what the second said in `again.txt`."""
    folder = tmp_path_factory.mktemp("seeds")
    command = (*SHOP, "models=[popularity,als]", "baselines=null", "run_dir=runs/seeds")
    succeed(folder, "benchmark.py", *command, "seeds=2")
    (folder / "again.txt").write_text(succeed(folder, "benchmark.py", *command, "seeds=3"))
    return folder


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A working folder with a benchmark that tries two settings of each, and what it printed."""
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("tuned")
    return folder, succeed(folder, "benchmark.py", *TUNED)


def test_the_baselines_of_the_literature_run_beside_whatever_is_named() -> None:
    found = entered("models=[lstm]")
    assert list(found) == [
        "lstm",
        "popularity",
        "recent_popularity",
        "decaying_item_knn",
        "ease",
        "als",
        "session_knn",
    ]
    assert not found["lstm"].beside and all(found[name].beside for name in found if name != "lstm")
    assert found["recent_popularity"].point["model"]["window_days"] == 30
    assert found["decaying_item_knn"].point["model"]["history_weights"]["half_life_days"] == 30


def test_a_name_that_is_a_model_and_a_baseline_runs_once_as_a_model() -> None:
    found = entered("models=[ease,popularity]")
    assert list(found)[:2] == ["ease", "popularity"] and list(found).count("ease") == 1
    assert not found["ease"].beside


@pytest.mark.parametrize("none", ["baselines=null", "baselines=[]"])
def test_there_may_be_no_baselines(none: str) -> None:
    assert list(entered("models=[lstm]", none)) == ["lstm"]


def test_others_may_be_baselines_and_what_a_name_stands_for_may_be_changed() -> None:
    window = "variants.recent_popularity=['model=popularity','model.window_days=7']"
    near = "overrides={near: ['model=user_knn'], decaying_item_knn: ['model=item_knn']}"
    found = entered("models=[lstm]", "baselines=[near,recent_popularity,decaying_item_knn]", window, near)
    assert list(found) == ["lstm", "near", "recent_popularity", "decaying_item_knn"]
    assert found["near"].point["model"] == compose("train", ["model=user_knn"])["model"]
    assert found["recent_popularity"].point["model"]["window_days"] == 7
    assert found["decaying_item_knn"].point["model"] == compose("train", ["model=item_knn"])["model"]


def test_overrides_of_a_variant_come_after_what_it_stands_for() -> None:
    found = entered("models=[lstm]", "overrides={recent_popularity: ['model.weights.repeats=sum']}")
    assert found["recent_popularity"].point["model"]["window_days"] == 30
    assert found["recent_popularity"].point["model"]["weights"]["repeats"] == "sum"


def test_only_what_chance_goes_into_is_run_with_several_seeds() -> None:
    found = entered("models=[item_knn,lstm]", "baselines=[ease,als]", "seed=3", "seeds=2")
    assert folders(found["item_knn"]) == [(3, "runs/item_knn")]
    assert folders(found["ease"]) == [(3, "runs/ease")]
    assert folders(found["lstm"]) == [(3, "runs/lstm-seed3"), (4, "runs/lstm-seed4")]
    assert folders(found["als"]) == [(3, "runs/als-seed3"), (4, "runs/als-seed4")]


def test_a_benchmark_has_five_seeds_and_the_main_job_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(entered("models=[lstm]")["lstm"].seeds) == 5
    commands: list[list[str]] = []
    module = ModuleType("environment")
    vars(module).update(
        ROOT=SCRIPTS.parent, ensure=lambda *_: "python", replace_by=lambda _, given: commands.append(given)
    )
    monkeypatch.setitem(sys.modules, "environment", module)
    for given in (["data=tmall"], ["seeds=3"]):
        monkeypatch.setattr(sys, "argv", ["main_job.py", *given])
        runpy.run_path(str(SCRIPTS / "main_job.py"))
    assert [command[1:] for command in commands] == [["seeds=1", "data=tmall"], ["seeds=3"]]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=0", "seeds: Input should be greater than or equal to 1, got 0"),
        ("tuning.trials=0", "tuning.trials: Input should be greater than or equal to 1, got 0"),
        ("baselines=[nope]", "Could not find 'model/nope'"),
        ("baselines=[ease,ease]", "baselines: names one twice: ease, ease"),
        ("overrides={ease: ['model.l3=1']}", "model.l3: there is no such setting"),
        ("variants.recent_popularity=['seed=1']", "variants.recent_popularity: seed=1 would set this run apart"),
        ("seed=4294967295", "seeds: from seed=4294967295 on there are no 5 seeds up to 4294967295"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    override: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fail_here(monkeypatch, capsys, "benchmark", *SHOP, "models=[lstm]", override)
    assert not list(tmp_path.iterdir())


def test_runs_of_one_model_are_one_row_over_seeds_beside_a_model_without_chance(seeded: Path) -> None:
    found = json.loads((seeded / "runs/seeds/comparison/seeds.json").read_text())
    assert [(group["label"], group["seeds"]) for group in found["groups"]] == [
        ("popularity", [0]),
        ("als", [0, 1, 2]),
    ]
    assert found["groups"][0]["figures"]["ndcg@10"]["deviation"] is None
    runs = [RunRecord.open(seeded / "runs/seeds" / f"als-seed{seed}") for seed in range(3)]
    by_seed = [run.metrics["test/ndcg@10"] for run in runs]
    assert [run.identity.seed for run in runs] == [0, 1, 2]
    assert found["groups"][1]["figures"]["ndcg@10"]["by_seed"] == pytest.approx(by_seed, abs=1e-7)


def test_sections_on_single_runs_show_one_seed_and_the_table_for_programs_all(seeded: Path) -> None:
    folder = seeded / "runs/seeds/comparison"
    figures = json.loads((folder / "comparison.json").read_text())
    assert [(run["model"], run["seed"]) for run in figures["runs"]] == [("popularity", 0), ("als", 0)]
    with (folder / "comparison.csv").open() as opened:
        rows = [row for row in csv.DictReader(opened) if row["metric"] == "ndcg@10"]
    assert sorted((row["model"], row["seed"]) for row in rows) == [
        ("als", "0"),
        ("als", "1"),
        ("als", "2"),
        ("popularity", "0"),
    ]
    assert "Of als one run stands here and below: seed 0." in (folder / "comparison.html").read_text()
    assert "Of als one run stands here and below: seed 0." in (folder / "comparison.md").read_text()


def test_more_seeds_go_on_with_those_that_are_finished(seeded: Path) -> None:
    assert (seeded / "again.txt").read_text().splitlines()[:4] == [
        "popularity: finished before, used again (1 of 4)",
        "als, seed 0: finished before, used again (2 of 4)",
        "als, seed 1: finished before, used again (3 of 4)",
        "als, seed 2: training (4 of 4)",
    ]


def test_each_has_the_same_number_of_settings_tried_and_it_is_noted(searched: tuple[Path, str]) -> None:
    folder, printed = searched
    assert "als: choosing among 2 settings by validation" in printed
    runs = [RunRecord.open(folder / "runs/tuned" / name) for name in ("popularity", "als-seed0", "als-seed1")]
    assert [run.trials for run in runs] == [2, 2, 2]
    figures = json.loads((folder / "runs/tuned/comparison/comparison.json").read_text())
    assert [run["trials"] for run in figures["runs"]] == [2, 2]


def test_all_seeds_run_with_what_was_best_on_validation_and_trials_are_not_asked_for_test(
    searched: tuple[Path, str],
) -> None:
    folder, _ = searched
    (search,) = (folder / "runs/tuned/tuning").glob("als-*")
    result = read_result(search)
    assert result.best is not None and len(result.trials) == 2
    for seed in (0, 1):
        run = RunRecord.open(folder / "runs/tuned" / f"als-seed{seed}")
        assert run.config["model"]["embedding_size"] == result.best.settings["model.embedding_size"]
        assert run.config["model"]["l2"] == result.best.settings["model.l2"]
    assert RunRecord.open(folder / "runs/tuned/als-seed0").metrics["validation/ndcg@10"] == result.best.value
    for trial in (search / "trials").iterdir():
        assert not [name for name in RunRecord.open(trial).metrics if name.startswith("test/")]
    assert (search / "search.html").is_file()


def test_the_first_setting_tried_is_the_models_own(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    (search,) = (folder / "runs/tuned/tuning").glob("als-*")
    own = compose("train", ["model=als"])["model"]
    settings = read_result(search).trials[0].settings
    assert settings["model.embedding_size"] == own["embedding_size"] and settings["model.l2"] == own["l2"]


def test_the_same_command_tries_and_trains_nothing_twice(searched: tuple[Path, str]) -> None:
    folder, _ = searched
    printed = succeed(folder, "benchmark.py", *TUNED)
    assert "training" not in printed and "trial 0:" not in printed
    assert "als, seed 1: finished before, used again (3 of 3)" in printed


def test_a_smaller_budget_looks_at_the_first_settings_alone(
    searched: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = searched
    monkeypatch.chdir(folder)
    contender = entered(*TUNED)["als"]
    log = RunRecord.open(folder / "runs/tuned/als-seed0").identity.data.fingerprint
    arguments: Mapping[str, Any] = {"log": log, "overwrite": False}
    point, tried = tuned(contender, space_of(contender), Path("runs/tuned"), trials=1, **arguments)
    assert (point, tried) == (contender.point, 1)
    _, tried = tuned(contender, space_of(contender), Path("runs/tuned"), trials=2, **arguments)
    assert tried == 2


def test_a_search_leaves_alone_what_overrides_state() -> None:
    found = entered("models=[lstm]")
    keys = {one.key for one in space_of(found["recent_popularity"])}
    assert "model.window_days" not in keys and "model.weights.repeats" in keys
    assert {one.key for one in space_of(found["popularity"])} > keys


def test_a_budget_for_a_model_without_a_space_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    own = compose("train", ["model=popularity"])["model"]
    (tmp_path / "mine" / "model" / "own.yaml").write_text(json.dumps(own))
    monkeypatch.chdir(tmp_path)
    given = ("--config-dir", "mine", *SHOP, "models=[own]", "baselines=null", "tuning.trials=2")
    said = fail_here(monkeypatch, capsys, "benchmark", *given)
    assert said.startswith("tuning.trials: own has no space of settings to draw from; write sweep/own_tpe.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
