"""Values as the JSON and YAML files of a run record hold them, written and read."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from recdl.errors import RecordError


def number(name: str, value: Any) -> float:
    """Return a figure as a plain number; it must be finite."""
    figure = value.item() if isinstance(value, np.generic) else value
    assert math.isfinite(figure), f"{name} is {figure}: not a figure to record"
    return int(figure) if isinstance(figure, int) else float(figure)


def plain(value: Any) -> Any:
    """Return `value` as JSON can say it; NaN and infinity (a diverged loss) become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        RecordError: If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} is missing or damaged ({error}); run it again") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds.

    Raises:
        RecordError: If it is missing or damaged, or holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise RecordError(f"{path} is damaged: it holds no mapping; run it again")
    return value


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, unresolved.

    Raises:
        RecordError: If it is missing or damaged.
    """
    try:
        config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise RecordError(f"{path} is missing or damaged ({error}); run it again") from error
    if not isinstance(config, dict) or not config:
        raise RecordError(f"{path} is damaged: it holds no mapping; run it again")
    return {str(key): value for key, value in config.items()}
