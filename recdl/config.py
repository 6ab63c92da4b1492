"""The one door from YAML to objects: compose a configuration, check all of it, then construct what it names.

Three guards stand at the door. A misspelt key is an error; a `_target_` must be a public class of recdl that its
group may hold, since instantiating executes code; every value must be of the type that the target's signature asks
for. Nothing here imports a model, torch or a database before a configuration asks for it.
"""

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from recdl.errors import ConfigError, RecdlError
from recdl.schemas import SCHEMAS
from recdl.signatures import annotations, checked_settings, naming, no_such_setting, parameters, typed_arguments

if TYPE_CHECKING:
    from omegaconf import DictConfig

_INSTALLED = Path(__file__).parent / "configs"
CONFIGS: Path = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parent.parent / "configs"
"""The folder of the YAML files: inside the package when installed as a wheel, beside it in a checkout."""

_MODULES = {
    "data": ("recdl.data.sources", "recdl.data.shop", "recdl.data.ordered", "recdl.data.prepared_source"),
    "engine": ("recdl.data.engines",),
    "split": ("recdl.data.splits",),
    "model": ("recdl.models", "recdl.training"),
    "trainer": ("recdl.training",),
    "tracking": ("recdl.training",),
    "evaluation": ("recdl.evaluation.protocol",),
}
_METHODS = {"model": ("fit", "score", "get_state", "set_state"), "split": ("split",), "engine": ("workspace",)}
_EXTRAS = {"model": ("trainer", "seed"), "trainer": ("folder", "tracking", "resume", "after_epoch")}


def compose(name: str, overrides: Sequence[str] = (), *, folder: Path | None = None) -> dict[str, Any]:
    """Compose `configs/<name>.yaml` with Hydra overrides, resolve it and check all of it.

    Args:
        name: A verb: train, prepare, compare, ...
        overrides: As on the command line: `["model=lstm", "model.learning_rate=0.01"]`.
        folder: The user's own YAML files, searched beside `CONFIGS`.

    Raises:
        ConfigError: If an override, a key, a value or a target cannot be what it should be; it names the key.
    """
    composed = compose_unchecked(name, overrides, folder=folder)
    return resolve(name, composed, choices=composed.hydra.runtime.choices)


def compose_unchecked(name: str, overrides: Sequence[str] = (), *, folder: Path | None = None) -> "DictConfig":
    """Let Hydra compose a configuration, with its own node `hydra`, and check nothing yet.

    Raises:
        ConfigError: If Hydra cannot compose it; it names the override or file.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--config-dir {folder}: there is no such folder")
    searched = [] if folder is None else [f"hydra.searchpath=['file://{folder.resolve()}']"]
    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # that of the command line, if any
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return hydra_compose(name, [*overrides, *searched], return_hydra_config=True)
    except YAMLError as error:
        raise ConfigError(f"a configuration file is no YAML: {error}") from error
    except (HydraException, OmegaConfBaseException) as error:
        message = str(error).split("\nConfig search path")[0].strip()
        unknown = re.match(r"Could not override '([^'@]+)'", message)
        others = [one for one in overrides if unknown and one.partition("=")[0] != unknown[1]]
        if unknown and len(others) < len(overrides):
            message = _no_such_override(compose_unchecked(name, others, folder=folder), unknown[1])
        raise ConfigError(message) from error
    finally:
        GlobalHydra.instance().hydra = running


def _no_such_override(config: "DictConfig", key: str) -> str:
    """Say where `key`, the key of an override, leaves the settings there are, and what it may have meant."""
    from omegaconf import OmegaConf

    known: Any = OmegaConf.to_container(config, resolve=False)
    parts = key.replace("/", ".").split(".")
    for depth, part in enumerate(parts):
        if not isinstance(known, dict):
            return f"{key}: there is no such setting: {'.'.join(parts[:depth])} has no settings of its own"
        if part not in known:
            names = [name for name in known if name not in ("hydra", "_target_")]
            return no_such_setting(".".join(parts[: depth + 1]), names)
        known = known[part]
    return f"{key}: cannot be overridden"


def resolve(name: str, composed: "DictConfig", *, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Hydra composed for a verb as plain, checked values: every interpolation resolved.

    Args:
        name: The verb.
        composed: With or without Hydra's own node.
        choices: The YAML file chosen in each group; kept under `names`, for reports.

    Raises:
        ConfigError: As `compose` does.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: must be given: {error.full_key}=...") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict), "a verb's configuration is a mapping"
    config = {str(key): value for key, value in plain.items()}
    groups = [group for group in _MODULES if group in choices]
    config["names"] = {group: str(choices[group]) for group in (*groups, "sweep") if group in choices}
    checked_settings(SCHEMAS[name], config)
    for group in groups:
        check(config[group], group=group)
    return config


def check(node: Mapping[str, Any], *, group: str) -> None:
    """Check everything about a group's node but what only its target's constructor knows.

    Raises:
        ConfigError: If the target is not allowed, a key unknown or missing, or a value of the wrong type.
    """
    _plan(node, group=group, key=group, whole=True)


def build(node: Mapping[str, Any], *, group: str, extras: Mapping[str, Any] | None = None) -> Any:
    """Check a group's node, then construct what it names.

    Args:
        node: `_target_` and the target's parameters.
        group: data, engine, split, model, trainer, tracking or evaluation.
        extras: What the run and not the YAML file decides (a seed, a folder), passed where the signature asks.

    Raises:
        ConfigError: As `check` does, and if the target refuses a value.
    """
    plan = _plan(node, group=group, key=group, whole=True)
    asked = parameters(plan.target)
    return plan.construct({name: value for name, value in (extras or {}).items() if name in asked})


def build_model(node: Mapping[str, Any], *, extras: Mapping[str, Any] | None = None) -> Any:
    """Construct a recommender, unfitted, from its node: see `build`."""
    return build(node, group="model", extras=extras)


def takes_seed(node: Mapping[str, Any]) -> bool:
    """Return whether something random goes into the model of a node: its constructor asks for a seed.

    Raises:
        ConfigError: As `check` does.
    """
    return "seed" in parameters(_plan(node, group="model", key="model", whole=True).target)


@dataclass(frozen=True)
class _Plan:
    """What is to be constructed, all of it checked."""

    target: type
    arguments: dict[str, Any]
    nested: "dict[str, _Plan]"
    members: "dict[str, dict[str, _Plan]]"
    partial: bool
    key: str

    def construct(self, extras: Mapping[str, Any]) -> Any:
        make = self.factory(extras)
        try:
            return make if self.partial else make()
        except (RecdlError, ValueError, AssertionError) as error:
            raise ConfigError(naming(self.key, error)) from error

    def factory(self, extras: Mapping[str, Any]) -> Callable[..., Any]:
        parts = {name: plan.construct({}) for name, plan in self.nested.items()}
        members = {
            name: {one: plan.factory({}) for one, plan in plans.items()} for name, plans in self.members.items()
        }
        return functools.partial(self.target, **(self.arguments | parts | members | dict(extras)))


def _plan(node: Mapping[str, Any], *, group: str, key: str, whole: bool) -> _Plan:
    """Check a node.

    Args:
        node: `_target_` and the target's parameters.
        group: Of the node.
        key: Where it stands.
        whole: Whether it is what its group is about (a model), and no part of one (a network).
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise ConfigError(f"{key}: expected a mapping with the name of a class as `_target_`, got {node!r}")
    given = {str(name): value for name, value in node.items() if name not in ("_target_", "_partial_")}
    for name in given:
        if name.startswith("_"):
            raise ConfigError(f"{key}.{name}: is not allowed in a configuration of recdl")
    partial = node.get("_partial_", False)
    if (partial and (whole or group != "model")) or not isinstance(partial, bool):
        raise ConfigError(f"{key}._partial_: is true or false, and only allowed for a part of a model")
    target = _target(node["_target_"], group=group, key=key, whole=whole)
    known = parameters(target)
    extras = _EXTRAS.get(group, ()) if whole else ()
    for name in given:
        if name in extras:
            raise ConfigError(f"{key}.{name}: is set by the run, not by the {group}'s own settings")
        if name not in known:
            raise ConfigError(no_such_setting(f"{key}.{name}", set(known) - set(extras)))
    parts = {name: value for name, value in given.items() if isinstance(value, Mapping) and "_target_" in value}
    nested = {name: _plan(value, group=group, key=f"{key}.{name}", whole=False) for name, value in parts.items()}
    for name, plan in nested.items():
        _check_part(plan, annotations(target).get(name, Any))
    members = {
        name: {
            str(one): _plan(member, group=group, key=f"{key}.{name}.{one}", whole=True)
            for one, member in value.items()
        }
        for name, value in given.items()
        if isinstance(value, Mapping) and _holds_models(annotations(target).get(name))
    }
    plain = {name: value for name, value in given.items() if name not in nested and name not in members}
    for name, value in plain.items():
        _refuse_targets(value, key=f"{key}.{name}")
    required = [
        name
        for name, parameter in known.items()
        if parameter.default is inspect.Parameter.empty
        and name not in nested
        and name not in members
        and name not in extras
        and not partial
    ]
    arguments = typed_arguments(target, plain, required=required, key=key)
    return _Plan(target, arguments, nested, members, partial, key)


def _holds_models(annotation: Any) -> bool:
    """Return whether a parameter is a mapping to models, each of which its owner makes."""
    if get_origin(annotation) is not Mapping:
        return False
    from recdl.models.protocol import ModelFactory

    return get_args(annotation)[1] is ModelFactory


def _target(path: str, *, group: str, key: str, whole: bool) -> type:
    """Return the class at `path`, if the group may hold it; only modules of the group's own are ever imported."""
    module_name, _, name = path.rpartition(".")
    allowed = _MODULES[group]
    refusal = ConfigError(
        f"{key}._target_: {path!r} is not allowed here: only public classes defined in {' or '.join(allowed)} are"
    )
    inside = any(module_name == module or module_name.startswith(f"{module}.") for module in allowed)
    if not inside or any(part.startswith("_") for part in path.split(".")):
        raise refusal
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ConfigError(f"{key}._target_: {path!r} does not exist: there is no module {missing}") from error
        raise ConfigError(f"{key}._target_: {path!r} needs the package {missing!r}; pip install it") from error
    found = getattr(module, name, None)
    if not inspect.isclass(found) or found.__module__ != module_name:
        raise refusal
    if whole and not all(callable(getattr(found, method, None)) for method in _METHODS.get(group, ())):
        raise ConfigError(f"{key}._target_: {path!r} is no {group}: it lacks {', '.join(_METHODS[group])}")
    return found


def _check_part(plan: _Plan, expected: Any) -> None:
    if inspect.isclass(expected) and not (plan.partial or issubclass(plan.target, expected)):
        raise ConfigError(f"{plan.key}: expected a {expected.__name__}, got a {plan.target.__name__}")


def _refuse_targets(value: Any, *, key: str) -> None:
    """Refuse a `_target_` where nothing is constructed: it is a mistake, or a try at the door."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            raise ConfigError(f"{key}._target_: nothing is constructed here; remove it")
        for name, inner in value.items():
            _refuse_targets(inner, key=f"{key}.{name}")
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            _refuse_targets(inner, key=f"{key}[{position}]")
