"""What the neural recommenders share: checks, their network's state as arrays, where it computes, its seed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from recdl.errors import ConfigError, RecordError
from recdl.models.memory import check_memory
from recdl.models.protocol import State

_PREFIX = "network."
_COPIES_IN_TRAINING = 4  # weights, gradients, and the two moments of Adam


def check_positive(**settings: float) -> None:
    """Refuse settings that must be above 0.

    Raises:
        ConfigError: Naming the first that is not.
    """
    for name, value in settings.items():
        if not value > 0:
            raise ConfigError(f"model.{name} must be above 0, not {value}")


def check_not_negative(**settings: float) -> None:
    """Refuse settings that must be at least 0.

    Raises:
        ConfigError: Naming the first that is not.
    """
    for name, value in settings.items():
        if not value >= 0:
            raise ConfigError(f"model.{name} must be at least 0, not {value}")


def check_network(make: Callable[..., nn.Module], *sizes: int) -> None:
    """Refuse settings that no network can be made of, before there is any data to make it for.

    Args:
        make: Makes the network.
        sizes: Some sizes to make it for.

    Raises:
        ConfigError: Saying what the network says.
    """
    try:
        with torch_seed(0):
            make(*sizes)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ConfigError(f"model.network: {error}") from error


def check_network_memory(make: Callable[..., nn.Module], *sizes: int, accelerator: str) -> None:
    """Refuse a network whose training would not fit into memory, before any of it is allocated.

    Args:
        make: Makes the network.
        sizes: Those of the log.
        accelerator: Where it is to be trained, as `TrainerSettings` has it; a GPU leaves the weights alone to this
            memory.

    Raises:
        DataError: With the estimate.
    """
    with torch_seed(0), torch.device("meta"):  # shapes alone
        parameters = sum(parameter.numel() for parameter in make(*sizes).parameters())
    elsewhere = accelerator in ("auto", "gpu") and torch.cuda.is_available()
    check_memory(
        (1 if elsewhere else _COPIES_IN_TRAINING) * 4 * parameters,
        what=f"training a network of {parameters:,} weights",
        advice="lower model.network's embedding sizes, or keep fewer users and items",
    )


def network_state(network: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """Return a network's parameters and buffers as named arrays."""
    return {_PREFIX + name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


def load_network_state(network: nn.Module, state: State) -> None:
    """Copy the arrays of `network_state` into a network of the same shape.

    Raises:
        RecordError: If an array is missing, unknown or of the wrong shape.
    """
    tensors = {
        name.removeprefix(_PREFIX): torch.from_numpy(np.array(array))
        for name, array in state.items()
        if name.startswith(_PREFIX)
    }
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise RecordError(f"the stored weights do not fit the model's settings: {error}") from error


def read_state(state: State, name: str) -> npt.NDArray[Any]:
    """Return one array of a stored state.

    Raises:
        RecordError: If it is not there.
    """
    if name not in state:
        raise RecordError(f"the stored model has no array {name!r}; it has {', '.join(sorted(state))}")
    return state[name]


def device_of(network: nn.Module) -> torch.device:
    """Return the device that a network's parameters are on."""
    return next(network.parameters()).device


@contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Seed torch inside the block, and give its random state back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
