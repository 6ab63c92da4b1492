"""Scores a second of exported networks in onnxruntime, beside the same models in torch, on one CPU.

Both are given the same histories (or users), and make of them whatever they need: padding is counted. Weights are
random, since they change nothing in the time. Rounds alternate, and the median of each side counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import torch
from measuring import emit

from recdl.config import build_model, compose
from recdl.data.queries import Queries
from recdl.models.protocol import Recommender
from recdl.serving.onnx_model import onnx_model, padded
from recdl.training.networks import network_state

N_USERS, N_ITEMS, N_BEHAVIORS = 6040, 3706, 4
MODELS = ("lstm", "gru", "sasrec", "cnn", "mf", "neumf")


def untrained(name: str) -> Recommender:
    """Return a model of the default settings with random weights."""
    config = compose("train", [f"model={name}"])
    model: Any = build_model(config["model"], extras={"seed": 0})
    if name in ("mf", "neumf"):
        trained = {"trained_users": np.ones(N_USERS, np.bool_), "trained_items": np.ones(N_ITEMS, np.bool_)}
        found = model.set_state({**network_state(model.network(N_USERS, N_ITEMS)), **trained})
    else:
        sizes = np.array([N_ITEMS, N_BEHAVIORS, 1])
        found = model.set_state({**network_state(model.network(N_ITEMS, N_BEHAVIORS)), "sizes": sizes})
    loaded: Recommender = found
    return loaded


def histories(n: int, generator: np.random.Generator) -> Queries:
    """Return users with histories of 5 to 60 events, half of them longer than 32."""
    lengths = generator.integers(5, 61, n)
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    return Queries(
        users=generator.integers(0, N_USERS, n).astype(np.int32),
        starts=ends - lengths,
        ends=ends,
        items=generator.integers(0, N_ITEMS, total).astype(np.int32),
        behaviors=generator.integers(0, N_BEHAVIORS, total).astype(np.int8),
        timestamps=np.sort(generator.integers(1, 10**15, total)),
    )


def seconds(work: Callable[[], Any], n: int) -> tuple[float, float]:
    """Return how long `work` takes by the clock and on the CPU, the means of `n` times in a row."""
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(n):
        work()
    return (time.perf_counter() - started) / n, (time.process_time() - cpu) / n


def compare(name: str, batch: int, *, rounds: int, threads: int) -> None:
    """Time one model at one batch size."""
    model, queries = untrained(name), histories(batch, np.random.default_rng(0))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(onnx_model(model).content, options, providers=["CPUExecutionProvider"])
    taken = [node.name for node in session.get_inputs()]
    catalogue = np.arange(N_ITEMS)

    def in_onnx() -> Any:
        by_index = {"users": queries.users.astype(np.int64), "items": catalogue}
        feed = by_index if "users" in taken else padded(queries)
        return session.run(None, {one: feed[one] for one in taken})[0]

    in_torch = partial(model.score, queries)
    np.testing.assert_allclose(in_onnx(), in_torch(), atol=1e-3)
    times = max(1, 50 // batch)
    figures = [(*seconds(in_torch, times), *seconds(in_onnx, times)) for _ in range(rounds)]
    torch_seconds, torch_cpu, onnx_seconds, onnx_cpu = map(statistics.median, zip(*figures, strict=True))
    emit(
        model=name,
        batch=batch,
        torch_ms=round(1000 * torch_seconds, 2),
        onnx_ms=round(1000 * onnx_seconds, 2),
        ratio=round(torch_seconds / onnx_seconds, 2),
        cpu_ratio=round(torch_cpu / onnx_cpu, 2),
    )


def main() -> None:
    """Print a line of JSON for each model and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32, 256])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.models:
        for batch in arguments.batches:
            compare(name, batch, rounds=arguments.rounds, threads=arguments.threads)


if __name__ == "__main__":
    main()
