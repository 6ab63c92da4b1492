"""Which cores a process keeps to while it trains beside others on one machine."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from recdl.training.processes import Processes, part
from recdl.training.settings import TrainerSettings


@contextmanager
def own_cores(settings: TrainerSettings, processes: Processes) -> Iterator[None]:
    """Keep this thread, on a CPU, to its process's share of the machine's cores for the block.

    Left to the system, two processes now and then get the same core while another has nothing to do, and each step
    waits for the last. Linux alone lets a process choose.
    """
    gpu = settings.accelerator in ("auto", "gpu") and torch.cuda.is_available()
    if processes.count == 1 or gpu or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    node, place = divmod(processes.rank, settings.devices)
    everyones = processes.gathered(sorted(before))
    os.sched_setaffinity(0, share_of_cores(everyones[node * settings.devices :][: settings.devices], place))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def share_of_cores(allowed: Sequence[Sequence[int]], place: int) -> Sequence[int]:
    """Return the cores of one of a machine's processes.

    Args:
        allowed: Those that each may use. Where a launcher has shared them out, that is how they are shared.
        place: Of the process among them.
    """
    own, count = allowed[place], len(allowed)
    if len(own) < count or any(cores != own for cores in allowed):
        return own
    return own[part(len(own), place, count)]
