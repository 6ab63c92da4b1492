"""Self-attention that predicts the next item of a history."""

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

_WITH_PLACES = EventInputs(positions=50)
_PLAIN_OUTPUT = OutputSettings(residual=False)


class SASRec(nn.Module):
    """Causal self-attention over the events of a history.

    Kang & McAuley 2018, Self-Attentive Sequential Recommendation, with the norm at the entrance of each part of a
    block and a last one at the end (Xiong et al. 2020, On Layer Normalization in the Transformer Architecture).
    Histories are padded on the right, where no earlier position looks, so that no padding has to be masked.

    Args:
        n_items: Size of the catalogue.
        n_behaviors: Number of behaviours.
        embedding_size: Width of the item embeddings, of the blocks, and of the output.
        n_layers: Blocks.
        n_heads: Heads of the attention; they share the width.
        feedforward_size: Width within the feed-forward part of a block.
        embedding_dropout: Share of the input embeddings' entries dropped in training.
        hidden_dropout: Share of the attention's weights and of what each part of a block says dropped in training.
        inputs: What of an event the network is told.
        output: How what the last block says becomes logits.
    """

    def __init__(
        self,
        n_items: int,
        n_behaviors: int,
        *,
        embedding_size: int = 64,
        n_layers: int = 2,
        n_heads: int = 2,
        feedforward_size: int = 64,
        embedding_dropout: float = 0.2,
        hidden_dropout: float = 0.2,
        inputs: EventInputs = _WITH_PLACES,
        output: OutputSettings = _PLAIN_OUTPUT,
    ) -> None:
        super().__init__()
        check_sizes(
            embedding_size=embedding_size, n_layers=n_layers, n_heads=n_heads, feedforward_size=feedforward_size
        )
        if embedding_size % n_heads:
            raise ValueError(f"embedding_size={embedding_size} cannot be shared by n_heads={n_heads}")
        self.embedding = EventEmbedding(n_items, n_behaviors, embedding_size, inputs, dropout=embedding_dropout)
        self.scale = embedding_size**0.5  # the paper's; the embeddings then weigh as much as what blocks add
        self.blocks = nn.ModuleList(
            _Block(embedding_size, n_heads, feedforward_size, hidden_dropout) for _ in range(n_layers)
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
    def __init__(self, size: int, n_heads: int, feedforward_size: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(size)
        self.queries_keys_values = nn.Linear(size, 3 * size)
        self.joined = nn.Linear(size, size)
        self.feedforward_norm = nn.LayerNorm(size)
        self.inner = nn.Linear(size, feedforward_size)
        self.outer = nn.Linear(feedforward_size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        states = states + self.dropout(self._attend(self.attention_norm(states)))
        inner = self.dropout(functional.relu(self.inner(self.feedforward_norm(states))))
        moved: torch.Tensor = states + self.dropout(self.outer(inner))
        return moved

    def _attend(self, states: torch.Tensor) -> torch.Tensor:
        batch, length, size = states.shape
        split = self.queries_keys_values(states).view(batch, length, 3, self.n_heads, size // self.n_heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        dropout = self.dropout.p if self.training else 0.0
        found = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=True)
        joined: torch.Tensor = self.joined(found.transpose(1, 2).reshape(batch, length, size))
        return joined
