"""The course of a fit: after each batch and epoch, what is noted, ranked, written down, and whether to stop."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch

from recdl.errors import DataError, RecordError
from recdl.metrics.ranking import RANKING_METRICS, RankedTargets
from recdl.models.protocol import RankingTask, Recommender
from recdl.models.ranking import rank
from recdl.training.checkpoints import CheckpointFolder, Position
from recdl.training.interruption import Interruptions
from recdl.training.modules import FitModule
from recdl.training.processes import Processes
from recdl.training.settings import TrainerSettings

_LARGEST_SHARE = 50  # one second in so many is spent on checkpoints by the clock, at most


class EpochBatches(Protocol):
    """The batches of one epoch; what each is depends on `epoch`, set before each epoch, and its place alone.

    Attributes:
        epoch: Which epoch.
        first: Place of the batch that iteration begins with.
    """

    epoch: int
    first: int

    @property
    def n_events(self) -> int:
        """What an epoch learns from, for its speed: positives, or targets."""
        ...

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of `epoch` from `first` on."""
        ...


class Validation:
    """Ranks the queries of validation.

    Args:
        recommender: Scores with the weights as they are.
        task: What is ranked; None: nothing.
        settings: The cutoff, and how many queries at most.
    """

    def __init__(self, recommender: Recommender, task: RankingTask | None, settings: TrainerSettings) -> None:
        self._recommender = recommender
        self._task = None if task is None else task.at_most(settings.validation_queries)
        self._cutoff = int(settings.monitor.partition("@")[2])

    def metrics(self, processes: Processes) -> dict[str, float]:
        """Return the mean of every ranking metric, as `validation/name@cutoff`; nothing without a task."""
        if self._task is None:
            return {}
        targets = RankedTargets(self._ranks(processes), self._task.query_set.target_offsets)
        return {
            f"validation/{name}@{self._cutoff}": float(metric(targets, self._cutoff).mean())
            for name, metric in RANKING_METRICS.items()
        }

    def _ranks(self, processes: Processes) -> npt.NDArray[np.float64]:
        """Return (n_targets,) ranks, of which each process finds those of its share of the queries."""
        assert self._task is not None
        share = processes.share(len(self._task.query_set))
        ranks = np.zeros(0)
        if share.stop > share.start:
            queries = self._task.query_set.take(np.arange(share.start, share.stop))
            ranks = rank(self._recommender, replace(self._task, query_set=queries), k=self._cutoff).ranks
        return np.concatenate(processes.gathered(ranks))


class Course(pl.Callback):
    """Leads a fit through its epochs, from wherever an earlier process has left it.

    Weights, optimizers, random state, place in the epoch and learning curve are all of its state; whatever else
    decides how it goes on (the batches, the negatives, when to stop, what is best) is a function of these.

    Args:
        batches: What is trained on.
        validation: What each epoch ends with.
        settings: When to write checkpoints, and when to stop.
        folder: Where they are written.
        interruptions: The signals to stop at, once a checkpoint is written.

    Attributes:
        curve: One entry an epoch, as `fit_network` returns it.
    """

    def __init__(
        self,
        batches: EpochBatches,
        validation: Validation,
        *,
        settings: TrainerSettings,
        folder: CheckpointFolder,
        interruptions: Interruptions,
    ) -> None:
        self.curve: list[dict[str, float]] = []
        self._batches = batches
        self._validation = validation
        self._settings = settings
        self._folder = folder
        self._interruptions = interruptions
        self._state: Mapping[str, Any] | None = None
        self._seconds = 0.0  # of the epoch, before its clock began
        self._started = self._written = time.monotonic()
        self._writing = 0.0  # seconds, of the last checkpoint
        self._steps_written = 0

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Let the fit go on from what a checkpoint holds."""
        self.curve = [dict(entry) for entry in state["curve"]]
        self._state = state

    def kept_after(self, n_epochs: int) -> list[int]:
        """Return the epochs whose weights were kept after the first `n_epochs`, the best first."""
        return self._settings.kept(self.curve[:n_epochs])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the state to go on from."""
        assert isinstance(pl_module, FitModule)
        self._written = time.monotonic()
        state, self._state = self._state, None
        if state is None:
            pl_module.start_epoch()
            return
        pl_module.load_state_dict(state["module"])
        for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        trainer.precision_plugin.load_state_dict(state["precision"])
        pl_module.go_on(state["progress"])
        self._seconds = state["seconds"]
        self._steps_written = pl_module.steps_in_all
        # Lightning's own way to resume counts on a loader that skips; this one begins where it is told to.
        for count in ("ready", "started", "processed", "completed"):
            setattr(trainer.fit_loop.epoch_progress.current, count, len(self.curve))
        trainer.fit_loop.epoch_loop._batches_that_stepped = pl_module.batches_in_all
        _set_random_state(state["random"][pl_module.processes.rank], pl_module.device)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the batches which epoch it is, and where in it to begin."""
        assert isinstance(pl_module, FitModule)
        self._batches.epoch = trainer.current_epoch
        self._batches.first = pl_module.batches_done
        self._started = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Write a checkpoint if it is time to, or a signal came, and stop if one did."""
        # Only here has Lightning logged all that the batch before, or the epoch before, had to tell.
        assert isinstance(pl_module, FitModule)
        stop, due = bool(self._interruptions.received), self._is_due(pl_module)
        if pl_module.processes.count > 1:  # what comes to one is to be done by all
            asked = torch.tensor([stop, due], dtype=torch.float32)
            pl_module.processes.add_up([asked])
            stop, due = (asked > 0).tolist()
        if stop or due:
            self._write(trainer, pl_module)
        if stop:
            raise KeyboardInterrupt

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Count the batch, and look at its loss."""
        assert isinstance(pl_module, FitModule)
        with self.telling_what_is_kept():
            pl_module.end_batch()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rank the validation queries, note the epoch, and keep its weights if they are among the best."""
        assert isinstance(pl_module, FitModule)
        pl_module.end_epoch()
        entry: dict[str, float] = {"epoch": trainer.current_epoch}
        with self.telling_what_is_kept():
            entry["loss"] = pl_module.mean_loss()
        entry["seconds"] = self._seconds_of_epoch()
        entry |= self._metrics(trainer, pl_module)
        for name, value in entry.items():
            if name not in ("epoch", "seconds"):
                full = name if "/" in name else f"train/epoch_{name}"
                pl_module.log(full, value, prog_bar="ndcg" in name, batch_size=1)
        self.curve.append(entry)
        if self._settings.after_epoch is not None:
            self._settings.after_epoch(entry)
        self._seconds, self._started = 0.0, time.monotonic()
        pl_module.start_epoch()
        if pl_module.processes.first and entry["epoch"] in self._settings.kept(self.curve):
            with self.telling_what_is_kept():
                self._folder.write_best(trainer.current_epoch, pl_module.state_dict(), best=self.kept_after)
        trainer.should_stop = self._settings.is_over(self.curve)

    def _metrics(self, trainer: pl.Trainer, module: FitModule) -> dict[str, float]:
        module.eval()
        try:
            if module.processes.count > 1:  # one that stopped here would leave the others waiting
                return self._validation.metrics(module.processes)
            with self._interruptions.at_once():
                return self._validation.metrics(module.processes)
        except KeyboardInterrupt:
            self._write(trainer, module)
            raise
        finally:
            module.train()

    def _is_due(self, module: FitModule) -> bool:
        every = self._settings.checkpoint
        if every.every_steps is not None and module.steps_in_all - self._steps_written >= every.every_steps:
            return True
        # Not by the time of day, which may be set back.
        passed = time.monotonic() - self._written
        return every.every_minutes is not None and passed >= max(
            60 * every.every_minutes, _LARGEST_SHARE * self._writing
        )

    def _write(self, trainer: pl.Trainer, module: FitModule) -> None:
        started = time.monotonic()
        with self.telling_what_is_kept():
            module.check_weights()
            progress = module.progress()
            random = module.processes.gathered(_random_state(module.device))
            if module.processes.first:
                self._folder.write_last(
                    Position(len(self.curve), module.batches_done),
                    {
                        "module": module.state_dict(),
                        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
                        "precision": trainer.precision_plugin.state_dict(),
                        "progress": progress,
                        "random": random,
                        "curve": self.curve,
                        "seconds": self._seconds_of_epoch(),
                    },
                    best=self.kept_after,
                )
        self._written = time.monotonic()
        self._writing = self._written - started
        self._steps_written = module.steps_in_all

    def _seconds_of_epoch(self) -> float:
        return self._seconds + time.monotonic() - self._started

    @contextmanager
    def telling_what_is_kept(self) -> Iterator[None]:
        """Add to an error that ends the fit what is left of it."""
        try:
            yield
        except (DataError, RecordError) as error:
            kept = [path for path in (self._folder.newest_path(), self._best_path()) if path is not None]
            named = " and ".join(str(path) for path in kept) or "no checkpoint: it ended before the first"
            raise type(error)(f"{error}. The fit is stopped; what is whole of it is {named}") from error

    def _best_path(self) -> Path | None:
        best = self._settings.kept(self.curve, 1)
        return self._folder.best_path(best[0]) if best else None


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
