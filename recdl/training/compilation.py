"""A network whose arithmetic is compiled for the time of a fit."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_OF_THE_COMPILER = (  # which looks at vectors that are no leaves, and calls what torch deprecates
    r".*torch\.jit\..* is deprecated",
    r"The \.grad attribute of a Tensor that is not a leaf",
)


@contextmanager
def compiled(network: nn.Module, *, wanted: bool) -> Iterator[None]:
    """Let a network's arithmetic be compiled by `torch.compile` inside the block, where that is `wanted`.

    What is compiled is `interact` of a network of users and items, and `forward` of any other. Its weights and
    the names that they have in checkpoints stay what they are.
    """
    if not wanted:
        yield
        return
    name = "interact" if hasattr(network, "interact") else "forward"
    with warnings.catch_warnings():
        for text in _OF_THE_COMPILER:
            warnings.filterwarnings("ignore", message=text)
        setattr(network, name, torch.compile(getattr(network, name), dynamic=True))
        try:
            yield
        finally:
            delattr(network, name)  # the class has its own
