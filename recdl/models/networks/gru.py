"""A recurrent network of GRU cells that predicts the next item of a history."""

import torch
from torch import nn

from recdl.data.windows import Events
from recdl.models.networks.events import (
    EventEmbedding,
    EventInputs,
    OutputHead,
    OutputSettings,
    RecurrentState,
    check_sizes,
)

_ALL_INPUTS = EventInputs()
_PLAIN_OUTPUT = OutputSettings()


class GRU(nn.Module):
    """Gated recurrent units over the events of a history.

    Cho et al. 2014 for the cell; Hidasi et al. 2016, Session-based Recommendations with Recurrent Neural Networks
    (GRU4Rec), for its use.

    Args:
        n_items: Size of the catalogue.
        n_behaviors: Number of behaviours.
        embedding_size: Width of the item embeddings, and of the output.
        hidden_size: Width of the cell.
        n_layers: Cells stacked.
        layer_norm: Whether what the cell says is normalized (Ba et al. 2016).
        embedding_dropout: Share of the input embeddings' entries dropped in training.
        hidden_dropout: Share of what the cells say dropped in training.
        inputs: What of an event the network is told.
        output: How what the cell says becomes logits.
    """

    def __init__(
        self,
        n_items: int,
        n_behaviors: int,
        *,
        embedding_size: int = 64,
        hidden_size: int = 128,
        n_layers: int = 1,
        layer_norm: bool = False,
        embedding_dropout: float = 0.2,
        hidden_dropout: float = 0.2,
        inputs: EventInputs = _ALL_INPUTS,
        output: OutputSettings = _PLAIN_OUTPUT,
    ) -> None:
        super().__init__()
        check_sizes(embedding_size=embedding_size, hidden_size=hidden_size, n_layers=n_layers)
        self.embedding = EventEmbedding(n_items, n_behaviors, embedding_size, inputs, dropout=embedding_dropout)
        # nn.GRU's own dropout acts between layers only, and with one layer does nothing but warn.
        between = hidden_dropout if n_layers > 1 else 0.0
        self.cell = nn.GRU(embedding_size, hidden_size, n_layers, batch_first=True, dropout=between)
        self.norm = nn.LayerNorm(hidden_size) if layer_norm else nn.Identity()
        self.head = OutputHead(
            n_items,
            hidden_size,
            embedding_size,
            output,
            n_behaviors=n_behaviors,
            inputs=inputs,
            dropout=hidden_dropout,
        )

    def forward(self, events: Events) -> torch.Tensor:
        """Return (batch, length, embedding_size) outputs; each depends on its own and earlier positions only."""
        return self.read(events)[0]

    def read(self, events: Events, state: RecurrentState | None = None) -> tuple[torch.Tensor, RecurrentState]:
        """Return the outputs, and the state after the last column, to go on from with the next."""
        before = RecurrentState.none(events) if state is None else state
        vectors, items = self.embedding(events, None if state is None else state.n_read)
        said, cells = self.cell(vectors, None if state is None else state.cells[0])
        outputs, kept = self.head(self.norm(said), items, events, before.of_head(1))
        return outputs, before.after((cells, *kept), items.shape[1])

    def output_layer(self, items: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the (n, embedding_size) weights and (n,) bias that turn an output into logits of (n,) items."""
        return self.head.layer(self.embedding, items)
