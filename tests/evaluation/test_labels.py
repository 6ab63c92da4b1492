from pathlib import Path

from recdl.evaluation.labels import differing_settings, run_labels
from tests.evaluation.runs import write_run


def test_runs_of_different_models_are_called_by_their_model(tmp_path: Path) -> None:
    records = [write_run(tmp_path / "a", "lstm", seed=1), write_run(tmp_path / "b", "neumf", seed=2)]
    assert run_labels(records) == ["lstm", "neumf"]


def test_runs_of_one_model_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", "lstm", settings={"learning_rate": 0.1, "k": 5}),
        write_run(tmp_path / "b", "lstm", settings={"learning_rate": 0.2, "k": 5}),
        write_run(tmp_path / "c", "popularity"),
    ]
    assert run_labels(records) == ["lstm (learning_rate=0.1)", "lstm (learning_rate=0.2)", "popularity"]


def test_seeds_tell_runs_apart(tmp_path: Path) -> None:
    records = [write_run(tmp_path / str(seed), "lstm", seed=seed) for seed in (0, 7)]
    assert run_labels(records) == ["lstm (seed=0)", "lstm (seed=7)"]


def test_a_setting_whose_last_name_is_not_enough_is_named_in_full(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", "lstm", settings={"size": 1, "network": {"size": 1}}),
        write_run(tmp_path / "b", "lstm", settings={"size": 2, "network": {"size": 2}}),
    ]
    assert run_labels(records)[0] == "lstm (model.size=1, model.network.size=1)"


def test_runs_of_the_same_settings_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    records = [write_run(tmp_path / name, "lstm") for name in ("monday", "tuesday")]
    assert run_labels(records) == ["lstm [monday]", "lstm [tuesday]"]


def test_labels_are_distinct_even_where_folders_share_a_name(tmp_path: Path) -> None:
    records = [write_run(tmp_path / name / "run", "lstm") for name in ("a", "b")]
    assert run_labels(records) == ["lstm [run] #1", "lstm [run] #2"]


def test_a_setting_that_one_run_lacks_differs(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", settings={"k": 5, "shrinkage": 1.0}),
        write_run(tmp_path / "b", settings={"k": 5}),
    ]
    assert differing_settings(records) == [{"model.shrinkage": 1.0}, {"model.shrinkage": None}]


def test_where_files_lie_is_no_setting(tmp_path: Path) -> None:
    records = [write_run(tmp_path / name) for name in ("a", "b")]  # their configs hold their run_dir
    assert differing_settings(records) == [{}, {}]
