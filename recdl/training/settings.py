"""Where and how long to train: settings only, so that checking them does not wait for torch and Lightning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from recdl.errors import ConfigError
from recdl.metrics.ranking import RANKING_METRICS
from recdl.training.tracking import Tracking


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Where and how long to train.

    Attributes:
        max_epochs: Epochs at most.
        patience: Epochs without a better `monitor` after which training stops. Rankings of a few hundred queries
            are noisy: on the Tmall log, one that ends above the early ones came after 14 epochs without a better.
        monitor: Ranking metric on validation, `name@cutoff`, that decides when to stop and which epoch to keep.
        validation_queries: Queries ranked after each epoch at most, drawn once, so that ranking never outweighs
            training; None ranks all.
        accelerator: `auto` takes a GPU where there is one.
        devices: Devices of each machine, a process each; on a CPU, processes. More than one share every step.
        nodes: Machines.
        accumulate: Parts in which a process goes through its share of a step, one after the other, so that a
            batch too large for its memory trains as if it were not. The step stays the same.
        precision: As Lightning names it.
        gradient_clip: Largest norm of the gradient; None leaves it as it is.
        progress_bar: Whether to show one; where standard error is no terminal, a line an epoch takes its place.
        tracking: Where losses and metrics are logged, beside the run record.
        folder: The run's folder, for checkpoints and logs; None keeps nothing.
    """

    max_epochs: int = 100
    patience: int = 20
    monitor: str = "ndcg@10"
    validation_queries: int | None = 5000
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int = 1
    nodes: int = 1
    accumulate: int = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    gradient_clip: float | None = None
    progress_bar: bool = True
    tracking: Tracking | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        for name in ("max_epochs", "patience", "devices", "nodes", "accumulate", "validation_queries"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name} must be at least 1, not {getattr(self, name)}")
        metric, _, cutoff = self.monitor.partition("@")
        if metric not in RANKING_METRICS or not cutoff.isdigit() or int(cutoff) < 1:
            raise ConfigError(
                f"trainer.monitor must be a metric and a cutoff such as ndcg@10, not {self.monitor!r}; "
                f"the metrics are {', '.join(RANKING_METRICS)}"
            )

    def best_epochs(self, curve: Sequence[Mapping[str, float]]) -> int:
        """Return for how many epochs the model was trained that validation found best, by its learning curve."""
        best = max(curve, key=lambda entry: entry[f"validation/{self.monitor}"])  # the first of equals, as is kept
        return int(best["epoch"]) + 1

    def again(self, curve: Sequence[Mapping[str, float]]) -> "TrainerSettings":
        """Return the settings of a fit for the best epochs of `curve`, without validation, in its own folder."""
        folder = None if self.folder is None else self.folder / "refit"
        return replace(self, max_epochs=self.best_epochs(curve), folder=folder)
