"""How a search goes about: settings only, so that checking them does not wait for Optuna."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recdl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How settings are searched for.

    Attributes:
        space: Settings by their nested keys, down to ranges (`low`, `high`) and choices; see `parse_space`.
        total: Trials altogether, those of earlier calls counted.
        sampler: `tpe` (Bergstra et al. 2011), which learns from earlier trials, or `random`.
        startup_trials: Trials at random before the sampler learns.
        defaults_first: Whether the first trial is what the model's file says, where that lies in the space.
        pruner: What ends a trial early: `median`, when the best of its epochs lies below the median of the others
            at the same epoch; `halving` (Li et al. 2020), which lets ever fewer go on; or `none`.
        warmup_epochs: Epochs that a trial is given before it may be ended.
        workers: Trials at a time, each in a process of its own.
        keep_weights: Whether trials keep their weights and checkpoints; the final run always does.
        max_failures: Trials that may fail in a row before the search stops.
    """

    space: dict[str, Any]
    total: int = 50
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: int = 10
    defaults_first: bool = True
    pruner: Literal["median", "halving", "none"] = "median"
    warmup_epochs: int = 5
    workers: int = 1
    keep_weights: bool = False
    max_failures: int = 5

    def __post_init__(self) -> None:
        for name in ("total", "workers", "max_failures"):
            if getattr(self, name) < 1:
                raise ConfigError(f"sweep.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("startup_trials", "warmup_epochs"):
            if getattr(self, name) < 0:
                raise ConfigError(f"sweep.{name} must be at least 0, not {getattr(self, name)}")

    def decisive(self) -> Mapping[str, Any]:
        """Return what the trials depend on: a search that goes on may change the rest."""
        names = ("space", "sampler", "startup_trials", "defaults_first", "pruner", "warmup_epochs")
        return {name: getattr(self, name) for name in names}
