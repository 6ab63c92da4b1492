"""Time what a step of NeuMF is made of, and the batches of an LSTM, in one process, each side in turns.

negatives   negatives a second, uniform, four a positive, those that the user has rejected
lightning   an epoch by Lightning with a progress bar and TensorBoard over the same steps in a bare loop
sequences   batches of windows made, over the rate at which an LSTM (width 100, 2,048 negatives) trains on them
tables      a step where the user table has ten million rows over one where it has ten thousand

python benchmarks/steps.py --log S --tasks negatives lightning
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from logs import add_log_options, find_log
from measuring import available_cores, emit
from neighbors import interactions
from peers.timing import read_indexed

from recdl.data.batches import PairBatches
from recdl.data.interactions import Interactions
from recdl.data.sampling import Negatives, Positives
from recdl.data.windows import SequenceBatches
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.neumf import NeuMF
from recdl.training.factorization import FactorizationRecommender
from recdl.training.interaction_modules import PairModule
from recdl.training.losses import binary_cross_entropy
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import SequenceLoss
from recdl.training.settings import TrainerSettings
from recdl.training.tracking import TensorBoardTracking

BATCH_SIZE, N_NEGATIVES, RATE = 819, 4, 1e-3
BATCH_SIZE_SEQUENCES = 128
_FEW, _MANY = 10_000, 10_000_000
_N_STEPS = 300


def main() -> None:
    """Measure each task and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="what is measured")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of torch (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    log = interactions(read_indexed(find_log(arguments.log, arguments.folder)))
    for task in arguments.tasks:
        emit(task=task, log=arguments.log, threads=arguments.threads, **TASKS[task](log, arguments.rounds))


def _negatives(log: Interactions, rounds: int) -> dict[str, Any]:
    positives = Positives.of(log)
    sampler = Negatives(n=N_NEGATIVES).sampler(positives.known, positives.popularity)
    generator = np.random.default_rng(0)
    rows = generator.permutation(len(positives.users))[: BATCH_SIZE * 64]  # as many as are drawn at once
    users, repeats = positives.users[rows], 20
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        for _ in range(repeats):
            sampler.sample(users, N_NEGATIVES, generator)
        seconds.append(time.perf_counter() - started)
    return {"rate": repeats * len(users) * N_NEGATIVES / min(seconds), "unit": "negatives/s"}


def _lightning(log: Interactions, rounds: int) -> dict[str, Any]:
    bare, whole = [], []
    for _ in range(rounds):
        bare.append(_bare_epoch(log))
        with tempfile.TemporaryDirectory() as folder:
            trainer = TrainerSettings(
                accelerator="cpu",
                max_epochs=2,
                tracking=TensorBoardTracking(),
                folder=Path(folder),
                progress_bar=True,
            )
            model = FactorizationRecommender(
                NeuMF,
                loss="bce",
                negatives=Negatives(n=N_NEGATIVES),
                learning_rate=RATE,
                batch_size=BATCH_SIZE,
                trainer=trainer,
            ).fit(log)
        whole.append(model.learning_curve_[-1]["seconds"])
    share = 1 - statistics.median(bare) / statistics.median(whole)
    return {"share": share, "bare_seconds": min(bare), "lightning_seconds": min(whole)}


def _bare_epoch(log: Interactions) -> float:
    """Return the seconds of the second of two epochs, by the module's own arithmetic and optimizers."""
    torch.manual_seed(0)
    positives = Positives.of(log)
    batches = PairBatches(positives, Negatives(n=N_NEGATIVES), batch_size=BATCH_SIZE, seed=0)
    model = FactorizationRecommender(NeuMF, batch_size=BATCH_SIZE, negatives=Negatives(n=N_NEGATIVES))
    model.trained_users_ = np.diff(log.offsets) > 0
    model.trained_items_ = positives.popularity > 0
    few = model._touches_few(BATCH_SIZE * (1 + N_NEGATIVES))
    step = _Step(NeuMF(log.n_users, log.n_items), rows=few)
    for epoch in range(2):
        started = time.perf_counter()
        batches.epoch = epoch
        for batch in batches:
            for part in zip(*(torch.split(column, BATCH_SIZE) for column in batch), strict=True):
                step(*part)
    return time.perf_counter() - started


def _sequences(log: Interactions, rounds: int) -> dict[str, Any]:
    batches = SequenceBatches(log, batch_size=BATCH_SIZE_SEQUENCES, max_length=50, seed=0)
    making = []
    for epoch in range(rounds + 1):
        batches.epoch = epoch
        started = time.perf_counter()
        n_events = sum(int(batch.mask.sum()) for batch in batches)
        making.append(time.perf_counter() - started)
    trainer = TrainerSettings(accelerator="cpu", max_epochs=2, progress_bar=False)
    model = SequenceRecommender(
        partial(LSTM, embedding_size=100, hidden_size=100),
        loss=SequenceLoss(kind="sampled"),
        batch_size=BATCH_SIZE_SEQUENCES,
        trainer=trainer,
    ).fit(log)
    training = model.learning_curve_[-1]["seconds"]
    made, trained = n_events / statistics.median(making[1:]), n_events / training
    return {"ratio": made / trained, "made": made, "trained": trained, "unit": "events/s"}


def _tables(log: Interactions, rounds: int) -> dict[str, Any]:
    """Time steps on random users and items; of the log only the number of items is taken."""
    few, many = (_Step(NeuMF(n_rows, log.n_items), rows=True) for n_rows in (_FEW, _MANY))
    seconds: dict[int, list[float]] = {_FEW: [], _MANY: []}
    generator = torch.Generator().manual_seed(0)
    for _ in range(rounds + 1):
        for n_rows, step in ((_FEW, few), (_MANY, many)):
            users = torch.randint(n_rows, (_N_STEPS, BATCH_SIZE), generator=generator)
            items = torch.randint(log.n_items, (_N_STEPS, BATCH_SIZE, 1 + N_NEGATIVES), generator=generator)
            started = time.perf_counter()
            for part in zip(users, items, strict=True):
                step(*part, torch.ones(BATCH_SIZE))
            seconds[n_rows].append(time.perf_counter() - started)
    milliseconds = {rows: 1000 * min(taken[1:]) / _N_STEPS for rows, taken in seconds.items()}
    return {
        "ratio": milliseconds[_MANY] / milliseconds[_FEW],
        "few_ms": milliseconds[_FEW],
        "many_ms": milliseconds[_MANY],
    }


class _Step:
    """What Lightning is told to do in a step, done without it."""

    def __init__(self, network: NeuMF, *, rows: bool) -> None:
        make = partial(PairModule, loss=binary_cross_entropy, batch_size=BATCH_SIZE, learning_rate=RATE, l2=0.0)
        self.module = make(network, rows=rows)
        self.optimizers = self.module.configure_optimizers()

    def __call__(self, users: torch.Tensor, items: torch.Tensor, weights: torch.Tensor) -> None:
        user_vectors, item_vectors, tables = self.module.touch(users, items)
        logits = self.module.interactions.interact(user_vectors(users), item_vectors(items))
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        ((weights * binary_cross_entropy(logits)).sum() / weights.sum()).backward()
        for table in tables:
            table.put_gradient()
        for optimizer in self.optimizers:
            optimizer.step()


TASKS = {"negatives": _negatives, "lightning": _lightning, "sequences": _sequences, "tables": _tables}


if __name__ == "__main__":
    main()
