"""What networks that read histories share: how an event becomes a vector, and how a state becomes logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from recdl.data.features import Features
from recdl.data.windows import N_GAPS, Events
from recdl.errors import ConfigError
from recdl.models.networks.features import FeatureEncoder
from recdl.models.networks.recall import Copy, Recall


@dataclass(frozen=True, kw_only=True)
class EventInputs:
    """What of an event a network is told, beside its item.

    Attributes:
        behaviors: Its behaviour.
        gaps: The time since the event before it, in bins that double; without effect in a log without times.
        positions: Places in the window that are told apart, the last standing for all later ones; 0: its place is
            not told.
    """

    behaviors: bool = True
    gaps: bool = True
    positions: int = 0

    def __post_init__(self) -> None:
        if self.positions < 0:
            raise ConfigError(f"positions must be at least 0, not {self.positions}")


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """How a network's output becomes logits.

    Attributes:
        residual: Whether the embedding of the last item is added to the output, so that the network learns only
            what the last item does not tell.
        tied: Whether the item embeddings are the output weights too (Press & Wolf 2017).
        bias: Whether each item has a bias.
        recall: Whether the items of the whole history are added to the output, as far as is learned (`Recall`).
        copy: Width of the codes by which the very items of the history are raised or lowered, as far as is learned
            (`Copy`), a multiple of 64, which a softmax costs as much as a wider embedding; 0: they are not.
        temperature: Logits are the cosine of output and item over it (e.g. 0.1; Gupta et al. 2019, NISER), so that
            no item is preferred for the length of its embedding alone; None: their product.
    """

    residual: bool = True
    tied: bool = True
    bias: bool = True
    recall: bool = False
    copy: int = 0
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.copy < 0 or self.copy % 64:
            raise ConfigError(f"copy must be 0, or a multiple of 64, not {self.copy}")
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature must be above 0, and finite, or null, not {self.temperature}")


class EventEmbedding(nn.Module):
    """The sum of the embeddings of an event's item, behaviour, gap and position.

    Args:
        n_items: Size of the catalogue. Row `n_items` of the item table is padding, row `n_items + 1` the start.
        n_behaviors: Number of behaviours. Row `n_behaviors` of their table is padding.
        size: Width of the embeddings.
        inputs: What is told beside the item.
        dropout: Share of the sum's entries dropped in training.
    """

    def __init__(self, n_items: int, n_behaviors: int, size: int, inputs: EventInputs, *, dropout: float) -> None:
        super().__init__()
        self.items = _table(n_items + 2, size, padding=n_items)
        self.features: FeatureEncoder | None = None
        # Of a behaviour or gap that training never saw nothing is told, rather than noise: they begin at 0.
        self.behaviors = _zeros(n_behaviors + 1, size, padding=n_behaviors) if inputs.behaviors else None
        self.gaps = _zeros(N_GAPS, size, padding=0) if inputs.gaps else None
        self.positions = _table(inputs.positions, size) if inputs.positions else None
        self.dropout = nn.Dropout(dropout)

    def tell(self, features: Features, trained: npt.NDArray[np.bool_], *, own_dropout: float) -> None:
        """Add to the embedding of each item what is known of it; who is not in `trained` has nothing else."""
        _silence(self.items.weight, trained)
        told = features.with_nothing(self.items.num_embeddings - len(features))
        self.features = FeatureEncoder(told, self.items.embedding_dim, own_dropout=own_dropout)

    def forward(self, events: Events, n_read: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, length, size) sums, and the embeddings of the items alone.

        Args:
            events: What is known of each event.
            n_read: (batch,) int64, events of the window that stand before the first column; None: none.
        """
        items = self.items(events.items)
        if self.features is not None:
            items = self.features.complete(items, events.items)
        total = items
        if self.behaviors is not None:
            total = total + self.behaviors(events.behaviors)
        if self.gaps is not None:
            total = total + self.gaps(events.gaps)
        if self.positions is not None:
            places = torch.arange(items.shape[1], device=items.device)
            places = places if n_read is None else places + n_read[:, None]
            total = total + self.positions(places.clamp(max=self.positions.num_embeddings - 1))
        return self.dropout(total), items


class OutputHead(nn.Module):
    """Brings states to the width of the item embeddings, and holds what output weights are its own.

    Args:
        n_items: Size of the catalogue.
        state_size: Width of the states, which are projected; None: of width `size`, they are taken as they are.
        size: Width of the outputs.
        settings: Of the output.
        n_behaviors: Number of behaviours.
        inputs: What of an event is told.
        dropout: Share of the states' entries dropped in training.
    """

    def __init__(
        self,
        n_items: int,
        state_size: int | None,
        size: int,
        settings: OutputSettings,
        *,
        n_behaviors: int,
        inputs: EventInputs,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.features: FeatureEncoder | None = None
        self.residual = settings.residual
        told = inputs.behaviors
        self.recall = Recall(n_behaviors, told=told) if settings.recall else None
        self.copy = Copy(n_items, n_behaviors, width=settings.copy, told=told) if settings.copy else None
        self.temperature = settings.temperature
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Identity() if state_size is None else nn.Linear(state_size, size)
        self.weight = None if settings.tied else nn.Parameter(torch.randn(n_items, size) * size**-0.5)
        if settings.bias:
            self.bias: torch.Tensor = nn.Parameter(torch.zeros(n_items))
        else:
            self.register_buffer("bias", torch.zeros(n_items), persistent=False)

    def forward(
        self,
        states: torch.Tensor,
        items: torch.Tensor,
        events: Events,
        before: tuple[torch.Tensor, ...] = (),
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return (batch, length, size + copy) outputs, and what of its own the head keeps: of recall, of copy.

        Args:
            states: (batch, length, state_size).
            items: (batch, length, size) embeddings of the items.
            events: Whose they are.
            before: What it kept of what was read before; empty at the beginning.
        """
        outputs: torch.Tensor = self.projection(self.dropout(states))
        outputs = outputs + items if self.residual else outputs
        earlier, kept = iter(before), list[torch.Tensor]()
        if self.recall is not None:
            recalled, after = self.recall(items, events.behaviors, next(earlier, None))
            outputs = outputs + recalled
            kept.append(after)
        if self.temperature is not None:
            outputs = functional.normalize(outputs, dim=-1) / self.temperature
        if self.copy is not None:
            copied, after = self.copy(events.items, events.behaviors, next(earlier, None))
            outputs = torch.cat([outputs, copied.to(outputs.dtype)], -1)
            kept.append(after)
        return outputs, tuple(kept)

    def tell(self, features: Features, trained: npt.NDArray[np.bool_], *, own_dropout: float) -> None:
        """Add what is known of each item to output weights of the network's own; tied ones have it already."""
        if self.weight is not None:
            _silence(self.weight, trained)
            self.features = FeatureEncoder(features, self.weight.shape[1], own_dropout=own_dropout)

    def layer(
        self, embedding: EventEmbedding, items: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights and the bias that turn an output into logits.

        Args:
            embedding: Of events, whose item embeddings are the weights if they are tied.
            items: (n,) int64, whose (n, size + copy) weights and (n,) bias are asked for; None: of all, in order.
        """
        if self.weight is None:
            own, features = embedding.items.weight[: self.n_items], embedding.features
        else:
            own, features = self.weight, self.features
        weight, bias = own, self.bias
        if items is not None:
            weight = functional.embedding(items, own)
            bias = functional.embedding(items, self.bias[:, None])[:, 0]  # indexing has a far slower gradient
        if features is not None:
            weight = features.complete(
                weight, torch.arange(self.n_items, device=own.device) if items is None else items
            )
        if self.temperature is not None:
            weight = functional.normalize(weight, dim=-1)
        if self.copy is not None:
            codes = self.copy.codes[: self.n_items] if items is None else self.copy.codes[items]
            weight = torch.cat([weight, codes.to(weight.dtype)], -1)
        return weight, bias


class RecurrentState(NamedTuple):
    """What a recurrent network keeps of the events read.

    Attributes:
        cells: Each (n_layers, batch, hidden_size), and what the output head keeps, each (1, batch, its size).
        n_read: (batch,) int64, events read.
    """

    cells: tuple[torch.Tensor, ...]
    n_read: torch.Tensor

    def take(self, rows: Any) -> "RecurrentState":
        """Return a copy of the state of some rows of the batch: indices, or a slice."""
        return RecurrentState(tuple(cell[:, rows].clone() for cell in self.cells), self.n_read[rows].clone())

    def put(self, rows: Any, other: "RecurrentState") -> None:
        """Take over the state of some rows."""
        for cell, new in zip(self.cells, other.cells, strict=True):
            cell[:, rows] = new
        self.n_read[rows] = other.n_read

    @classmethod
    def join(cls, states: Sequence["RecurrentState"]) -> "RecurrentState":
        """Return one state for the rows of all."""
        cells = zip(*(state.cells for state in states), strict=True)
        return cls(tuple(torch.cat(parts, 1) for parts in cells), torch.cat([state.n_read for state in states]))

    def of_head(self, n_cells: int) -> tuple[torch.Tensor, ...]:
        """Return what is kept beside the cells, of which there are `n_cells`."""
        return self.cells[n_cells:]

    def after(self, cells: tuple[torch.Tensor, ...], length: int) -> "RecurrentState":
        """Return the state after `length` events more."""
        return RecurrentState(cells, self.n_read + length)

    @classmethod
    def none(cls, events: Events) -> "RecurrentState":
        """Return what is kept before the first of `events`: nothing, and no cells."""
        return cls((), torch.zeros(len(events.items), dtype=torch.int64, device=events.items.device))


@runtime_checkable
class RecurrentNetwork(Protocol):
    """A network whose state after an event is all that it keeps of the events up to it."""

    def read(self, events: Events, state: RecurrentState | None = None) -> tuple[torch.Tensor, RecurrentState]:
        """Return (batch, length, d) outputs and the state after the last column.

        Args:
            events: What to read, not padded if the state is to be used.
            state: After what was read before; None at the beginning.
        """
        ...


def check_sizes(**sizes: int) -> None:
    """Refuse a network of no size.

    Raises:
        ValueError: Naming all that must be at least 1.
    """
    if min(sizes.values()) < 1:
        *others, last = sizes
        raise ValueError(f"{', '.join(others)} and {last} must be at least 1")


@torch.no_grad()
def _silence(weight: torch.Tensor, trained: npt.NDArray[np.bool_]) -> None:
    weight[torch.from_numpy(np.flatnonzero(~trained)).to(weight.device)] = 0


def _zeros(rows: int, size: int, *, padding: int) -> nn.Embedding:
    table = nn.Embedding(rows, size, padding_idx=padding)
    nn.init.zeros_(table.weight)
    return table


def _table(rows: int, size: int, *, padding: int | None = None) -> nn.Embedding:
    table = nn.Embedding(rows, size, padding_idx=padding)
    nn.init.normal_(table.weight, std=size**-0.5)
    if padding is not None:
        with torch.no_grad():  # nn.init overwrote it
            table.weight[padding].zero_()
    return table
