"""How a neural recommender is fitted: Lightning's Trainer, stopped and kept by a ranking metric on validation."""

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from recdl.metrics.ranking import RANKING_METRICS, RankedTargets
from recdl.models.protocol import RankingTask, Recommender
from recdl.models.ranking import rank
from recdl.training.interruption import StopBetweenSteps, held_signals
from recdl.training.modules import FitModule
from recdl.training.processes import Processes
from recdl.training.settings import TrainerSettings

_NOISE = (
    ".*does not have many workers.*",  # batches are cut in bulk; a worker would only copy them
    ".*The number of training batches.*",
    ".*LeafSpec.*is deprecated.*",  # Lightning's own call into torch
)


class EpochBatches(Protocol):
    """The batches of one epoch; which they are depends on the attribute `epoch` alone, set before each."""

    epoch: int

    def __len__(self) -> int:
        """Return the number of batches."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of `epoch`."""
        ...


def fit_network(
    recommender: Recommender,
    module: FitModule,
    batches: EpochBatches,
    *,
    validation: RankingTask | None,
    settings: TrainerSettings,
) -> list[dict[str, float]]:
    """Train the module's network in place, and leave it, in eval mode, with the weights of its best epoch.

    Without `validation` it is trained for `max_epochs` and keeps its last weights.

    Args:
        recommender: Scores with the module's network; asked to after each epoch.
        module: What to train.
        batches: What to train on.
        validation: What decides when to stop and which epoch to keep.
        settings: Where and how long.

    Returns:
        One entry an epoch: `epoch` (from 0), `loss` (mean of its steps), `seconds` (of training alone), and its
        validation metrics.

    Raises:
        DataError: If the loss stops being finite.
    """
    processes = Processes.current()
    if processes.count > 1:  # each hides other events, by dropout, of its own share of a step
        torch.manual_seed(torch.initial_seed() + processes.rank)
    curve = _LearningCurve(
        recommender,
        validation,
        cutoff=int(settings.monitor.partition("@")[2]),
        n_queries=settings.validation_queries,
    )
    callbacks: list[pl.Callback] = [curve]
    if settings.progress_bar and processes.first:
        # A bar in a log file is thousands of lines; there, a line an epoch.
        callbacks.append(TQDMProgressBar(refresh_rate=20) if sys.stderr.isatty() else _EpochLines(curve, settings))
    with _checkpoint_folder(settings) as folder:
        best: ModelCheckpoint | None = None
        if validation is not None:
            monitor = f"validation/{settings.monitor}"
            best = ModelCheckpoint(
                folder, "best", monitor, mode="max", save_on_train_epoch_end=True, enable_version_counter=False
            )
            callbacks += [
                EarlyStopping(monitor, mode="max", patience=settings.patience, check_on_train_epoch_end=True),
                best,
            ]
        module.gradient_clip = settings.gradient_clip
        module.accumulate = settings.accumulate
        module.processes = processes
        with _without_noise(), held_signals() as interruptions:
            trainer = _trainer(settings, [StopBetweenSteps(interruptions), *callbacks], processes)
            trainer.fit(module, train_dataloaders=batches)
        if best is not None:
            checkpoint = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
            module.load_state_dict(checkpoint["state_dict"])
            processes.wait()  # or the folder may be gone before the last has read it
    module.eval()
    return curve.entries


class _LearningCurve(pl.Callback):
    """Notes the loss of each epoch, and ranks the validation queries with the weights at its end."""

    def __init__(
        self, recommender: Recommender, task: RankingTask | None, *, cutoff: int, n_queries: int | None
    ) -> None:
        self._recommender = recommender
        self._task = None if task is None else task.at_most(n_queries)
        self._cutoff = cutoff
        self.entries: list[dict[str, float]] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        entry = {"epoch": trainer.current_epoch, "loss": pl_module.mean_loss()}
        entry["seconds"] = time.perf_counter() - self._started
        if self._task is not None:
            pl_module.eval()
            ranks = self._ranks(pl_module.processes)
            pl_module.train()
            targets = RankedTargets(ranks, self._task.query_set.target_offsets)
            for name, metric in RANKING_METRICS.items():
                value = float(metric(targets, self._cutoff).mean())
                entry[f"validation/{name}@{self._cutoff}"] = value
        for name, value in entry.items():
            if name not in ("epoch", "seconds"):
                pl_module.log(name if "/" in name else f"train/epoch_{name}", value, prog_bar="ndcg" in name)
        self.entries.append(entry)

    def _ranks(self, processes: Processes) -> npt.NDArray[np.float64]:
        """Return (n_targets,) ranks, of which each process finds those of its share of the queries."""
        assert self._task is not None
        share = processes.share(len(self._task.query_set))
        ranks = np.zeros(0)
        if share.stop > share.start:
            queries = self._task.query_set.take(np.arange(share.start, share.stop))
            ranks = rank(self._recommender, replace(self._task, query_set=queries), k=self._cutoff).ranks
        return np.concatenate(processes.gathered(ranks))


class _EpochLines(pl.Callback):
    """Writes what the learning curve notes to standard error, a line an epoch."""

    def __init__(self, curve: _LearningCurve, settings: TrainerSettings) -> None:
        self._curve = curve
        self._settings = settings
        self._monitor = f"validation/{settings.monitor}"

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._curve.entries:
            at_most, patience = self._settings.max_epochs, self._settings.patience
            print(
                f"at most {at_most} epochs, fewer when {patience} in a row do not raise {self._monitor}",
                file=sys.stderr,
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        entry = self._curve.entries[-1]
        line = f"epoch {entry['epoch']}: loss {entry['loss']:.4f}"
        if self._monitor in entry:
            best = max(self._curve.entries, key=lambda one: one[self._monitor])  # the first of equals, as is kept
            line += f", {self._monitor} {entry[self._monitor]:.4f} (best {best[self._monitor]:.4f}, "
            line += f"epoch {best['epoch']})"
        print(f"{line}, {entry['seconds']:.1f} s", file=sys.stderr)


class _Sharing(DDPStrategy):
    """Several processes on one model, without DDP's wrapper: `FitModule.descend` adds the gradients up.

    The wrapper adds them up while the only backward pass of a call runs. Here a call holds several steps, a step
    several passes, and gradients may be of rows.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def _trainer(settings: TrainerSettings, callbacks: list[pl.Callback], processes: Processes) -> pl.Trainer:
    logger: Logger | None = None
    if settings.tracking is not None and settings.folder is not None and processes.first:
        logger = settings.tracking.logger(settings.folder)
    with _without_noise():
        return pl.Trainer(
            max_epochs=settings.max_epochs,
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=_Sharing() if processes.count > 1 else "auto",
            precision=settings.precision,
            callbacks=callbacks,
            logger=logger or False,
            enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
            enable_progress_bar=settings.progress_bar and processes.first and sys.stderr.isatty(),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


@contextmanager
def _checkpoint_folder(settings: TrainerSettings) -> Iterator[Path]:
    if settings.folder is not None:
        yield settings.folder / "checkpoints"
        return
    with tempfile.TemporaryDirectory(prefix="recdl-") as folder:
        yield Path(folder)


@contextmanager
def _without_noise() -> Iterator[None]:
    """Silence what Lightning says of every run: its tips, device lists, and advice on workers we do not want."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for text in _NOISE:
                warnings.filterwarnings("ignore", message=text)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
