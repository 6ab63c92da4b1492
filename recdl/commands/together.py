"""Whether a run is one process or several, found out without importing what several need."""

import os
from contextlib import AbstractContextManager, nullcontext

from recdl.errors import ConfigError
from recdl.training.processes import Processes
from recdl.training.settings import TrainerSettings

# What torchrun, SLURM, and Lightning or Ray tell the processes that they start.
_STARTED_AMONG_OTHERS = ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "LOCAL_RANK")
_ONE_EACH = (
    "one model after the other is trained by one process each; leave trainer.devices and trainer.nodes at 1, or "
    "train the models one at a time with train.py"
)


def together(settings: TrainerSettings) -> AbstractContextManager[Processes]:
    """Bring the processes of a run together, as `recdl.training.joining.joined` does; one alone waits for nothing.

    Raises:
        ConfigError: As `joined` does, or if several are asked for in a sweep.
    """
    if _in_a_sweep():
        check_alone(settings)
    one = settings.devices * settings.nodes == 1 and not any(name in os.environ for name in _STARTED_AMONG_OTHERS)
    if one and settings.accelerator != "gpu":
        return nullcontext(Processes())
    from recdl.training.joining import joined

    return joined(settings)


def check_alone(settings: TrainerSettings) -> None:
    """Refuse several processes where one model is trained after the other.

    Raises:
        ConfigError: If the settings say several.
    """
    if settings.devices * settings.nodes > 1:
        raise ConfigError(f"trainer.devices={settings.devices}: {_ONE_EACH}")


def _in_a_sweep() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
