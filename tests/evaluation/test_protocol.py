from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from omegaconf import OmegaConf

from recdl.config import CONFIGS, build
from recdl.errors import ConfigError
from recdl.evaluation.protocol import CategoryColumn, EvaluationProtocol, SampledCandidates
from recdl.metrics.ranking import RANKING_METRICS

_OF_LISTS = ("coverage", "gini", "entropy", "popularity", "novelty", "diversity", "serendipity", "repeat")
PROTOCOL = EvaluationProtocol(metrics=("ndcg", "coverage"), cutoffs=(10,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ("ndcg", "ndgc")}, "metrics: 'ndgc' is no metric; choose from hr, recall.*coverage"),
        ({"metrics": ()}, "metrics: name at least one"),
        ({"metrics": ("hr", "hr")}, "metrics: name at least one, and none twice"),
        ({"cutoffs": ()}, "cutoffs: name at least one"),
        ({"cutoffs": (5, 5)}, "cutoffs: name at least one, and none twice"),
        ({"cutoffs": (5, 0)}, r"cutoffs: each must be at least 1, not \[5, 0\]"),
        ({"metrics": ("weighted_ndcg",)}, "metrics: weighted_ndcg needs gains: a number by behaviour"),
        ({"metrics": ("miscalibration",)}, "metrics: miscalibration needs item_category: a column"),
        ({"gains": {"view": -1.0}}, "gains.view: must be 0 or more, and finite, not -1.0"),
        ({"gains": "price"}, "gains: a number by behaviour, weight or null, not 'price'"),
        ({"user_groups": ("age", "age")}, r"user_groups: name none twice, not \['age', 'age'\]"),
        ({"candidates": "all"}, "candidates: trained or catalogue, not 'all'"),
        ({"confidence": 1.0}, "confidence: must lie between 0 and 1, not 1.0"),
        ({"confidence": 0.0}, "confidence: must lie between 0 and 1, not 0.0"),
        ({"n_bootstrap": 0}, "n_bootstrap: must be at least 1, not 0"),
    ],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PROTOCOL, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"exclude_history": True},
        {"candidates": "catalogue"},
        {"cutoffs": (5, 10)},
        {"sampled": SampledCandidates(99)},
        {"gains": {"purchase": 5.0}},
        {"item_category": CategoryColumn("genre")},
        {"confidence": 0.9},
        {"n_bootstrap": 999},
    ],
)
def test_the_fingerprint_changes_with_what_moves_a_figure_or_its_interval(change: dict[str, Any]) -> None:
    assert replace(PROTOCOL, **change).fingerprint != PROTOCOL.fingerprint


def test_the_fingerprint_does_not_change_with_which_figures_are_computed() -> None:
    assert replace(PROTOCOL, metrics=("hr",)).fingerprint == PROTOCOL.fingerprint


def test_a_draw_of_candidates_has_a_fingerprint_of_its_own() -> None:
    draws = [SampledCandidates(99), SampledCandidates(99, "popularity"), SampledCandidates(99, seed=1)]
    assert len({replace(PROTOCOL, sampled=draw).fingerprint for draw in draws}) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SampledCandidates(0), "sampled.n: must be at least 1, not 0"),
        (lambda: SampledCandidates(9, "evenly"), "sampled.by: uniform or popularity, not 'evenly'"),
        (lambda: SampledCandidates(9, seed=-1), "sampled.seed: must be at least 0, not -1"),
        (lambda: CategoryColumn("genre", ""), "item_category: name a column, and no empty separator"),
    ],
)
def test_a_part_of_a_protocol_out_of_range_is_an_error_that_names_it(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("rule", ["METRIC_VERSION", "TIE_RULE", "CANDIDATE_RULE"])
def test_the_fingerprint_changes_with_the_rules_in_the_code(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = PROTOCOL.fingerprint
    monkeypatch.setattr(f"recdl.evaluation.protocol.{rule}", 99)
    assert PROTOCOL.fingerprint != before


@pytest.mark.parametrize(("name", "exclude_history"), [("full", False), ("unseen", True)])
def test_a_config_measures_all_that_needs_no_table_and_differs_in_what_its_name_says(
    name: str, exclude_history: bool
) -> None:
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / "evaluation" / f"{name}.yaml"))
    assert build(config, group="evaluation") == EvaluationProtocol(
        metrics=(*RANKING_METRICS, "auc", *_OF_LISTS),
        cutoffs=(5, 10, 20),
        exclude_history=exclude_history,
        user_groups=("activity", "newness"),
        item_groups=("popularity",),
        confidence=0.95,
        n_bootstrap=1000,
    )
