"""Where losses, metrics and hyperparameters are logged, beside the run record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytorch_lightning.loggers import Logger, TensorBoardLogger


class Tracking(Protocol):
    """Makes the Lightning logger of one run."""

    def logger(self, folder: Path) -> Logger | None:
        """Return a logger for the run whose folder is `folder`, or None to log nowhere."""
        ...


@dataclass(frozen=True)
class TensorBoardTracking:
    """TensorBoard event files in the run's folder.

    Attributes:
        subfolder: Where in the run's folder; `tensorboard --logdir runs` finds them all.
    """

    subfolder: str = "tensorboard"

    def logger(self, folder: Path) -> Logger | None:
        """Return a TensorBoard logger."""
        return TensorBoardLogger(folder, name=self.subfolder, version="", default_hp_metric=False)


@dataclass(frozen=True)
class NoTracking:
    """Logs nowhere but in the run record."""

    def logger(self, folder: Path) -> Logger | None:
        """Return None."""
        return None
