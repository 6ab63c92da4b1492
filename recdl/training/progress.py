"""What one sees of a fit: a line that is kept up to date, or, in a log file, a line an epoch."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from recdl.training.course import Course, EpochBatches
from recdl.training.modules import FitModule
from recdl.training.settings import TrainerSettings

log = logging.getLogger(__name__)

_PAUSE = 0.2  # seconds between two looks at the loss; each is drawn
_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(bar_width=20),
    TextColumn("{task.fields[loss]}{task.fields[best]}  {task.fields[speed]}  {task.fields[left]}"),
)


def shown(course: Course, batches: EpochBatches, settings: TrainerSettings) -> pl.Callback:
    """Return what shows the course of a fit: on a terminal a line, else a line an epoch.

    Without `settings.progress_bar` these lines are logged, by the logger of this module, as information.
    """
    if not settings.progress_bar:
        return EpochLines(course, settings, tell=log.info)
    if sys.stderr.isatty():
        return ProgressLine(course, batches, settings, console=Console(stderr=True))
    return EpochLines(course, settings, tell=_to_stderr)


class EpochLines(pl.Callback):
    """Tells what the course of a fit notes, a line an epoch.

    Args:
        course: The course.
        settings: When it stops.
        tell: Is told each line.
    """

    def __init__(self, course: Course, settings: TrainerSettings, *, tell: Callable[[str], None]) -> None:
        self._course = course
        self._settings = settings
        self._tell = tell

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell how many epochs there may be."""
        at_most, patience = self._settings.max_epochs, self._settings.patience
        monitor = f"validation/{self._settings.monitor}"
        self._tell(f"at most {at_most} epochs, fewer when {patience} in a row do not raise {monitor}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell what came of the epoch."""
        self._tell(epoch_line(self._course, self._settings))


class ProgressLine(pl.Callback):
    """A line on the terminal: epoch, loss, the best of validation, events a second, and the time left.

    Args:
        course: The course of the fit.
        batches: What is trained on.
        settings: When it stops.
        console: The terminal.
    """

    def __init__(
        self, course: Course, batches: EpochBatches, settings: TrainerSettings, *, console: Console
    ) -> None:
        self._course = course
        self._batches = batches
        self._settings = settings
        # No thread of its own: it would take its time from the fit whether or not there is something new.
        self._progress = Progress(*_COLUMNS, console=console, auto_refresh=False, transient=True)
        self._task = self._progress.add_task("", total=len(batches), loss="", best="", speed="", left="")
        self._looked = self._begun = 0.0
        self._first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to show it."""
        self._progress.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        assert isinstance(pl_module, FitModule)
        self._begun, self._first = time.monotonic(), pl_module.batches_done

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Show what has come of the epoch, now and then."""
        assert isinstance(pl_module, FitModule)
        now = time.monotonic()
        if now - self._looked < _PAUSE or pl_module.processes.count > 1:  # the mean is to be asked for by all
            return
        self._looked = now
        done, n_batches = pl_module.batches_done, len(self._batches)
        rate = (done - self._first) / max(now - self._begun, 1e-9)
        left = (n_batches - done) / rate
        further = (self._settings.max_epochs - trainer.current_epoch - 1) * n_batches / rate
        self._progress.update(
            self._task,
            completed=done,
            description=f"epoch {trainer.current_epoch} of at most {self._settings.max_epochs}",
            loss=f"loss {pl_module.mean_loss():.4f}",
            best=self._best(),
            speed=f"{rate * self._batches.n_events / n_batches:,.0f} events/s",
            left=f"{_clock(left)} left, at most {_clock(left + further)} in all",
            refresh=True,
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave a line of the epoch above."""
        self._progress.console.print(epoch_line(self._course, self._settings), highlight=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take it away."""
        self._progress.stop()

    def on_exception(self, *_: Any) -> None:
        """Take it away."""
        self._progress.stop()

    def _best(self) -> str:
        key = f"validation/{self._settings.monitor}"
        best = self._settings.kept(self._course.curve, 1)
        return f"  {self._settings.monitor} {self._course.curve[best[0]][key]:.4f}" if best else ""


def epoch_line(course: Course, settings: TrainerSettings) -> str:
    """Say what came of the last epoch, and which was the best."""
    entry = course.curve[-1]
    line = f"epoch {entry['epoch']}: loss {entry['loss']:.4f}"
    monitor, best = f"validation/{settings.monitor}", settings.kept(course.curve, 1)
    if best:
        value = course.curve[best[0]][monitor]
        line += f", {monitor} {entry[monitor]:.4f} (best {value:.4f}, epoch {best[0]})"
    return f"{line}, {entry['seconds']:.1f} s"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
