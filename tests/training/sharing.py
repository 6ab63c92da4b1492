"""What the tests of several processes train, alike in each: a module that a process of its own can import."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet
from recdl.data.sampling import Negatives
from recdl.data.targets import SequenceTargets
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.neumf import NeuMF
from recdl.models.protocol import RankingTask
from recdl.training.cores import own_cores
from recdl.training.factorization import FactorizationRecommender
from recdl.training.processes import Processes
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import SequenceLoss
from recdl.training.settings import TrainerSettings
from tests.logs import log_of_events

N_USERS, N_ITEMS = 41, 30
FACTORIZATION: dict[str, dict[str, Any]] = {
    "pairs": {"loss": "bce", "batch_size": 32, "negatives": Negatives(n=2)},
    "pairs, few rows a step": {"loss": "bpr", "batch_size": 1, "negatives": Negatives(n=1)},
    "rows": {"loss": "full_softmax", "batch_size": 8, "behavior_weights": {"view": 0.3}},
    "rows, sampled": {"loss": "sampled_softmax", "batch_size": 5, "negatives": Negatives(n=8)},
}
SEQUENCES: dict[str, dict[str, Any]] = {
    "next items": {"loss": SequenceLoss(kind="full", label_smoothing=0.1)},
    "next items, sampled, averaged": {"loss": SequenceLoss(kind="sampled", n_negatives=8), "averaging": 0.9},
    "weighed targets": {"targets": SequenceTargets(weights={"purchase": 3.0}, behavior_weight=0.5)},
    "baskets": {"targets": SequenceTargets(baskets=True, behaviors=("purchase",))},
}
NAMES = (*FACTORIZATION, *SEQUENCES)
Model = FactorizationRecommender | SequenceRecommender


def log() -> Interactions:
    """Return users with 1 to 12 events each, of two behaviours, at moments that some events share."""
    generator = np.random.default_rng(5)
    events = [
        (user, place // 2, int(generator.integers(0, 2)), int(item))
        for user in range(N_USERS)
        for place, item in enumerate(generator.choice(N_ITEMS, generator.integers(1, 13), replace=False))
    ]
    return log_of_events(events, n_users=N_USERS, n_items=N_ITEMS)


def task(train: Interactions) -> RankingTask:
    """Return one target for each of 7 users: fewer than there are, and not a multiple of the processes."""
    queries = Queries.at_end(train)[np.arange(7)]
    query_set = QuerySet(queries, np.arange(8, dtype=np.int64), np.arange(7, dtype=np.int32))
    return RankingTask(query_set, np.ones(N_ITEMS, np.bool_), exclude_history=False)


def fitted(name: str, *, devices: int = 1, accumulate: int = 1, compile: bool = False) -> Model:
    """Return a model after two epochs, without dropout, for which processes draw different units.

    Vectors begin far from 0: Adam makes whole steps of the rounding of gradients that vanish.
    """
    trainer = TrainerSettings(
        accelerator="cpu",
        devices=devices,
        accumulate=accumulate,
        compile=compile,
        max_epochs=2,
        gradient_clip=0.5,
        progress_bar=False,
    )
    model: Model
    if name in FACTORIZATION:
        neumf = partial(
            NeuMF, mf_embedding_size=4, mlp_embedding_size=4, mlp_sizes=(4,), dropout=0.0, initial_deviation=0.3
        )
        model = FactorizationRecommender(neumf, l2=0.1, trainer=trainer, seed=3, **FACTORIZATION[name])
    else:
        lstm = partial(LSTM, embedding_size=6, hidden_size=5, embedding_dropout=0.0, hidden_dropout=0.0)
        model = SequenceRecommender(
            lstm, batch_size=8, max_length=5, learning_rate=0.02, trainer=trainer, seed=3, **SEQUENCES[name]
        )
    train = log()
    return model.fit(train, task(train))


def preferences(model: Model) -> npt.NDArray[np.float32]:
    """Return (n_users, n_items) scores, each user's less their mean.

    A softmax does not see that mean, so that its gradient is rounding alone, of which Adam makes whole steps.
    """
    scores = model.score(Queries.at_end(log()))
    return scores - scores.mean(1, keepdims=True)


def sums(rank: int, count: int) -> list[torch.Tensor]:
    """Return what processes add up, rank 1 twice what rank 0 does: tensors large and small, of several types."""
    kinds = [((1 << 18) + 5, torch.float32), (7, torch.float32), (3, torch.int64), (1 << 18, torch.float64)]
    tensors = [(rank + 1) * torch.arange(n).to(dtype).reshape(1, n) for n, dtype in kinds]
    tensors.append(torch.tensor(rank + 0.5))
    Processes(rank, count).add_up(tensors)
    return tensors


def main(rank: int, count: int, port: str, folder: Path) -> None:
    """Fit every model as one of several processes, and write what each prefers, and how it learned."""
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=count)
    torch.save(sums(rank, count), folder / f"sums-{rank}.pt")
    allowed = sorted(os.sched_getaffinity(0))
    with own_cores(TrainerSettings(accelerator="cpu", devices=count), Processes(rank, count)):
        within = sorted(os.sched_getaffinity(0))
    cores = [allowed, within, sorted(os.sched_getaffinity(0))]
    (folder / f"cores-{rank}.json").write_text(json.dumps(cores))
    for place, name in enumerate(NAMES):
        model = fitted(name, devices=count)
        np.save(folder / f"{place}-{rank}.npy", preferences(model))
        (folder / f"{place}-{rank}.json").write_text(json.dumps(model.learning_curve_))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
