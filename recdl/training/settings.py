"""Where and how long to train: settings only, so that checking them does not wait for torch and Lightning."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from recdl.errors import ConfigError
from recdl.metrics.ranking import RANKING_METRICS
from recdl.training.schedules import Schedule
from recdl.training.tracking import Tracking


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """How often a fit writes down all that it takes to go on with it, and how many of its best epochs it keeps.

    Attributes:
        every_minutes: Minutes between two; None: not by the clock. It is longer where writing would take more than
            a fiftieth of the time.
        every_steps: Optimizer steps between two; None: not by their number.
        keep: Of how many epochs, the best by validation, the weights are kept.
    """

    every_minutes: float | None = 5.0
    every_steps: int | None = None
    keep: int = 1

    def __post_init__(self) -> None:
        for name in ("every_minutes", "every_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"trainer.checkpoint.{name} must be above 0, or null, not {value}")
        if self.keep < 1:
            raise ConfigError(f"trainer.checkpoint.keep must be at least 1, not {self.keep}")


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
        checkpoint: How often, and how many.
        schedule: How the learning rate moves from step to step.
        compile: Whether to compile the network's arithmetic (`torch.compile`): a minute at the start of a fit.
        progress_bar: Whether to show one; where standard error is no terminal, a line an epoch takes its place.
        tracking: Where losses and metrics are logged, beside the run record.
        folder: The run's folder, for checkpoints and logs; None keeps nothing.
        resume: Whether to go on from the checkpoints in `folder`, if it has some; else they are removed.
        after_epoch: Is told each entry of the learning curve; what it raises ends the fit.
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
    compile: bool = False
    checkpoint: CheckpointSettings = CheckpointSettings()
    schedule: Schedule = field(default_factory=Schedule)
    progress_bar: bool = True
    tracking: Tracking | None = None
    folder: Path | None = None
    resume: bool = False
    after_epoch: Callable[[Mapping[str, float]], None] | None = None

    def __post_init__(self) -> None:
        for name in ("max_epochs", "patience", "devices", "nodes", "accumulate", "validation_queries"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name} must be at least 1, not {getattr(self, name)}")
        planned = self.schedule.epochs or self.max_epochs
        if self.schedule.warmup and not self.schedule.warmup < planned:
            raise ConfigError(
                f"trainer.schedule.warmup={self.schedule.warmup} leaves nothing of the {planned} epochs planned"
            )
        metric, _, cutoff = self.monitor.partition("@")
        if metric not in RANKING_METRICS or not cutoff.isdigit() or int(cutoff) < 1:
            raise ConfigError(
                f"trainer.monitor must be a metric and a cutoff such as ndcg@10, not {self.monitor!r}; "
                f"the metrics are {', '.join(RANKING_METRICS)}"
            )

    def best_epochs(self, curve: Sequence[Mapping[str, float]]) -> int:
        """Return for how many epochs the model was trained that validation found best, by its learning curve."""
        return self.kept(curve, 1)[0] + 1

    def kept(self, curve: Sequence[Mapping[str, float]], n: int | None = None) -> list[int]:
        """Return the `n` best epochs of a learning curve, or those whose weights are kept, the best first.

        Of equals the first is better. Without validation there are none.
        """
        key = f"validation/{self.monitor}"
        ranked = sorted((-entry[key], int(entry["epoch"])) for entry in curve if key in entry)
        return [epoch for _, epoch in ranked[: self.checkpoint.keep if n is None else n]]

    def is_over(self, curve: Sequence[Mapping[str, float]]) -> bool:
        """Whether no further epoch is trained after those of a learning curve."""
        if len(curve) >= self.max_epochs:
            return True
        best = self.kept(curve, 1)
        return bool(best) and len(curve) - 1 - best[0] >= self.patience

    def again(self, curve: Sequence[Mapping[str, float]]) -> "TrainerSettings":
        """Return the settings of a fit for the best epochs of `curve`, without validation, in its own folder.

        The learning rate moves as it did, towards the end of as many epochs as were planned then.
        """
        folder = None if self.folder is None else self.folder / "refit"
        schedule = replace(self.schedule, epochs=self.schedule.epochs or self.max_epochs)
        return replace(self, max_epochs=self.best_epochs(curve), folder=folder, schedule=schedule)
