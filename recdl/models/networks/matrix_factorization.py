"""Matrix factorization with biases."""

import torch
from torch import nn

from recdl.models.networks.neumf import Product, dot


class MatrixFactorization(nn.Module):
    """A product of two vectors: logit(u, i) = p_u . q_i + b_u + b_i + b.

    Koren et al. 2009, Matrix Factorization Techniques for Recommender Systems, eq. 4. The biases lie in the last
    columns of the tables, so that a row is all that there is of a user or an item.

    Args:
        n_users: Rows of the user table.
        n_items: Rows of the item table.
        embedding_size: Width of p and q.
        initial_deviation: Standard deviation of the initial embeddings; biases start at 0.

    Attributes:
        activations: Floats that training holds for each (user, item) pair.
    """

    activations = 2

    def __init__(
        self, n_users: int, n_items: int, *, embedding_size: int = 128, initial_deviation: float = 0.05
    ) -> None:
        super().__init__()
        if embedding_size < 1:
            raise ValueError(f"embedding_size must be at least 1, not {embedding_size}")
        self.embedding_size = embedding_size
        self.user_embedding = nn.Embedding(n_users, embedding_size + 1)
        self.item_embedding = nn.Embedding(n_items, embedding_size + 1)
        self.bias = nn.Parameter(torch.zeros(()))
        for table in (self.user_embedding, self.item_embedding):
            nn.init.normal_(table.weight[:, :-1], std=initial_deviation)
            nn.init.zeros_(table.weight[:, -1])

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for int64 users (batch,) and items (batch, n)."""
        return self.interact(self.user_embedding(users), self.item_embedding(items))

    def interact(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for user vectors (batch, d) and item vectors (batch, n, d) or (n, d)."""
        return self.join(user_vectors, *self.item_side(item_vectors))

    def item_side(self, item_vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what `join` takes of (..., d) item vectors: q and b_i."""
        return item_vectors[..., :-1], item_vectors[..., -1]

    def join(self, user_vectors: torch.Tensor, factors: torch.Tensor, biases: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for user vectors (batch, d) and the items' side."""
        return dot(user_vectors[..., :-1], factors) + user_vectors[..., -1:] + biases + self.bias

    @torch.no_grad()
    def product(self) -> Product:
        """Return it without the biases of users, which change nothing in the order of a user's items."""
        users, items = self.user_embedding.weight, self.item_embedding.weight
        return Product(users[:, :-1], items[:, :-1], items[:, -1], self.bias.item())

    @torch.no_grad()
    def start(self, product: Product) -> None:
        """Take over a product; what is wider here than there is silent at first, and learns from there.

        Raises:
            ValueError: If the product is wider than this one.
        """
        users, items = self.user_embedding.weight, self.item_embedding.weight
        width, size = product.users.shape[1], users.shape[1] - 1
        if width > size:
            raise ValueError(f"embedding_size is {size}, but the product to start from has {width}")
        users.zero_()
        users[:, :width] = product.users
        items[:, :width] = product.items
        items[:, -1] = 0 if product.item_biases is None else product.item_biases
        self.bias.fill_(product.bias)
