"""How the processes of a run find each other, whatever started them."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch import distributed

from recdl.errors import ConfigError
from recdl.training.processes import Processes
from recdl.training.settings import TrainerSettings

_Launcher = TorchElasticEnvironment | SLURMEnvironment | LightningEnvironment
_PATIENCE = timedelta(days=2)  # how long one waits for another, which may prepare the log or rank all queries


@contextmanager
def joined(settings: TrainerSettings) -> Iterator[Processes]:
    """Bring the processes of a run together for the block, starting them where no launcher has.

    On one machine this process starts the others, as copies of its own command line (Lightning's launcher of
    scripts). Over several machines torchrun or SLURM starts them all. An error in the block ends those that were
    started here.

    Raises:
        ConfigError: If a device is not there, or more or fewer processes were started than the settings say.
    """
    if distributed.is_initialized():  # by what started them all, such as Ray Train, which ends it too
        _check_count(settings, distributed.get_world_size())
        yield Processes.current()
        return
    environment = _launcher()
    _check(settings, environment)
    if settings.devices * settings.nodes == 1:
        yield Processes()
        return
    environment = environment or LightningEnvironment()
    if isinstance(environment, LightningEnvironment) and environment.local_rank() > 0:
        _end_with(os.getppid())
    children = _start(environment, settings)
    try:
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if _on_gpu(settings) else "gloo",
            rank=environment.node_rank() * settings.devices + environment.local_rank(),
            world_size=settings.devices * settings.nodes,
            timeout=_PATIENCE,
        )
        if _on_gpu(settings):
            torch.cuda.set_device(environment.local_rank())
        yield Processes.current()
    except BaseException:
        for child in children:  # they wait for this one, and would for days
            child.kill()
        raise
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _launcher() -> _Launcher | None:
    """Return what started this process among others, if something did."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if SLURMEnvironment.detect():
        slurm = SLURMEnvironment()
        return slurm if slurm.world_size() > 1 else None
    lightning = LightningEnvironment()
    return lightning if lightning.creates_processes_externally else None


def _start(environment: _Launcher, settings: TrainerSettings) -> list[subprocess.Popen[bytes]]:
    launcher = _SubprocessScriptLauncher(environment, settings.devices, settings.nodes)
    launcher.launch(lambda: None)  # by itself it starts nothing where a cluster has started all
    return list(launcher.procs)


def _end_with(parent: int) -> None:
    """End this process once `parent`, which started it, is gone: killed, it could not tell."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _on_gpu(settings: TrainerSettings) -> bool:
    return settings.accelerator in ("auto", "gpu") and torch.cuda.is_available()


def _check(settings: TrainerSettings, environment: _Launcher | None) -> None:
    if environment is None and settings.nodes > 1:
        raise ConfigError(
            f"trainer.nodes={settings.nodes}: over several machines each starts its processes by a launcher, such "
            f"as torchrun --nnodes={settings.nodes} --nproc-per-node={settings.devices}, or srun: docs/devices.md"
        )
    if environment is not None:
        _check_count(settings, int(os.environ.get("WORLD_SIZE", environment.world_size())))
    found = torch.cuda.device_count()
    if settings.accelerator == "gpu" and settings.devices > found:
        way_out = "lower it, or set trainer.accelerator=cpu" if found else "set trainer.accelerator=cpu"
        raise ConfigError(
            f"trainer.devices={settings.devices}, but this machine has {found} GPUs that torch can use; {way_out}"
        )


def _check_count(settings: TrainerSettings, started: int) -> None:
    wanted = settings.devices * settings.nodes
    if started != wanted:
        raise ConfigError(
            f"trainer.devices={settings.devices} on each of trainer.nodes={settings.nodes} machines are {wanted} "
            f"processes, but {started} were started; let both say the same"
        )
