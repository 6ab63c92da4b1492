"""Neural matrix factorization."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


class NeuMF(nn.Module):
    """Generalized matrix factorization beside a multi-layer perceptron, joined in one output layer.

    logit(u, i) = h . [p_u * q_i, MLP([p'_u, q'_i])], He et al. 2017, Neural Collaborative Filtering, eq. 12.

    The two embeddings of a side lie in one table, so that a user is gathered once for all its items, and the first
    layer of the perceptron is applied to the two sides apart: W [p', q'] = W_user p' + W_item q'. Both leave the
    function unchanged.

    Args:
        n_users: Rows of the user table.
        n_items: Rows of the item table.
        mf_embedding_size: Width of p and q; 0 leaves the factorization out.
        mlp_embedding_size: Width of p' and of q'.
        mlp_sizes: Output width of each layer of the perceptron; empty leaves the perceptron out.
        dropout: Share of the perceptron's inner activations dropped in training.
        initial_deviation: Standard deviation of the initial embeddings.
        item_bias: Whether to add b_i, which the paper does not have; it lies in the last column of the item table.

    Attributes:
        activations: Floats that training holds for each (user, item) pair.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        *,
        mf_embedding_size: int = 16,
        mlp_embedding_size: int = 32,
        mlp_sizes: Sequence[int] = (32, 16),
        dropout: float = 0.0,
        initial_deviation: float = 0.01,
        item_bias: bool = False,
    ) -> None:
        super().__init__()
        if not mlp_sizes and not mf_embedding_size:
            raise ValueError("NeuMF needs mf_embedding_size > 0 or at least one layer in mlp_sizes")
        if mlp_sizes and min(mlp_embedding_size, *mlp_sizes) < 1:
            raise ValueError("mlp_embedding_size and each of mlp_sizes must be at least 1")
        self.mf_size = mf_embedding_size
        self.item_bias = item_bias
        self.activations = 2 * (1 + sum(mlp_sizes))
        width = mf_embedding_size + (mlp_embedding_size if mlp_sizes else 0)
        self.user_embedding = nn.Embedding(n_users, width)
        self.item_embedding = nn.Embedding(n_items, width + item_bias)
        for table in (self.user_embedding, self.item_embedding):
            nn.init.normal_(table.weight, std=initial_deviation)
        if item_bias:
            nn.init.zeros_(self.item_embedding.weight[:, -1])
        self.perceptron: nn.Sequential | None = None
        if mlp_sizes:
            self.user_layer = nn.Linear(mlp_embedding_size, mlp_sizes[0])
            self.item_layer = nn.Linear(mlp_embedding_size, mlp_sizes[0], bias=False)
            layers: list[nn.Module] = [nn.ReLU(), nn.Dropout(dropout)]
            for n_in, n_out in pairwise(mlp_sizes):
                layers += [nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)]
            self.perceptron = nn.Sequential(*layers)
        self.output = nn.Linear(mf_embedding_size + (mlp_sizes[-1] if mlp_sizes else 0), 1)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for int64 users (batch,) and items (batch, n)."""
        return self.interact(self.user_embedding(users), self.item_embedding(items))

    def interact(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for user vectors (batch, d) and item vectors (batch, n, d) or (n, d)."""
        weight = self.output.weight[0]
        mf_weight, mlp_weight = weight[: self.mf_size], weight[self.mf_size :]
        user_mf, user_mlp = user_vectors[..., : self.mf_size], user_vectors[..., self.mf_size :]
        item_mf, item_mlp = item_vectors[..., : self.mf_size], item_vectors[..., self.mf_size :]
        if self.item_bias:
            item_mlp = item_mlp[..., :-1]
        logits = dot(user_mf * mf_weight, item_mf) + self.output.bias
        if self.item_bias:
            logits = logits + item_vectors[..., -1]
        if self.perceptron is None:
            return logits
        first = self.user_layer(user_mlp)[:, None, :] + self.item_layer(item_mlp)
        hidden: torch.Tensor = self.perceptron(first)
        return logits + torch.matmul(hidden, mlp_weight)


def dot(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Return (batch, n) products of (batch, d) with (batch, n, d) or (n, d)."""
    if items.dim() == 2:
        return users @ items.T
    return torch.bmm(items, users[:, :, None]).squeeze(-1)
