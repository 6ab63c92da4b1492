"""One graph of ONNX from the parts of a model."""

import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from recdl.errors import RecordError
from recdl.serving.graphs import ScoreGraph, Tensors

OPSET = 18


def traced(graph: ScoreGraph) -> bytes:
    """Return the parts of a graph as one ONNX file, in which a Scan goes through the groups.

    By tracing, not by torch.export: that takes recurrent layers apart, into steps of a length that is fixed. And
    part by part: a traced loop would be one for each of the groups that it was traced with.

    Raises:
        RecordError: If torch cannot write a part.
    """
    import onnx

    known = graph.example()
    before, made = _part(graph, graph.before, known)
    known = {**known, **made, "rows": made["groups"][0]}
    each, group = _part(graph, graph.each, known, gives="group")
    known["found"] = group["group"][None]
    after, _ = _part(graph, graph.after, known, gives="scores")

    loop = onnx.helper.make_graph(each.node, "each", _plain(each.input, "rows"), _plain(each.output))
    scan = onnx.helper.make_node("Scan", ["groups"], ["found"], body=loop, num_scan_inputs=1)
    inputs = {one.name: one for part in (before, each, after) for one in part.input if one.name in graph.inputs}
    whole = onnx.helper.make_graph(
        [*before.node, scan, *after.node],
        "scores",
        [inputs[name] for name in graph.inputs if name in inputs],
        after.output,
        initializer=[*before.initializer, *each.initializer, *after.initializer],
    )
    model = onnx.helper.make_model(whole, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _plain(values: Any, *names: str) -> list[Any]:
    """Return the values of these names (or all), without their types, which a loop takes from outside."""
    import onnx

    return [onnx.helper.make_empty_tensor_value_info(one.name) for one in values if not names or one.name in names]


def _part(
    graph: ScoreGraph, part: Callable[..., Tensors | torch.Tensor], known: Tensors, *, gives: str = ""
) -> tuple[Any, Tensors]:
    """Return a part as an ONNX graph, whose inner names are its own, and what it makes of the example.

    Args:
        graph: It is a part of.
        part: What to trace.
        known: By name, what it may take.
        gives: Name of what it makes, if that is one tensor.
    """
    import onnx

    taken = _taken(part, known)
    module = _Part(graph, part).eval()  # torch puts the whole back into the mode that it finds
    with torch.inference_mode():
        made = part(*(known[name] for name in taken))
    results = {gives: made} if isinstance(made, torch.Tensor) else made
    axes = {name: dict(graph.axes.get(name.split(".")[0], {})) for name in (*taken, *results)}
    buffer = io.BytesIO()
    try:
        with _without_noise(), torch.inference_mode():
            torch.onnx.export(
                module,
                tuple(known[name] for name in taken),
                cast(Any, buffer),  # its stub knows files alone
                input_names=taken,
                output_names=list(results),
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        reason = str(error).splitlines()[0]
        raise RecordError(f"onnx: torch cannot write this network as ONNX ({reason})") from error
    written = onnx.load_from_string(buffer.getvalue())
    named = onnx.compose.add_prefix(written, f"{part.__name__}/", rename_inputs=False, rename_outputs=False)
    return named.graph, results


def _taken(part: Callable[..., Any], known: Tensors) -> list[str]:
    """Return the names of what a part takes."""
    names: list[str] = []
    for one in inspect.signature(part).parameters.values():
        several = one.kind is inspect.Parameter.VAR_POSITIONAL
        names += [name for name in known if name.startswith(f"{one.name}.")] if several else [one.name]
    return names


class _Part(nn.Module):
    def __init__(self, graph: ScoreGraph, part: Callable[..., Tensors | torch.Tensor]) -> None:
        super().__init__()
        self.graph = graph
        self.part = part

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = self.part(*values)
        return (made,) if isinstance(made, torch.Tensor) else tuple(made.values())


@contextmanager
def _without_noise() -> Iterator[None]:
    """Silence what the tracer says of sizes that may be fixed: that none is is checked on what it wrote."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
