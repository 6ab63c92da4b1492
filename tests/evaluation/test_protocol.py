from dataclasses import replace
from typing import Any

import pytest
from omegaconf import OmegaConf

from recdl.config import CONFIGS, build
from recdl.errors import ConfigError
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.metrics.ranking import RANKING_METRICS

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
    "change", [{"exclude_history": True}, {"candidates": "catalogue"}, {"confidence": 0.9}, {"n_bootstrap": 999}]
)
def test_the_fingerprint_changes_with_what_moves_a_figure_or_its_interval(change: dict[str, Any]) -> None:
    assert replace(PROTOCOL, **change).fingerprint != PROTOCOL.fingerprint


@pytest.mark.parametrize("change", [{"metrics": ("hr",)}, {"cutoffs": (5, 10)}])
def test_the_fingerprint_does_not_change_with_which_figures_are_computed(change: dict[str, Any]) -> None:
    assert replace(PROTOCOL, **change).fingerprint == PROTOCOL.fingerprint


@pytest.mark.parametrize("rule", ["METRIC_VERSION", "TIE_RULE", "CANDIDATE_RULE"])
def test_the_fingerprint_changes_with_the_rules_in_the_code(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = PROTOCOL.fingerprint
    monkeypatch.setattr(f"recdl.evaluation.protocol.{rule}", 99)
    assert PROTOCOL.fingerprint != before


@pytest.mark.parametrize(("name", "exclude_history"), [("full", False), ("unseen", True)])
def test_a_config_measures_everything_and_differs_in_what_its_name_says(name: str, exclude_history: bool) -> None:
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / "evaluation" / f"{name}.yaml"))
    assert build(config, group="evaluation") == EvaluationProtocol(
        metrics=(*RANKING_METRICS, "coverage"),
        cutoffs=(5, 10, 20),
        exclude_history=exclude_history,
        confidence=0.95,
        n_bootstrap=1000,
    )
