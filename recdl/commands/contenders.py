"""Who takes part in a benchmark: models and baselines, each with its settings, its seeds and its search space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recdl.commands.application import added_folder
from recdl.commands.searching import check_same, check_space, check_trainer, held, search, shared_settings
from recdl.config import CONFIGS, compose, takes_seed
from recdl.errors import ConfigError, RecordError
from recdl.schemas import BenchmarkSettings
from recdl.search.report import write_search
from recdl.search.settings import SearchSettings
from recdl.search.space import Dimension, parse_space, with_settings
from recdl.search.trials import SearchResult
from recdl.storage import fingerprint

COMPARISON, TUNING = "comparison", "tuning"
"""Folders of a benchmark that hold no run."""

_OWN = ("model", "trainer")
_MANY = ("models", "baselines", "variants", "overrides", "seeds", "tuning", "trials")
_MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Contender:
    """A model, or a baseline, of a benchmark.

    Attributes:
        name: What it is called.
        point: Configuration of `train`, with the first seed.
        model: Name of the model's YAML file, by which its search space is found.
        stated: Full keys of the settings that overrides state, which no search changes.
        seeds: Of its runs; one where nothing random goes into it.
        random: Whether something does.
        beside: Whether it is a baseline that `models` does not name.
        trials: Settings that were tried before these were written down, these among them.
    """

    name: str
    point: dict[str, Any]
    model: str
    stated: tuple[str, ...]
    seeds: tuple[int, ...]
    random: bool
    beside: bool
    trials: int

    def label(self, seed: int) -> str:
        """Return what a run is called in what is printed."""
        return f"{self.name}, seed {seed}" if self.random else self.name

    def run(self, folder: Path, seed: int, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration of `train` for a seed, in a folder of its own; `point` has the settings."""
        name = f"{self.name}-seed{seed}" if self.random else self.name
        return {**point, "seed": seed, "run_dir": str(folder / name)}


def contenders(config: Mapping[str, Any], settings: BenchmarkSettings) -> list[Contender]:
    """Return the models, then the baselines that are none of them.

    Raises:
        ConfigError: If a name, an override or a seed cannot be what it should be; it names the key.
    """
    names = tuple(dict.fromkeys([*settings.models, *(settings.baselines or ())]))
    _check_names(settings, names)
    if settings.seed + settings.seeds - 1 > _MAX_SEED:
        raise ConfigError(
            f"seeds: from seed={settings.seed} on there are no {settings.seeds} seeds up to {_MAX_SEED}"
        )
    found = []
    for name in names:
        overrides = (settings.overrides or {}).get(name, ())
        if not _gives_model(overrides):
            overrides = (*(settings.variants or {}).get(name, ()), *overrides)
        point, model = _point(config, name, overrides)
        random = takes_seed(point["model"])
        found.append(
            Contender(
                name=name,
                point=point,
                model=model,
                stated=tuple(_key(override) for override in overrides),
                seeds=tuple(range(settings.seed, settings.seed + (settings.seeds if random else 1))),
                random=random,
                beside=name not in settings.models,
                trials=(settings.trials or {}).get(name, 1),
            )
        )
    return found


def space_of(contender: Contender) -> tuple[Dimension, ...]:
    """Return what is searched over, but for what overrides state.

    Raises:
        ConfigError: If no space was written for the model, or one of its settings is none that the model takes.
    """
    file = Path("sweep", f"{contender.model}_tpe.yaml")
    added = added_folder()
    if not any((root / file).is_file() for root in (CONFIGS, added) if root is not None):
        raise ConfigError(
            f"tuning.trials: {contender.name} has no space of settings to draw from; write {file} into the folder"
            " of --config-dir, or leave tuning.trials at 1"
        )
    composed = compose("sweep", [f"sweep={file.stem}", f"model={contender.model}"], folder=added)
    space = [one for one in parse_space(composed["sweep"]["space"]) if not _is_stated(one.key, contender.stated)]
    check_trainer(contender.point)
    check_space(contender.point, space)
    return tuple(space)


def tuned(
    contender: Contender, space: Sequence[Dimension], folder: Path, *, trials: int, log: str, overwrite: bool
) -> tuple[dict[str, Any], int]:
    """Return the configuration with the settings that are best on validation, and how many were tried.

    Args:
        contender: Whose settings.
        space: As `space_of` gives it.
        folder: Of the benchmark; the search goes on there, or begins anew where the contender's settings changed.
        trials: Settings to try, the contender's own among them.
        log: Fingerprint of the prepared log.
        overwrite: Whether to begin anew all the same.

    Raises:
        RecordError: If no trial was finished.
    """
    if trials == 1 or not space:
        return contender.point, contender.trials
    settings = SearchSettings(space={one.key: list(one.edges) for one in space}, total=trials)
    shared = shared_settings(contender.point, settings)
    place = folder / TUNING / f"{contender.name}-{fingerprint([shared, log])[:8]}"
    with held(place, overwrite=overwrite):
        check_same(place, shared, log=log)
        result, _ = search(contender.point, settings, space, place)
        # An earlier call may have tried more; the budget is the same for all.
        within = SearchResult(result.metric, tuple(one for one in result.trials if one.number < trials))
        write_search(within, place, name=contender.name)
    if within.best is None:
        raise RecordError(f"none of the {trials} settings tried was finished; see {place}")
    return with_settings(contender.point, within.best.settings), contender.trials + len(within.trials) - 1


def _check_names(settings: BenchmarkSettings, names: Sequence[str]) -> None:
    for key, listed in (("models", settings.models), ("baselines", settings.baselines or ())):
        if len(set(listed)) < len(listed):
            raise ConfigError(f"{key}: names one twice: {', '.join(listed)}")
        for name in listed:
            if name in (COMPARISON, TUNING) or Path(name).name != name:
                raise ConfigError(f"{key}: {name!r} cannot be the name of a run's folder; call it otherwise")
    for name, trials in (settings.trials or {}).items():
        _check_known("trials", name, names)
        if trials < 1:
            raise ConfigError(f"trials.{name}: must be at least 1, not {trials}")
    for name in settings.overrides or {}:
        _check_known("overrides", name, names)
    for key, given in (("variants", settings.variants or {}), ("overrides", settings.overrides or {})):
        for name, overrides in given.items():
            for override in overrides:
                if not _is_own(override):
                    raise ConfigError(
                        f"{key}.{name}: {override} would set this run apart from the others; only settings of"
                        " model and trainer may differ"
                    )


def _check_known(key: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ConfigError(f"{key}.{name}: is none of models and baselines: {', '.join(names)}")


def _gives_model(overrides: Sequence[str]) -> bool:
    return any(override.startswith("model=") for override in overrides)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _is_own(override: str) -> bool:
    key = _key(override)
    return any(key == group or key.startswith((f"{group}.", f"{group}@")) for group in _OWN) and key != "trainer"


def _is_stated(key: str, stated: Sequence[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in stated if one != "model")


def _point(config: Mapping[str, Any], name: str, overrides: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return the configuration of `train` for one of the names, and the model's YAML file."""
    named = [] if _gives_model(overrides) else [f"model={name}"]
    composed = compose("train", [*named, *overrides], folder=added_folder())
    changed = {key.split(".")[1] for key in map(_key, overrides) if key.startswith("trainer.")}
    own = {
        "model": composed["model"],
        "trainer": {**config["trainer"], **{key: composed["trainer"][key] for key in changed}},
        "names": {**config["names"], "model": name},
        "start_from": [],
        "run_dir": None,
        "overwrite": True,
        "progress": False,  # the log is prepared, and was shown, already
    }
    point = {**{key: value for key, value in config.items() if key not in _MANY}, **own}
    return point, str(composed["names"]["model"])
