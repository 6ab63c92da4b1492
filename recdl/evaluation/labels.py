"""What to call runs that stand side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from recdl.evaluation.records import RunRecord

_NOT_THE_MODEL = frozenset(
    {
        "data",
        "data_root",
        "evaluation",
        "hydra",
        "names",
        "overwrite",
        "prepared_root",
        "progress",
        "recommendations",
        "run_dir",
        "seed",
        "split",
        "trials",
    }
    | {"tracking"}
)
"""Parts of a config that do not tell comparable runs apart: what must agree anyway, and where files lie."""


def differing_settings(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return, for each run, the seed and the model and trainer settings in which the runs are not all alike.

    Settings are named by their full key ("model.learning_rate"); a run without such a key is given None.
    """
    flat = [{"seed": record.identity.seed, **_flatten(_telling(record.config))} for record in records]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    differing = [key for key in keys if len({repr(settings.get(key)) for settings in flat}) > 1]
    return [{key: settings.get(key) for key in differing} for settings in flat]


def without_seed(record: RunRecord) -> str:
    """Return what is equal for runs that differ in nothing but their seed."""
    return repr((record.identity.model, sorted(_flatten(_telling(record.config)).items(), key=str)))


def run_labels(records: Sequence[RunRecord], *, without: Sequence[str] = ()) -> list[str]:
    """Return a distinct label for each run: the model's name, then what tells runs of one model apart.

    Args:
        records: The runs.
        without: Settings that are not named, such as the seed.
    """
    labels = [record.identity.model for record in records]
    for model in _repeated(labels):
        rows = [row for row, label in enumerate(labels) if label == model]
        for row, settings in zip(rows, differing_settings([records[row] for row in rows]), strict=True):
            telling = {name: value for name, value in settings.items() if name not in without}
            named = ", ".join(f"{name}={value}" for name, value in _shorten(telling).items())
            labels[row] = f"{model} ({named})" if named else model
    for label in _repeated(labels):  # the same settings twice: only the folder tells them apart
        for row, record in enumerate(records):
            labels[row] = f"{label} [{record.folder.name}]" if labels[row] == label else labels[row]
    for label in _repeated(labels):
        rows = [row for row, other in enumerate(labels) if other == label]
        for number, row in enumerate(rows, start=1):
            labels[row] = f"{label} #{number}"
    return labels


def _repeated(labels: Sequence[str]) -> list[str]:
    return [label for label, count in Counter(labels).items() if count > 1]


def _telling(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _NOT_THE_MODEL}


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shorten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Name settings by the last part of their key where that is enough."""
    lasts = Counter(key.rpartition(".")[2] for key in settings)
    return {last if lasts[last := key.rpartition(".")[2]] == 1 else key: value for key, value in settings.items()}
