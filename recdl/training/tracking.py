"""Where losses, metrics and hyperparameters are logged, beside the run record."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class Tracking(Protocol):
    """Makes the Lightning logger of one run."""

    def logger(self, folder: Path) -> "Logger | None":
        """Return a logger for the run whose folder is `folder`, or None to log nowhere."""
        ...


@dataclass(frozen=True)
class TensorBoardTracking:
    """TensorBoard event files in the run's folder.

    Attributes:
        subfolder: Where in the run's folder; `tensorboard --logdir runs` finds them all.
    """

    subfolder: str = "tensorboard"

    def logger(self, folder: Path) -> "Logger | None":
        """Return a TensorBoard logger."""
        from pytorch_lightning.loggers import TensorBoardLogger

        return TensorBoardLogger(folder, name=self.subfolder, version="", default_hp_metric=False)


@dataclass(frozen=True)
class NoTracking:
    """Logs nowhere but in the run record."""

    def logger(self, folder: Path) -> "Logger | None":
        """Return None."""
        return None
