"""Dilated convolutions that predict the next item of a history."""

import torch
from torch import nn
from torch.nn import functional

from recdl.data.windows import Events
from recdl.models.networks.events import (
    EventEmbedding,
    EventInputs,
    OutputHead,
    OutputSettings,
    check_sizes,
)

_ALL_INPUTS = EventInputs()
_PLAIN_OUTPUT = OutputSettings(residual=False)


class CNN(nn.Module):
    """Causal dilated convolutions in residual blocks over the events of a history.

    Yuan et al. 2019, A Simple Convolutional Generative Network for Next Item Recommendation (NextItNet): a block
    has two convolutions, the second twice as dilated as the first, each after a norm and a rectifier. An output
    sees the last 1 + 3 (kernel_size - 1) sum(dilations) events, itself included.

    Args:
        n_items: Size of the catalogue.
        n_behaviors: Number of behaviours.
        embedding_size: Width of the item embeddings, of the blocks, and of the output.
        kernel_size: Events that a convolution sees.
        dilations: Steps between them, in the first convolution of each block.
        embedding_dropout: Share of the input embeddings' entries dropped in training.
        hidden_dropout: Share of what each block says dropped in training.
        inputs: What of an event the network is told.
        output: How what the last block says becomes logits.
    """

    def __init__(
        self,
        n_items: int,
        n_behaviors: int,
        *,
        embedding_size: int = 64,
        kernel_size: int = 3,
        dilations: tuple[int, ...] = (1, 4),
        embedding_dropout: float = 0.2,
        hidden_dropout: float = 0.2,
        inputs: EventInputs = _ALL_INPUTS,
        output: OutputSettings = _PLAIN_OUTPUT,
    ) -> None:
        super().__init__()
        if not dilations:
            raise ValueError("dilations is empty: name one for each block, such as [1, 4]")
        check_sizes(embedding_size=embedding_size, kernel_size=kernel_size, dilations=min(dilations))
        self.embedding = EventEmbedding(n_items, n_behaviors, embedding_size, inputs, dropout=embedding_dropout)
        self.scale = embedding_size**0.5  # the embeddings then weigh as much as what blocks add
        self.blocks = nn.ModuleList(
            _Block(embedding_size, kernel_size, dilation, hidden_dropout) for dilation in dilations
        )
        self.norm = nn.LayerNorm(embedding_size)
        self.head = OutputHead(n_items, None, embedding_size, output, n_behaviors=n_behaviors, inputs=inputs)

    def forward(self, events: Events) -> torch.Tensor:
        """Return (batch, length, embedding_size) outputs; each depends on its own and earlier positions only."""
        vectors, items = self.embedding(events)
        states = vectors * self.scale
        for block in self.blocks:
            states = block(states)
        outputs: torch.Tensor = self.head(self.norm(states), items, events)[0]
        return outputs

    def output_layer(self, items: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the (n, embedding_size) weights and (n,) bias that turn an output into logits of (n,) items."""
        return self.head.layer(self.embedding, items)


class _Block(nn.Module):
    def __init__(self, size: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = _Convolution(size, kernel_size, dilation)
        self.second = _Convolution(size, kernel_size, 2 * dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        moved: torch.Tensor = states + self.dropout(self.second(self.first(states)))
        return moved


class _Convolution(nn.Module):
    def __init__(self, size: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.convolution = nn.Conv1d(size, size, kernel_size, dilation=dilation)
        self.before = (kernel_size - 1) * dilation

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        ready = functional.relu(self.norm(states)).transpose(1, 2)
        # Nothing stands before the first event, and nothing later is seen.
        seen: torch.Tensor = self.convolution(functional.pad(ready, (self.before, 0)))
        return seen.transpose(1, 2)
