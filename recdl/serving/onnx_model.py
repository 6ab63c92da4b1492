"""A model as ONNX, written only if onnxruntime then scores as torch does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recdl.data.queries import Queries
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import ConfigError, RecordError
from recdl.models.protocol import Recommender
from recdl.serving.graphs import HistoryGraph, PairGraph, graph_of
from recdl.serving.tracing import OPSET, traced

TOLERANCE = 1e-4
"""Largest difference from torch's score, as a share of the largest score or of 1, that counts as none."""

_MOST_BYTES = (1 << 31) - (1 << 24)
"""An ONNX file is one message of protobuf, which ends at 2 GiB."""

_HISTORY_LENGTHS = (0, 1, 2, 3, 7)
_INPUTS = {
    "items": "int64 (batch, length): indices of items.parquet, oldest first, right-padded with anything",
    "behaviors": "int64 (batch, length): places in the manifest's behaviors",
    "timestamps": "int64 (batch, length): microseconds since 1970-01-01 UTC; 0 where there are none",
    "lengths": "int64 (batch,): events of each history, 0 to length",
}
_PAIR_INPUTS = {
    "users": "int64 (batch,): indices of users.parquet; -1: of whom nothing is known",
    "items": "int64 (n,): indices of items.parquet, scored for every user of the batch",
}
_NAN = "NaN where an index is none that the model has"
_OUTPUT = f"float32 (batch, n_items): scores, the higher the better; the row is {_NAN}"
_PAIR_OUTPUT = f"float32 (batch, n): scores, the higher the better; {_NAN}"


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A model as ONNX.

    Attributes:
        content: The file.
        about: What a manifest says of it: its inputs and output, and by how much it differed from torch.
    """

    content: bytes
    about: Mapping[str, Any]


def onnx_model(model: Recommender, *, seed: int = 0) -> OnnxModel:
    """Return a fitted network as ONNX, with dynamic sizes, checked against what the model itself scores.

    Args:
        model: To be exported.
        seed: Of the histories or users that are scored to check.

    Raises:
        ConfigError: If the model is no network, or onnxruntime is not installed.
        RecordError: If it cannot be written, or its scores are not those of torch.
    """
    runtime = _runtime()
    graph = graph_of(model)
    if graph is None:
        raise ConfigError(
            f"onnx: a {type(model).__name__} is no network, and only these become ONNX; export without onnx=true"
        )
    # The tables of a network of pairs are not in the graph, which has the vectors made of them.
    tables = ("network.user_embedding.weight", "network.item_embedding.weight")
    size = sum(part.nbytes for name, part in graph.state_dict().items() if name not in tables)
    if size > _MOST_BYTES:
        raise ConfigError(
            f"onnx: the model has {size:,} bytes, and an ONNX file ends at 2 GiB; lower its embedding sizes"
        )
    content = traced(graph)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    of_histories = isinstance(graph, HistoryGraph)
    inputs = _INPUTS if of_histories else _PAIR_INPUTS
    taken = [node.name for node in session.get_inputs()]
    about = {
        "opset": OPSET,
        "inputs": {name: inputs[name] for name in taken},
        "output": {"scores": _OUTPUT if of_histories else _PAIR_OUTPUT},
        "tolerance": TOLERANCE,
        "max_difference": _max_difference(session, taken, model, graph, np.random.default_rng(seed)),
    }
    return OnnxModel(content, about)


def padded(queries: Queries) -> dict[str, npt.NDArray[np.int64]]:
    """Return histories as the inputs of an exported model of sequences: right-padded, at least one column."""
    columns = np.arange(max(1, int(queries.lengths.max(initial=0))))
    inside = columns < queries.lengths[:, None]
    places = (queries.starts[:, None] + columns)[inside]
    found = {"lengths": queries.lengths.astype(np.int64)}
    for name in ("items", "behaviors", "timestamps"):
        found[name] = np.zeros(inside.shape, np.int64)
        found[name][inside] = getattr(queries, name)[places]
    return found


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401  # torch writes through it
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ConfigError(f"onnx: needs the package {error.name!r}: pip install 'recdl[onnx]'") from error
    return onnxruntime


def _max_difference(
    session: Any,
    taken: list[str],
    model: Recommender,
    graph: HistoryGraph | PairGraph,
    generator: np.random.Generator,
) -> float:
    """Return the largest difference from what the model scores, over batches of several sizes.

    Raises:
        RecordError: If it exceeds the tolerance, or an index that the model has not gets a score.
    """
    check = _history_batches if isinstance(graph, HistoryGraph) else _pair_batches
    largest = 0.0
    for feed, expected in check(model, graph, generator):
        (found,) = session.run(None, {name: feed[name] for name in taken})
        if found.shape != expected.shape or not np.array_equal(np.isnan(found), np.isnan(expected)):
            raise RecordError("onnx: the graph answers what it cannot know, or does not answer what it can")
        known = ~np.isnan(expected)
        difference = float(np.abs(found - expected)[known].max(initial=0.0))
        allowed = TOLERANCE * max(1.0, float(np.abs(expected[known]).max(initial=0.0)))
        if difference > allowed:
            raise RecordError(
                f"onnx: onnxruntime's scores differ from torch's by up to {difference:.2g}, and {allowed:.2g} is"
                " allowed, so that nothing is written; please report the model's settings"
            )
        largest = max(largest, difference)
    return largest


Batches = Iterator[tuple[dict[str, npt.NDArray[np.int64]], npt.NDArray[np.float32]]]


def _history_batches(
    model: Recommender, graph: HistoryGraph | PairGraph, generator: np.random.Generator
) -> Batches:
    """Yield histories of all lengths, also longer than the network sees, and ones that hold what it has not."""
    assert isinstance(graph, HistoryGraph)
    space = graph.space
    longest = (graph.max_length - 1, graph.max_length, graph.max_length + 3)
    every = (*_HISTORY_LENGTHS, *longest)
    for lengths in ((0,), (1,), (longest[-1], 0), every * 4):  # the last in several groups
        ends = np.cumsum(lengths, dtype=np.int64)
        n = int(ends[-1])
        times = np.sort(generator.integers(0, 2 ** generator.integers(20, 55, n), dtype=np.int64))
        queries = Queries(
            users=np.full(len(lengths), UNKNOWN, np.int32),
            starts=ends - np.array(lengths, np.int64),
            ends=ends,
            items=generator.integers(0, space.n_items, n).astype(np.int32),
            behaviors=generator.integers(0, space.n_behaviors, n).astype(np.int8),
            timestamps=times * (generator.random(n) < 0.9),
        )
        feed, scores = padded(queries), model.score(queries)
        yield feed, scores
        for name, value in (("items", -1), ("items", space.n_items), ("behaviors", -1), ("lengths", -1)):
            if lengths[0]:
                wrong = {key: column.copy() for key, column in feed.items()}
                wrong[name][(0, lengths[0] - 1) if wrong[name].ndim == 2 else 0] = value
                refused = scores.copy()
                refused[0] = np.nan
                yield wrong, refused


def _pair_batches(model: Recommender, graph: HistoryGraph | PairGraph, generator: np.random.Generator) -> Batches:
    """Yield users and items of all kinds, and ones that the model has not."""
    assert isinstance(graph, PairGraph)
    n_users, n_items = len(graph.user_vectors) - 1, len(graph.item_vectors)
    for n, m in ((1, 1), (3, n_items), (9, 5)):
        users = generator.integers(UNKNOWN, n_users, n).astype(np.int32)
        users[-1] = UNKNOWN
        items = generator.integers(0, n_items, m)
        nothing = np.zeros(n, np.int64)
        queries = Queries(users, nothing, nothing, np.zeros(0, np.int32), np.zeros(0, np.int8), nothing[:0])
        scores = model.score(queries)[:, items]
        yield {"users": users.astype(np.int64), "items": items}, scores
        wrong_users, wrong_items, refused = users.astype(np.int64), items.copy(), scores.copy()
        wrong_users[0], refused[0] = n_users, np.nan
        wrong_items[-1], refused[:, -1] = UNKNOWN, np.nan
        yield {"users": wrong_users, "items": wrong_items}, refused
