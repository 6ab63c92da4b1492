"""Models within a model, each made with what the run decides."""

import inspect
from dataclasses import replace

from recdl.models.protocol import ModelFactory, Recommender
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
