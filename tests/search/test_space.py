import math
import random
from typing import Any

import pytest

from recdl.commands.searching import check_space
from recdl.config import CONFIGS, build, build_model, compose
from recdl.errors import ConfigError
from recdl.search.settings import SearchSettings
from recdl.search.space import Dimension, Value, check_keys, parse_space, settings_at, with_settings

SPACES = sorted(path.stem for path in (CONFIGS / "sweep").glob("*.yaml"))
MODELS = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))


def drawn(dimension: Dimension, generator: random.Random) -> Value:
    if dimension.choices is not None:
        return generator.choice(dimension.choices)
    if dimension.whole:
        return generator.randrange(int(dimension.low), int(dimension.high) + 1, int(dimension.step or 1))
    return generator.uniform(dimension.low, dimension.high)


def test_every_model_has_a_search_space() -> None:
    assert [f"{model}_tpe" for model in MODELS] == SPACES


@pytest.mark.parametrize("name", SPACES)
def test_a_shipped_space_is_of_its_model_and_every_edge_is_a_setting_that_it_takes(name: str) -> None:
    config = compose("sweep", [f"sweep={name}"])
    assert f"{config['names']['model']}_tpe" == name
    check_space(config, parse_space(config["sweep"]["space"]))


@pytest.mark.parametrize("name", SPACES)
def test_settings_drawn_from_a_shipped_space_make_a_model_together(name: str) -> None:
    config = compose("sweep", [f"sweep={name}"])
    dimensions = parse_space(config["sweep"]["space"])
    trainer = build(config["trainer"], group="trainer")
    for seed in range(10):
        generator = random.Random(seed)
        point = with_settings(config, {one.key: drawn(one, generator) for one in dimensions})
        assert build_model(point["model"], extras={"trainer": trainer, "seed": 0}) is not None


@pytest.mark.parametrize("name", SPACES)
def test_what_the_models_own_file_says_lies_in_its_space(name: str) -> None:
    config = compose("sweep", [f"sweep={name}"])
    dimensions = parse_space(config["sweep"]["space"])
    known = settings_at(config, dimensions)
    assert [one.key for one in dimensions if not one.holds(known[one.key])] == []


def test_a_range_of_whole_numbers_is_told_from_one_of_numbers() -> None:
    whole, number = parse_space({"model": {"k": {"low": 1, "high": 9}, "l2": {"low": 1, "high": 9.0}}})
    assert (whole.key, whole.whole, whole.n_values) == ("model.k", True, 9)
    assert (number.key, number.whole, number.n_values) == ("model.l2", False, math.inf)


@pytest.mark.parametrize(
    ("leaf", "n_values"),
    [
        ({"low": 0.0, "high": 0.6, "step": 0.1}, 7),
        ({"low": 4, "high": 24, "step": 4}, 6),
        ({"low": 2.0, "high": 2.0}, 1),
        ({"choices": [[1], [1, 4], None]}, 3),
    ],
)
def test_values_that_can_be_counted_are(leaf: dict[str, Any], n_values: int) -> None:
    (dimension,) = parse_space({"model": {"a": leaf}})
    assert dimension.n_values == n_values


def test_what_lies_on_a_step_lies_in_the_range_and_what_lies_between_does_not() -> None:
    (dimension,) = parse_space({"model": {"a": {"low": 0.0, "high": 0.6, "step": 0.1}}})
    assert dimension.holds(0.3)
    assert not dimension.holds(0.35)
    assert not dimension.holds(0.7)
    assert not dimension.holds(True)
    assert not dimension.holds("0.3")


def test_true_is_no_choice_of_a_list_with_one() -> None:
    (dimension,) = parse_space({"model": {"a": {"choices": [1, 2]}}})
    assert dimension.holds(1)
    assert not dimension.holds(True)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, r"^sweep\.space is empty; choose one \(sweep=neumf_tpe\)"),
        ({"model": {"k": 3}}, r"^sweep\.space\.model\.k: expected a range \{low: \.\.\., high: \.\.\.\} or"),
        ({"model": {"k": {"low": 1, "hihg": 2}}}, r"^sweep\.space\.model\.k\.hihg: .*did you mean .*\.high\?"),
        ({"model": {"k": {"low": 1}}}, r"^sweep\.space\.model\.k\.high: is missing"),
        ({"model": {"k": {"low": "1", "high": 2}}}, r"^sweep\.space\.model\.k\.low: expected a number, got '1'"),
        ({"model": {"k": {"low": 1, "high": math.inf}}}, r"high: expected a number, got inf"),
        ({"model": {"k": {"low": 3, "high": 2}}}, r"^sweep\.space\.model\.k: low \(3\) lies above high \(2\)"),
        ({"model": {"k": {"low": 0, "high": 2, "log": True}}}, r"by the logarithm begins above 0, not at 0"),
        ({"model": {"k": {"low": 1, "high": 2, "log": 1}}}, r"log: expected true or false, got 1"),
        ({"model": {"k": {"low": 1, "high": 2, "step": 0}}}, r"step: must be above 0"),
        ({"model": {"k": {"low": 1, "high": 2, "step": 0.5}}}, r"step: expected a whole number between"),
        (
            {"model": {"k": {"choices": []}}},
            r"^sweep\.space\.model\.k\.choices: expected a list of values, got \[\]",
        ),
        ({"model": {"k": {"choices": [1, 1]}}}, r"names a value twice: \[1, 1\]"),
        ({"model": {"k": {"choices": [1], "low": 1}}}, r"has choices and a range; give one of them"),
    ],
)
def test_what_is_no_space_is_refused_by_its_key(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_space(space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"model": {"learning_rat": {"low": 1, "high": 2}}},
            r"^sweep\.space\.model\.learning_rat: there is no such",
        ),
        ({"modl": {"k": {"low": 1, "high": 2}}}, r"only settings of model and trainer are searched over"),
        ({"split": {"test_fraction": {"low": 0.1, "high": 0.2}}}, r"cannot be compared"),
        ({"seed": {"low": 1, "high": 2}}, r"^sweep\.space\.seed: only settings of model and trainer"),
        ({"trainer": {"monitor": {"choices": ["hr@10"]}}}, r"trials are compared by it; it is the same for all"),
        ({"model": {"network": {"choices": [1]}}}, r"^sweep\.space\.model\.network: has settings of its own"),
        ({"model": {"_target_": {"choices": ["os.system"]}}}, r"^sweep\.space\.model\._target_: there is no such"),
        (
            {"model": {"loss": {"kind": {"choices": ["bpr"]}}}},
            r"^sweep\.space\.model\.loss\.kind: there is no such",
        ),
    ],
)
def test_a_space_over_what_is_no_setting_of_the_model_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_keys(parse_space(space), compose("train", ["model=neumf"]))


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ({"low": 0.0, "high": 0.1}, r"^sweep\.space\.model\.learning_rate holds 0\.0: model\.learning_rate"),
        ({"choices": ["fast"]}, r"^sweep\.space\.model\.learning_rate holds 'fast': .* expected a number"),
    ],
)
def test_an_edge_that_the_model_does_not_take_is_refused(leaf: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_space(compose("sweep"), parse_space({"model": {"learning_rate": leaf}}))


@pytest.mark.parametrize("name", ["total", "workers", "max_failures"])
def test_a_search_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^sweep\.{name} must be at least 1, not 0"):
        SearchSettings(space={}, **{name: 0})


@pytest.mark.parametrize("name", ["startup_trials", "warmup_epochs"])
def test_less_than_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^sweep\.{name} must be at least 0, not -1"):
        SearchSettings(space={}, **{name: -1})


def test_settings_are_put_where_they_belong_and_the_original_stays() -> None:
    config = {"model": {"network": {"size": 1}, "l2": 0.1}}
    assert with_settings(config, {"model.network.size": 2}) == {"model": {"network": {"size": 2}, "l2": 0.1}}
    assert config["model"]["network"] == {"size": 1}
