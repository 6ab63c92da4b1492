"""Where losses, metrics and hyperparameters are logged, beside the run record."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

_EVENTS = "events.out.tfevents."


class Tracking(Protocol):
    """Makes the Lightning logger of one run."""

    def logger(self, folder: Path, *, step: int) -> "Logger | None":
        """Return a logger for the run whose folder is `folder`, or None to log nowhere.

        What an earlier process has logged there at `step` and later steps counts no more: it is done again.
        """
        ...


@dataclass(frozen=True)
class TensorBoardTracking:
    """TensorBoard event files in the run's folder.

    Attributes:
        subfolder: Where in the run's folder; `tensorboard --logdir runs` finds them all.
    """

    subfolder: str = "tensorboard"

    def logger(self, folder: Path, *, step: int) -> "Logger | None":
        """Return a TensorBoard logger."""
        from pytorch_lightning.loggers import TensorBoardLogger

        _let_come_first(folder / self.subfolder)
        # TensorBoard itself passes over what lies at or after `purge_step` in earlier files.
        return TensorBoardLogger(folder, name=self.subfolder, version="", default_hp_metric=False, purge_step=step)


def _let_come_first(folder: Path) -> None:
    """Rename the event files of earlier processes where they would be read after those of this one.

    They are read in the order of their names, which begin with the second that they were made in: a clock that was
    set back, or two processes within a second, would turn it.
    """
    earlier = sorted(folder.glob(f"{_EVENTS}*"))
    if earlier and earlier[-1].name >= f"{_EVENTS}{int(time.time()):010d}":
        for number, path in enumerate(earlier):
            path.rename(path.with_name(f"{_EVENTS}{number:010d}.{path.name.removeprefix(_EVENTS)}"))


@dataclass(frozen=True)
class NoTracking:
    """Logs nowhere but in the run record."""

    def logger(self, folder: Path, *, step: int) -> "Logger | None":
        """Return None."""
        return None
