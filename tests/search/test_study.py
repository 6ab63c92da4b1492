import sqlite3
from pathlib import Path
from typing import Any

import pytest

from recdl.errors import RecordError
from recdl.search.settings import SearchSettings
from recdl.search.space import parse_space
from recdl.search.study import STUDY, Study, read_result
from recdl.search.trials import SearchResult, TrialResult, failures_in_a_row

pytest.importorskip("optuna")

SPACE = {"model": {"l2": {"low": 0.001, "high": 1.0, "log": True}, "sizes": {"choices": [[8], [16, 8], None]}}}
DEFAULTS = {"model.l2": 0.1, "model.sizes": [16, 8]}


def opened(folder: Path, *, space: dict[str, Any] = SPACE, seed: int = 0, **settings: Any) -> Study:
    settings = {"total": 12, "startup_trials": 3, **settings}
    return Study.open(
        folder,
        SearchSettings(space=space, **settings),
        parse_space(space),
        metric="ndcg@10",
        defaults=DEFAULTS,
        seed=seed,
    )


def value_of(settings: Any) -> float:
    return -abs(settings["model.l2"] - 0.2) - (settings["model.sizes"] is None)


def run(study: Study, n: int = 100) -> list[Any]:
    """Finish up to n trials, one after the other, and return their settings."""
    tried = []
    while len(tried) < n and (proposal := study.next()) is not None:
        study.finish(proposal.number, value_of(proposal.settings))
        tried.append(proposal.settings)
    return tried


def test_the_models_own_settings_are_tried_first(tmp_path: Path) -> None:
    assert run(opened(tmp_path), 1) == [DEFAULTS]


def test_a_search_makes_as_many_trials_as_it_is_told(tmp_path: Path) -> None:
    assert len(run(opened(tmp_path))) == 12
    assert run(opened(tmp_path)) == []
    assert len(run(opened(tmp_path, total=14))) == 2


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = run(opened(tmp_path / "a"))
    first = run(opened(tmp_path / "b"), 4)
    study = opened(tmp_path / "b")
    cut_off = study.next()
    assert cut_off is not None
    rest = run(opened(tmp_path / "b"))
    assert first + rest == whole
    assert rest[0] == cut_off.settings


def test_no_trial_is_repeated_where_settings_are_few_and_all_of_them_are_tried(tmp_path: Path) -> None:
    space = {"model": {"k": {"low": 1, "high": 3}, "similarity": {"choices": ["cosine", "dot"]}}}
    study = Study.open(
        tmp_path,
        SearchSettings(space=space, total=50, startup_trials=2),
        parse_space(space),
        metric="ndcg@10",
        defaults={"model.k": 2, "model.similarity": "dot"},
        seed=0,
    )
    tried = []
    while (proposal := study.next()) is not None:
        tried.append((proposal.settings["model.k"], proposal.settings["model.similarity"]))
        study.finish(proposal.number, float(proposal.number % 3))
    assert sorted(tried) == [(k, name) for k in (1, 2, 3) for name in ("cosine", "dot")]
    assert len(read_result(tmp_path).trials) == 6


def test_trials_at_one_time_differ(tmp_path: Path) -> None:
    space = {"model": {"k": {"low": 1, "high": 2}}}
    study = Study.open(
        tmp_path,
        SearchSettings(space=space, total=5),
        parse_space(space),
        metric="ndcg@10",
        defaults={"model.k": 100},
        seed=0,
    )
    both = [study.next(), study.next()]
    assert {one.settings["model.k"] for one in both if one is not None} == {1, 2}
    assert study.next() is None


def test_what_is_no_number_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    study = opened(tmp_path)
    proposal = study.next()
    assert proposal is not None
    study.finish(proposal.number, float("nan"))
    (trial,) = read_result(tmp_path).trials
    assert (trial.outcome, trial.value, trial.reason) == ("failed", None, "its metric on validation is nan")


def test_failures_are_kept_and_count_as_trials(tmp_path: Path) -> None:
    study = opened(tmp_path, total=2)
    for reason in ("no memory", "diverged"):
        proposal = study.next()
        assert proposal is not None
        study.fail(proposal.number, reason)
    assert study.next() is None
    assert [trial.reason for trial in read_result(tmp_path).trials] == ["no memory", "diverged"]
    assert read_result(tmp_path).best is None


def test_a_trial_below_the_median_of_the_others_at_its_epoch_is_ended_after_the_warmup(tmp_path: Path) -> None:
    study = opened(tmp_path, startup_trials=2, warmup_epochs=1)
    for _ in range(2):
        good = study.next()
        assert good is not None
        assert [study.report(good.number, epoch, 0.5) for epoch in range(3)] == [False, False, False]
        study.finish(good.number, 0.5)
    bad = study.next()
    assert bad is not None
    assert [study.report(bad.number, epoch, 0.1) for epoch in range(2)] == [False, True]
    study.prune(bad.number)
    trial = read_result(tmp_path).trials[-1]
    assert (trial.outcome, trial.value, trial.epochs) == ("pruned", None, {0: 0.1, 1: 0.1})


def test_without_a_pruner_no_trial_is_ended(tmp_path: Path) -> None:
    study = opened(tmp_path, startup_trials=0, warmup_epochs=0, pruner="none")
    run(study, 5)
    bad = study.next()
    assert bad is not None
    assert not study.report(bad.number, 0, -100.0)


def test_tpe_comes_near_the_best_twice_as_often_as_chance(tmp_path: Path) -> None:
    def near(sampler: str) -> int:
        study = opened(tmp_path / sampler, total=40, sampler=sampler, seed=1)
        return sum(value_of(settings) > -0.15 for settings in run(study))

    assert near("tpe") >= 2 * near("random")


def test_the_setting_that_decides_is_the_important_one(tmp_path: Path) -> None:
    study = opened(tmp_path, total=30, sampler="random")
    while (proposal := study.next()) is not None:
        study.finish(proposal.number, -abs(float(proposal.settings["model.l2"]) - 0.2))  # type: ignore[arg-type]
    importances = read_result(tmp_path).importances
    assert next(iter(importances)) == "model.l2"
    assert importances["model.l2"] > 0.8
    assert sum(importances.values()) == pytest.approx(1.0)


def test_a_folder_without_a_search_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"^there is no sweep at .*: it holds no study\.db"):
        read_result(tmp_path)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / STUDY).write_text("no database")
    with pytest.raises(RecordError, match=r"study\.db is damaged, or of another version of Optuna"):
        read_result(tmp_path)


def test_another_database_is_told(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / STUDY)
    connection.execute("create table cats (name text)")
    connection.close()
    with pytest.raises(RecordError, match=r"study\.db is damaged, or of another version of Optuna"):
        read_result(tmp_path)


def test_the_best_so_far_never_falls_and_the_first_of_equals_is_best() -> None:
    values = [None, 0.2, 0.5, 0.1, 0.5]
    trials = [
        TrialResult(number, {}, "failed" if value is None else "finished", value)
        for number, value in enumerate(values)
    ]
    result = SearchResult("ndcg@10", tuple(trials))
    assert result.best_so_far() == [None, 0.2, 0.5, 0.5, 0.5]
    assert result.best is trials[2]
    assert [failures_in_a_row(trials[:n]) for n in range(3)] == [0, 1, 0]
