"""How a neural recommender is fitted: Lightning's Trainer, stopped and kept by a ranking metric on validation."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from recdl.models.protocol import RankingTask, Recommender
from recdl.training.checkpoints import CheckpointFolder, check_same_model, read_checkpoint
from recdl.training.compilation import compiled
from recdl.training.cores import own_cores
from recdl.training.course import Course, EpochBatches, Validation
from recdl.training.interruption import held_signals
from recdl.training.modules import FitModule
from recdl.training.processes import Processes
from recdl.training.progress import log, shown
from recdl.training.settings import TrainerSettings

_NOISE = (
    ".*does not have many workers.*",  # batches are cut in bulk; a worker would only copy them
    ".*The number of training batches.*",
    ".*sync_dist=True.*",  # what is logged is the same in all processes
    ".*LeafSpec.*is deprecated.*",  # Lightning's own call into torch
    "MLFlow only allows.*",  # and has no @ in names: ndcg@10 is ndcg10 there
)


def fit_network(
    recommender: Recommender,
    module: FitModule,
    batches: EpochBatches,
    *,
    validation: RankingTask | None,
    settings: TrainerSettings,
) -> list[dict[str, float]]:
    """Train the module's network in place, and leave it, in eval mode, with the weights of its best epoch.

    Without `validation` it is trained for `max_epochs` and keeps its last weights. With `settings.resume` it goes
    on from what an earlier process has left in `settings.folder`; a fit that was finished there is only read.

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
        RecordError: If a checkpoint cannot be written, or is one of another model.
    """
    processes = Processes.current()
    _set(module, settings, processes)
    with (
        _checkpoints(settings, processes) as folder,
        _without_noise(),
        own_cores(settings, processes),
        held_signals() as interruptions,
    ):
        asked = Validation(recommender, validation, settings)
        course = Course(batches, asked, settings=settings, folder=folder, interruptions=interruptions)
        path = processes.told(folder.newest() if settings.resume and processes.first else None)
        state = {} if path is None else _read(path, module)
        if state and "optimizers" not in state:
            module.load_state_dict(state["module"])
            module.eval()
            return list(state["curve"])
        if state:
            log.info("going on from %s", path)
            course.go_on_from(state)
        done = state["progress"]["batches_in_all"] if state else 0
        if not settings.is_over(course.curve):
            watching = [shown(course, batches, settings)] if processes.first else []
            trainer = _trainer(settings, [course, *watching], processes, batches_done=done)
            with compiled(module.network, wanted=settings.compile):
                trainer.fit(module, train_dataloaders=batches)
        _take_the_best(module, course, folder, settings, processes)
    module.eval()
    return course.curve


def _read(path: Path, module: FitModule) -> dict[str, Any]:
    state = read_checkpoint(path)
    check_same_model(path, state, module)
    return state


def _set(module: FitModule, settings: TrainerSettings, processes: Processes) -> None:
    """Tell the module how a step is made, and by whom."""
    if processes.count > 1:  # each hides other events, by dropout, of its own share of a step
        torch.manual_seed(torch.initial_seed() + processes.rank)
    module.gradient_clip = settings.gradient_clip
    module.accumulate = settings.accumulate
    module.schedule, module.planned_epochs = settings.schedule, settings.max_epochs
    module.processes = processes


def _take_the_best(
    module: FitModule, course: Course, folder: CheckpointFolder, settings: TrainerSettings, processes: Processes
) -> None:
    """Give the module the weights of its best epoch, and write down what the fit came to."""
    processes.wait()  # what the first writes the others read
    best = settings.kept(course.curve)
    if best:
        module.load_state_dict(read_checkpoint(folder.best_path(best[0]))["module"])
    processes.wait()  # or the folder may be gone before the last has read it
    if processes.first:
        content = {"module": module.state_dict(), "curve": course.curve}
        with course.telling_what_is_kept():
            folder.write_finished(content, n_epochs=len(course.curve), best=course.kept_after)


class _Sharing(DDPStrategy):
    """Several processes on one model, without DDP's wrapper: `FitModule.descend` adds the gradients up.

    The wrapper adds them up while the only backward pass of a call runs. Here a call holds several steps, a step
    several passes, and gradients may be of rows.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def _trainer(
    settings: TrainerSettings, callbacks: list[pl.Callback], processes: Processes, *, batches_done: int
) -> pl.Trainer:
    logger: Logger | None = None
    if settings.tracking is not None and settings.folder is not None and processes.first:
        logger = settings.tracking.logger(settings.folder, step=batches_done)
    return pl.Trainer(
        max_epochs=settings.max_epochs,
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=_Sharing() if processes.count > 1 else "auto",
        precision=settings.precision,
        callbacks=callbacks,
        logger=logger or False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


@contextmanager
def _checkpoints(settings: TrainerSettings, processes: Processes) -> Iterator[CheckpointFolder]:
    if settings.folder is not None:
        folder = CheckpointFolder(settings.folder / "checkpoints")
        if processes.first and not settings.resume:
            folder.clear()
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="recdl-") as temporary:
        yield CheckpointFolder(Path(processes.told(temporary)))


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
