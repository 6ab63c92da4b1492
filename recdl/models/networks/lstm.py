"""A recurrent network that predicts the next item of a history."""

import torch
from torch import nn


class LSTM(nn.Module):
    """Long short-term memory over item and behaviour embeddings, with tied output weights.

    Hochreiter & Schmidhuber 1997 for the cell; Hidasi et al. 2016, Session-based Recommendations with Recurrent
    Neural Networks, for its use; Press & Wolf 2017 for the tied output. With `residual` the embedding of the last
    item is added to what the cell says, so that the cell learns only what the last item does not tell.

    Args:
        n_items: Size of the catalogue. Row `n_items` of the item table is padding, row `n_items + 1` the start.
        n_behaviors: Number of behaviours. Row `n_behaviors` of their table is padding.
        embedding_size: Width of the item embeddings, and of the output.
        hidden_size: Width of the cell.
        n_layers: Cells stacked.
        use_behaviors: Whether the behaviour of each event is an input.
        residual: Whether the last item's embedding is added to the output.
        embedding_dropout: Share of the input embeddings' entries dropped in training.
        hidden_dropout: Share of the output's entries dropped in training.
    """

    def __init__(
        self,
        n_items: int,
        n_behaviors: int,
        *,
        embedding_size: int = 64,
        hidden_size: int = 128,
        n_layers: int = 1,
        use_behaviors: bool = True,
        residual: bool = True,
        embedding_dropout: float = 0.2,
        hidden_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if min(embedding_size, hidden_size, n_layers) < 1:
            raise ValueError("embedding_size, hidden_size and n_layers must be at least 1")
        self.n_items = n_items
        self.n_behaviors = n_behaviors
        self.residual = residual
        self.item_embedding = nn.Embedding(n_items + 2, embedding_size, padding_idx=n_items)
        nn.init.normal_(self.item_embedding.weight, std=embedding_size**-0.5)
        self.behavior_embedding: nn.Embedding | None = None
        if use_behaviors:
            self.behavior_embedding = nn.Embedding(n_behaviors + 1, embedding_size, padding_idx=n_behaviors)
            nn.init.normal_(self.behavior_embedding.weight, std=embedding_size**-0.5)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        # nn.LSTM's own dropout acts between layers only, and with one layer does nothing but warn.
        self.cell = nn.LSTM(
            embedding_size,
            hidden_size,
            n_layers,
            batch_first=True,
            dropout=hidden_dropout if n_layers > 1 else 0.0,
        )
        self.projection = nn.Linear(hidden_size, embedding_size)
        self.hidden_dropout = nn.Dropout(hidden_dropout)
        self.output_bias = nn.Parameter(torch.zeros(n_items))
        with torch.no_grad():  # nn.init above overwrote the zero rows of padding
            self.item_embedding.weight[n_items].zero_()
            if self.behavior_embedding is not None:
                self.behavior_embedding.weight[n_behaviors].zero_()

    def forward(self, items: torch.Tensor, behaviors: torch.Tensor) -> torch.Tensor:
        """Return (batch, length, embedding_size) outputs; each depends on its own and earlier positions only.

        Args:
            items: (batch, length) int64, right-padded with `n_items`.
            behaviors: (batch, length) int64, right-padded with `n_behaviors`.
        """
        item_vectors = self.item_embedding(items)
        inputs = item_vectors
        if self.behavior_embedding is not None:
            inputs = inputs + self.behavior_embedding(behaviors)
        states, _ = self.cell(self.embedding_dropout(inputs))
        outputs: torch.Tensor = self.projection(self.hidden_dropout(states))
        return outputs + item_vectors if self.residual else outputs

    def output_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the (n_items, embedding_size) weights and (n_items,) bias that turn an output into logits."""
        return self.item_embedding.weight[: self.n_items], self.output_bias
