"""Measure what models of sequences promise of memory, of many users, and of scoring, each beside its measure.

memory    most memory of a step of the full softmax over 50,000 items, by the size of a chunk, and without chunks
users     an event fed, and a step, from a log of a million users, over those from one of 10,000
scoring   100,000 histories scored over 50,000 items, and what is kept of them, over the product of such matrices

python benchmarks/sequences.py --tasks memory users scoring
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from measuring import available_cores, emit
from torch.nn import functional

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.windows import EventSpace, SequenceBatches
from recdl.models.networks.lstm import LSTM
from recdl.training.chunked import full_softmax
from recdl.training.networks import network_state
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import NextItemLoss, SequenceLoss
from recdl.training.sequence_module import SequenceModule

SIZE, N_ITEMS, POSITIONS = 100, 50_000, 6_400  # a step of 128 windows of 50 events
_CHUNKS = {"default": None, "16 MiB": 16 << 20, "256 MiB": 256 << 20}
_FEW, _MANY, _EVENTS_EACH = 10_000, 1_000_000, 20
_HISTORIES, _AT_ONCE = 100_000, 512


def main() -> None:
    """Measure each task and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="what is measured")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of torch (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for task in arguments.tasks:
        for figures in TASKS[task](arguments.rounds):
            emit(task=task, threads=arguments.threads, **figures)


def _memory(_rounds: int) -> list[dict[str, Any]]:
    """Each in a process of its own: the most memory of a process never falls."""
    logits = 4 * POSITIONS * N_ITEMS >> 20
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name, chunk in [*_CHUNKS.items(), ("whole", 0)]:
            rows.append({"chunk": name, "step_mb": pool.apply(_step_memory, (chunk,)), "logits_mb": logits})
    return rows


def _step_memory(chunk_bytes: int | None) -> int:
    """Return the MiB that a step added to the most that the process had taken; 0: by torch's own cross-entropy."""
    torch.manual_seed(0)
    weight, bias = torch.randn(N_ITEMS, SIZE).requires_grad_(), torch.zeros(N_ITEMS).requires_grad_()
    outputs, targets = torch.randn(POSITIONS, SIZE).requires_grad_(), torch.randint(N_ITEMS, (POSITIONS,))
    _loss(outputs[:8], targets[:8], weight, bias, chunk_bytes).backward()  # what a first call sets up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _loss(outputs, targets, weight, bias, chunk_bytes).backward()
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // unit


def _loss(
    outputs: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, chunk_bytes: int | None
) -> torch.Tensor:
    if chunk_bytes == 0:
        return functional.cross_entropy(functional.linear(outputs, weight, bias), targets)
    return full_softmax(outputs, targets, weight, bias, chunk_bytes=chunk_bytes)


def _users(rounds: int) -> list[dict[str, Any]]:
    feeds = {n_users: _Feed(n_users) for n_users in (_FEW, _MANY)}
    fed: dict[int, list[float]] = {n_users: [] for n_users in feeds}
    steps: dict[int, list[float]] = {n_users: [] for n_users in feeds}
    for _ in range(rounds):
        for n_users, feed in feeds.items():
            fed[n_users].append(feed.seconds() / feed.n_events)
            steps[n_users].append(feed.step_seconds())
    few, many = ({"feed": min(fed[n]), "step": min(steps[n])} for n in (_FEW, _MANY))
    return [
        {"what": "event fed", "ratio": many["feed"] / few["feed"], "microseconds": many["feed"] * 1e6},
        {"what": "step", "ratio": many["step"] / few["step"], "milliseconds": many["step"] * 1e3},
    ]


class _Feed:
    """Batches of a log of random events, and the steps of an LSTM on them."""

    def __init__(self, n_users: int) -> None:
        generator = np.random.default_rng(0)
        self.n_events = n_users * _EVENTS_EACH
        log = Interactions(
            offsets=np.arange(0, self.n_events + 1, _EVENTS_EACH, dtype=np.int64),
            items=generator.integers(0, N_ITEMS, self.n_events, dtype=np.int32),
            behaviors=np.zeros(self.n_events, np.int8),
            timestamps=np.tile(np.arange(_EVENTS_EACH, dtype=np.int64) * 10**8 + 1, n_users),
            n_items=N_ITEMS,
            behavior_names=("view",),
        )
        self._batches = SequenceBatches(log, batch_size=128, max_length=50, seed=0)
        loss = NextItemLoss(SequenceLoss(kind="sampled"), np.bincount(log.items, minlength=N_ITEMS), seed=0)
        self._module = SequenceModule(
            _network(N_ITEMS, 1), loss=loss, learning_rate=1e-3, weight_decay=0.0, space=EventSpace.of(log)
        )
        self._optimizer = self._module.configure_optimizers()

    def seconds(self) -> float:
        """Return the seconds in which an epoch of batches is cut."""
        return _seconds(lambda: sum(1 for _ in self._batches))

    def step_seconds(self) -> float:
        """Return the median seconds of a step, its batch not counted."""
        taken = []
        for place, batch in zip(range(40), self._batches, strict=False):
            taken.append(_seconds(partial(self._step, batch, place)))
        return statistics.median(taken[5:])

    def _step(self, batch: Any, place: int) -> None:
        outputs = self._module.network(batch.events)[batch.mask]
        layer = self._module.network.output_layer()
        self._optimizer.zero_grad()
        self._module.loss(outputs, batch.targets[batch.mask], *layer, step=(0, place)).backward()
        self._optimizer.step()


def _scoring(rounds: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    model = _model()
    seconds: dict[str, list[float]] = {"histories": [], "kept": [], "product": []}
    for _ in range(rounds):
        for name in seconds:
            seconds[name].append(0.0)
        for _ in range(0, _HISTORIES // 10, _AT_ONCE):  # a tenth, since all parts are alike
            lengths = generator.geometric(1 / 10, _AT_ONCE)
            queries = Queries.anonymous([generator.integers(0, N_ITEMS, length).tolist() for length in lengths])
            state = model.begin(queries)
            weight, _ = model.network_.output_layer()
            seconds["histories"][-1] += _seconds(partial(model.score, queries))
            seconds["kept"][-1] += _seconds(partial(model.score_state, state))
            with torch.inference_mode():
                seconds["product"][-1] += _seconds(partial(torch.mm, state.outputs, weight.T))
    least = {name: 10 * min(taken) for name, taken in seconds.items()}
    return [{"what": name, "seconds": least[name], "ratio": least[name] / least["product"]} for name in least]


def _model() -> SequenceRecommender:
    trained = SequenceRecommender(_network)
    state = network_state(_network(N_ITEMS, 1))
    return trained.set_state({**state, "sizes": np.array([N_ITEMS, 1, 1])})


def _network(n_items: int, n_behaviors: int) -> LSTM:
    return LSTM(
        n_items, n_behaviors, embedding_size=SIZE, hidden_size=SIZE, embedding_dropout=0.0, hidden_dropout=0.0
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


TASKS = {"memory": _memory, "users": _users, "scoring": _scoring}


if __name__ == "__main__":
    main()
