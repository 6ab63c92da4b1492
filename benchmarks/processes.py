"""Seconds of an epoch by one process on a core, by two that share it on two, and by two that do not.

The last tells what two cores of this machine can give at most: each process trains the whole epoch for itself, and
is slowed down by the other only through what the cores share, such as the way to memory. Users (or a part of them)
and items are as many as in Amazon Beauty; the softmax is over all items.

python benchmarks/processes.py
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from measuring import emit
from torch import distributed

from recdl.data.interactions import Interactions
from recdl.models.networks.events import EventInputs
from recdl.models.networks.lstm import LSTM
from recdl.training.modules import FitModule
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import SequenceLoss
from recdl.training.settings import TrainerSettings

N_ITEMS, MEAN_LENGTH, SHORTEST = 12_101, 8.9, 5


def main() -> None:
    """Print a line of JSON for each way of training, and what two processes gain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5600, help="of 22,363 (default: %(default)s)")
    parser.add_argument("--width", type=int, default=128, help="of embeddings and cell (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="the first is not counted (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="times that each is done (default: %(default)s)")
    parser.add_argument("--as", dest="rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--port", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank is not None:
        _train(arguments)
        return
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for way, started in (("one", [(0, 1)]), ("two", [(0, 2), (1, 2)]), ("apart", [(0, 1), (1, 1)])):
            reports = _started(arguments, started)
            found[way].append(max(report["seconds"] for report in reports))
            emit(way=way, **reports[0])
    one, two, apart = (statistics.median(found[way]) for way in ("one", "two", "apart"))
    emit(one=one, two=two, apart=apart, gain=round(one / two, 2), gain_at_most=round(2 * one / apart, 2))


def _started(arguments: argparse.Namespace, processes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return what each process of (rank, count) reports; the n-th runs on the n-th core alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = [f"--{name}={getattr(arguments, name)}" for name in ("users", "width", "epochs")]
    cores = sorted(os.sched_getaffinity(0))
    running = []
    for place, (rank, count) in enumerate(processes):
        core = str(cores[place % len(cores)])
        environment = {"OMP_NUM_THREADS": "1", "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(count)}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = ["taskset", "-c", core, sys.executable, __file__, *settings, f"--as={rank}", f"--count={count}"]
        if count == 1:
            environment, where = {"OMP_NUM_THREADS": "1"}, {}
        running.append(
            subprocess.Popen(
                [*command, f"--port={port}"], env={**os.environ, **environment, **where}, stdout=subprocess.PIPE
            )
        )
    printed = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a process failed")
    return [json.loads(text.splitlines()[-1]) for text in printed]


def _train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if arguments.count > 1:
        address = f"tcp://127.0.0.1:{arguments.port}"
        distributed.init_process_group(
            "gloo", init_method=address, rank=arguments.rank, world_size=arguments.count
        )
    inputs = EventInputs(behaviors=False, gaps=False)
    network = partial(LSTM, embedding_size=arguments.width, hidden_size=arguments.width, inputs=inputs)
    trainer = TrainerSettings(
        accelerator="cpu", devices=arguments.count, max_epochs=arguments.epochs, progress_bar=False
    )
    model = SequenceRecommender(network, loss=SequenceLoss(kind="full"), trainer=trainer)
    seconds: dict[str, float] = defaultdict(float)
    with _timed("_meet", seconds):
        model.fit(_log(arguments.users))
    epochs = [entry["seconds"] for entry in model.learning_curve_[1:]]
    mean = sum(epochs) / len(epochs)
    share = round(seconds["_meet"] / arguments.epochs / mean, 3)
    print(json.dumps({"seconds": min(epochs), "share_of_meeting": share}))
    if arguments.count > 1:
        distributed.destroy_process_group()


def _timed(name: str, seconds: dict[str, float]) -> Any:
    method: Callable[..., Any] = getattr(FitModule, name)

    def call(*given: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*given, **named)
        finally:
            seconds[name] += time.perf_counter() - started

    return patch.object(FitModule, name, call)


def _log(n_users: int) -> Interactions:
    """Return users of 5 events and more, 8.9 in the mean."""
    generator = np.random.default_rng(0)
    lengths = SHORTEST - 1 + generator.geometric(1 / (MEAN_LENGTH - SHORTEST + 1), n_users)
    n = int(lengths.sum())
    popularity = 1 / np.arange(10, N_ITEMS + 10)
    return Interactions(
        offsets=np.append(0, np.cumsum(lengths)).astype(np.int64),
        items=generator.choice(N_ITEMS, n, p=popularity / popularity.sum()).astype(np.int32),
        behaviors=np.zeros(n, np.int8),
        timestamps=np.arange(n),
        n_items=N_ITEMS,
        behavior_names=("purchase",),
        timed=False,
    )


if __name__ == "__main__":
    main()
