"""Models within a model, each made with what the run decides, and fitted once."""

import inspect
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recdl.data.interactions import Interactions
from recdl.models.protocol import ModelFactory, RankingTask, Recommender
from recdl.storage import whole_file
from recdl.training.leftovers import FINISHED_STATE
from recdl.training.processes import Processes
from recdl.training.settings import TrainerSettings


def made(make: ModelFactory, folder: str, *, trainer: TrainerSettings, seed: int) -> Recommender:
    """Return a fresh model, given what its signature asks for of a trainer and a seed.

    Args:
        make: Makes it.
        folder: Where, in that of the run, it keeps its checkpoints and logs.
        trainer: The run's.
        seed: The run's.
    """
    if trainer.folder is not None:
        trainer = replace(trainer, folder=trainer.folder / folder)
    asked = inspect.signature(make).parameters
    run = {"trainer": trainer, "seed": seed}
    return make(**{key: value for key, value in run.items() if key in asked})


def fitted(
    make: ModelFactory,
    folder: str,
    train: Interactions,
    validation: RankingTask | None,
    *,
    trainer: TrainerSettings,
    seed: int,
) -> Recommender:
    """Return a fresh model that has learned from `train`, of a run that goes on what it learned before.

    A network goes on from its own checkpoints. What a model learned that learns in one go is kept in its folder
    until the run is finished.

    Args:
        make: Makes it.
        folder: As of `made`.
        train: What it learns from.
        validation: As of `Recommender.fit`.
        trainer: The run's.
        seed: The run's.

    Raises:
        DataError: As the model's `fit` does.
    """
    model = made(make, folder, trainer=trainer, seed=seed)
    if trainer.folder is None or "trainer" in inspect.signature(make).parameters:
        return model.fit(train, validation)
    path = trainer.folder / folder / FINISHED_STATE
    if trainer.resume and path.is_file() and _restored(model, path):
        return model
    model.fit(train, validation)
    if Processes.current().first:
        with whole_file(path) as temporary:
            save_file({name: np.asarray(array, order="C") for name, array in model.get_state().items()}, temporary)
    return model


def _restored(model: Recommender, path: Path) -> bool:
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        print(f"warning: {path} is damaged ({error}); what it held is learned again", file=sys.stderr)
        return False
    model.set_state(state)
    return True
