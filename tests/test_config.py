import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from recdl.config import CONFIGS, build, build_model, check, compose
from recdl.data.splits import TemporalSplit
from recdl.errors import ConfigError
from recdl.models.neighbors import ItemKNN
from recdl.schemas import SCHEMAS
from recdl.signatures import parameters

SPLIT = "recdl.data.splits.temporal.TemporalSplit"
NETWORK = {"_target_": "recdl.models.networks.neumf.NeuMF", "_partial_": True, "mlp_sizes": [8, 4]}
NEUMF = {"_target_": "recdl.training.factorization.FactorizationRecommender", "network": NETWORK}
_REQUIRED = {
    "data=csv": ["data.path=log.csv"],
    "data=jsonl": ["data.path=log.jsonl"],
    "data=parquet": ["data.path=log.parquet"],
    "data=ordered": ["data.path=log.tsv"],
    "data=prepared": ["data.path=prepared/log-0123456789ab"],
    "split=given": ["split.test=test.tsv"],
    "data=ibis": ["data.url=duckdb://shop.duckdb", "data.table=events"],
}


def yaml_files(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


GROUPS = ("data", "engine", "split", "model", "trainer", "tracking", "evaluation")
CHOICES = [f"{group}={choice}" for group in GROUPS for choice in yaml_files(group)]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_yaml_file_passes_the_check(choice: str) -> None:
    group, _, name = choice.partition("=")
    assert compose("train", [choice, *_REQUIRED.get(choice, [])])["names"][group] == name


@pytest.mark.parametrize("choice", CHOICES)
def test_every_yaml_file_lists_every_parameter_of_its_target(choice: str) -> None:
    group, _, name = choice.partition("=")
    node = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text(encoding="utf-8"))
    module, _, target = node["_target_"].rpartition(".")
    of_the_run = {"model": {"trainer", "seed"}, "trainer": {"folder", "tracking", "resume", "after_epoch"}}
    exec(f"from {module} import {target}", scope := dict[str, Any]())
    assert set(parameters(scope[target])) - of_the_run.get(group, set()) == set(node) - {"_target_", "defaults"}


def _chooses_a_model(name: str) -> bool:
    return "override /model:" in (CONFIGS / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")


LEADERBOARDS = [name for name in yaml_files("experiment") if name.startswith("leaderboard_")]
PROTOCOLS = [name for name in yaml_files("experiment") if not _chooses_a_model(name) and name not in LEADERBOARDS]


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("verb", ["train", "benchmark"])
def test_every_protocol_can_be_chosen_by_the_verbs_that_train(verb: str, name: str) -> None:
    config = compose(verb, [f"experiment={name}"])
    assert config["data"]["name"] == name


@pytest.mark.parametrize("name", [name for name in yaml_files("experiment") if _chooses_a_model(name)])
def test_an_experiment_with_a_model_adds_only_that_and_the_training_to_its_protocol(name: str) -> None:
    file = yaml.safe_load((CONFIGS / "experiment" / f"{name}.yaml").read_text(encoding="utf-8"))
    protocol = compose("train", [f"experiment={file['defaults'][0]}"])
    config = compose("train", [f"experiment={name}"])
    assert name.endswith(f"_{config['names']['model']}")
    assert {key for key in config if config[key] != protocol[key]} <= {"model", "trainer", "names"}


@pytest.mark.parametrize("name", LEADERBOARDS)
def test_a_leaderboard_names_its_log_and_settings_that_each_model_has(name: str) -> None:
    config = compose("benchmark", [f"experiment={name}"])
    assert name == f"leaderboard_{config['data']['name']}"
    for model in config["models"]:
        overrides = (config["overrides"] or {}).get(model, ())
        named = [] if any(one.startswith("model=") for one in overrides) else [f"model={model}"]
        compose("train", [*named, *overrides])


def test_a_model_of_the_command_line_goes_before_an_experiments() -> None:
    assert compose("train", ["experiment=ncf_ml1m", "model=ease"])["names"]["model"] == "ease"


@pytest.mark.parametrize("verb", sorted(SCHEMAS))
def test_every_verb_has_a_yaml_file_with_help_of_its_own(verb: str) -> None:
    text = yaml.safe_load((CONFIGS / f"{verb}.yaml").read_text(encoding="utf-8"))["hydra"]["help"]["template"]
    assert "$CONFIG" in text
    assert "Examples:" in text


def test_data_are_looked_for_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECDL_DATA", "/elsewhere")
    assert compose("prepare", ["data=tmall"])["data"]["data_root"] == "/elsewhere"


def test_data_are_looked_for_in_the_working_folder_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECDL_DATA", raising=False)
    assert compose("prepare", ["data=tmall"])["data"]["data_root"] == "data"


def test_the_door_imports_nothing_heavy() -> None:
    heavy = ("torch", "pytorch_lightning", "ibis", "pandas", "pyarrow")
    code = f"import recdl.config, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_users_own_folder_is_searched_too(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: recdl.models.neighbors.ItemKNN\nk: 7\nshrinkage: 1\n")
    config = compose("train", ["model=mine"], folder=tmp_path)
    assert config["names"]["model"] == "mine"
    assert config["model"]["k"] == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=item_knn", "model.kk=3"], r"^model\.kk: there is no such setting; did you mean model\.k\?"),
        (["sed=1"], r"^sed: there is no such setting; did you mean seed\?"),
        (["model=item_knn", "model.k.x=3"], r"^model\.k\.x: there is no such setting: model\.k has no settings"),
        (["modle=lstm"], r"^modle: there is no such setting; did you mean model\?"),
        (["+modl.x=1"], r"^modl: there is no such setting; did you mean model\?"),
        (["+model.learning_rat=1"], r"^model\.learning_rat: .*did you mean model\.learning_rate\?"),
        (["model=neumff"], r"Could not find 'model/neumff'(.|\n)*item_knn"),
        (["model.learning_rate=fast"], r'^model\.learning_rate: expected a number, got "fast"$'),
        (["seed=-1"], r"^seed: Input should be greater than or equal to 0, got -1$"),
        (["seed=true"], r"^seed: expected a whole number, got true$"),
        (["data=csv"], r"^data\.path: must be given: data\.path=\.\.\.$"),
        (["run_dir=${nowhere}"], r"^run_dir: Interpolation key 'nowhere' not found$"),
        (["seed=1,2"], r"Ambiguous value for argument 'seed=1,2'"),
        (["seed"], r"Error parsing override 'seed'"),
        (["~evaluation"], r"^evaluation: is missing; expected a mapping$"),
    ],
)
def test_an_override_that_cannot_be_is_an_error_that_names_its_key(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose("train", overrides)


def test_a_misspelt_key_in_a_users_own_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: recdl.models.neighbors.ItemKNN\nshrinkag: 1\n")
    with pytest.raises(ConfigError, match=r"^model\.shrinkag: .*did you mean model\.shrinkage\?"):
        compose("train", ["model=mine"], folder=tmp_path)


def test_a_file_that_is_no_yaml_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("k: [1\n")
    with pytest.raises(ConfigError, match=r"no YAML: (.|\n)*mine\.yaml"):
        compose("train", ["model=mine"], folder=tmp_path)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        compose("train", folder=tmp_path / "none")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "recdl.storage.shutil.rmtree",
        "recdl.data.splits.Path",
        "recdl.data.splits.parts.fingerprint",  # a function
        "recdl.data.splits.parts.Interactions",  # defined elsewhere
        "recdl.data.splits.report._BLOCK",
        "recdl.models.neighbors.ItemKNN",  # another group's
        "recdl.data.splitsX.TemporalSplit",
        "TemporalSplit",
        "",
    ],
)
def test_a_target_off_the_allow_list_is_refused_by_its_key(target: str) -> None:
    with pytest.raises(ConfigError, match=r"^split\._target_: .* is not allowed here"):
        check({"_target_": target}, group="split")


def test_a_target_hidden_behind_an_interpolation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\._target_: 'os\.system' is not allowed"):
        compose("train", ["run_dir=os.system", "model=popularity", "model._target_=${run_dir}"])


def test_a_nested_target_off_the_allow_list_is_refused() -> None:
    network = {"_target_": "torch.nn.Linear", "_partial_": True}
    with pytest.raises(ConfigError, match=r"^model\.network\._target_: 'torch\.nn\.Linear' is not allowed"):
        check({**NEUMF, "network": network}, group="model")


@pytest.mark.parametrize("value", [[{"_target_": "os.system"}], {"a": {"_target_": "os.system"}}])
def test_a_target_where_nothing_is_constructed_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^split\.target_behaviors.*\._target_: nothing is constructed here"):
        check({"_target_": SPLIT, "target_behaviors": value}, group="split")


@pytest.mark.parametrize("keyword", ["_args_", "_convert_", "_recursive_"])
def test_other_keywords_of_hydra_are_refused(keyword: str) -> None:
    with pytest.raises(ConfigError, match=rf"^split\.{keyword}: is not allowed"):
        check({"_target_": SPLIT, keyword: []}, group="split")


@pytest.mark.parametrize("partial", [True, "yes"])
def test_only_a_part_of_a_model_may_be_partial(partial: Any) -> None:
    with pytest.raises(ConfigError, match=r"^split\._partial_: "):
        check({"_target_": SPLIT, "_partial_": partial}, group="split")


@pytest.mark.parametrize("module", ["recdl.models.neighborz", "recdl.models.neighbors.np"])
def test_a_module_that_does_not_exist_is_named(module: str) -> None:
    with pytest.raises(ConfigError, match=rf"does not exist: there is no module {module}$"):
        check({"_target_": f"{module}.ItemKNN"}, group="model")


def test_a_network_is_no_model() -> None:
    with pytest.raises(ConfigError, match="is no model: it lacks fit, score, get_state, set_state"):
        check({"_target_": "recdl.models.networks.neumf.NeuMF"}, group="model")


@pytest.mark.parametrize("node", [{"test_fraction": 0.1}, {"_target_": 3}, "temporal"])
def test_a_node_without_a_target_is_refused(node: Any) -> None:
    with pytest.raises(ConfigError, match=r"^split: expected a mapping with the name of a class as `_target_`"):
        check(node, group="split")


def test_what_the_run_decides_cannot_be_set_for_the_model() -> None:
    with pytest.raises(ConfigError, match=r"^model\.seed: is set by the run"):
        check({**NEUMF, "seed": 3}, group="model")


def test_a_wrong_type_within_a_network_is_refused_by_its_full_key() -> None:
    with pytest.raises(ConfigError, match=r'^model\.network\.mlp_sizes\[0\]: expected a whole number, got "x"$'):
        check({**NEUMF, "network": {**NETWORK, "mlp_sizes": ["x"]}}, group="model")


def test_building_gives_the_object_with_its_settings() -> None:
    split = build({"_target_": SPLIT, "test_fraction": 0.2, "target_behaviors": ["purchase"]}, group="split")
    assert split == TemporalSplit(test_fraction=0.2, target_behaviors=("purchase",))


def test_what_the_target_itself_refuses_is_told_once_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"^split\.test_fraction must lie between 0 and 1"):
        build({"_target_": SPLIT, "test_fraction": 2.0}, group="split")


def test_extras_go_where_the_signature_asks_for_them() -> None:
    assert build_model(NEUMF, extras={"seed": 3, "unheard_of": 1}).seed == 3
    assert isinstance(build_model({"_target_": "recdl.models.neighbors.ItemKNN"}, extras={"seed": 3}), ItemKNN)


def test_a_partial_network_waits_for_its_sizes() -> None:
    network = build_model(NEUMF).network
    assert isinstance(network, functools.partial)
    assert network.keywords == {"mlp_sizes": [8, 4]}


ENSEMBLE = "recdl.training.ensemble.Ensemble"
KNN = {"_target_": "recdl.models.neighbors.ItemKNN", "k": 7}


def test_members_of_an_ensemble_are_made_by_it_with_their_settings_and_what_the_run_decides() -> None:
    ensemble = build_model({"_target_": ENSEMBLE, "members": {"a": KNN, "b": NEUMF}}, extras={"seed": 3})
    assert ensemble.members_["a"].k == 7
    assert ensemble.members_["b"].seed == 3


def test_members_are_chosen_replaced_and_added_on_the_command_line() -> None:
    overrides = ["model=ensemble", "model@model.members.ease=popularity", "+model@model.members.third=als"]
    members = compose("train", overrides)["model"]["members"]
    assert {name: node["_target_"].split(".")[-1] for name, node in members.items()} == {
        "lstm": "SequenceRecommender",
        "ease": "Popularity",
        "third": "ALS",
    }


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": {"_target_": "os.system"}}, r"^model\.members\.a\._target_: 'os\.system' is not allowed here"),
        ({"a": {**KNN, "kk": 1}}, r"^model\.members\.a\.kk: there is no such setting; did you mean"),
        ({"a": {**KNN, "k": "x"}}, r"^model\.members\.a\.k: expected a whole number, got \"x\"$"),
        ({"a": {**NEUMF, "seed": 1}}, r"^model\.members\.a\.seed: is set by the run"),
        ({"a": {**KNN, "_partial_": True}}, r"^model\.members\.a\._partial_: "),
        ({"a": NETWORK}, r"^model\.members\.a\._partial_: "),
        ({"a": {"_target_": SPLIT}}, r"^model\.members\.a\._target_: .* is not allowed here"),
        ({"a": 3}, r"^model\.members\.a: expected a mapping with the name of a class"),
        (
            {"a": {"_target_": "recdl.models.networks.neumf.NeuMF"}},
            r"^model\.members\.a\._target_: .* is no model",
        ),
        ({}, r"^model\.members is empty; name some models"),
    ],
)
def test_a_member_that_cannot_be_is_refused_by_its_key(members: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build({"_target_": ENSEMBLE, "members": members}, group="model")


def test_models_are_made_nowhere_but_where_members_are_asked_for() -> None:
    with pytest.raises(
        ConfigError, match=r"^model\.behavior_weights\.view\._target_: nothing is constructed here"
    ):
        check({**NEUMF, "behavior_weights": {"view": KNN}}, group="model")
