"""Neural matrix factorization."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn


class Product(NamedTuple):
    """A plain product of two vectors with biases: logit(u, i) = p_u . q_i + b_i + b.

    Attributes:
        users: (n_users, d) float32.
        items: (n_items, d) float32.
        item_biases: (n_items,) float32; None: all 0.
        bias: b.
    """

    users: torch.Tensor
    items: torch.Tensor
    item_biases: torch.Tensor | None = None
    bias: float = 0.0

    def times(self, factor: float) -> "Product":
        """Return the product whose logits are `factor` times those of this one."""
        biases = None if self.item_biases is None else self.item_biases * factor
        return Product(self.users * factor, self.items, biases, self.bias * factor)


class NeuMF(nn.Module):
    """Generalized matrix factorization beside a multi-layer perceptron, joined in one output layer.

    logit(u, i) = h . [p_u * q_i, MLP([p'_u, q'_i])], He et al. 2017, Neural Collaborative Filtering, eq. 12.

    The two embeddings of a side lie in one table, so that a user is gathered once for all its items, and the first
    layer of the perceptron is applied to the two sides apart: W [p', q'] = W_user p' + W_item q'. Both leave the
    function unchanged.

    Without `product_weights` the first part of h is 1: a dot product beside the perceptron, which a perceptron
    cannot well imitate (Rendle et al. 2020, Neural Collaborative Filtering vs. Matrix Factorization Revisited).

    Args:
        n_users: Rows of the user table.
        n_items: Rows of the item table.
        mf_embedding_size: Width of p and q; 0 leaves the factorization out.
        mlp_embedding_size: Width of p' and of q'.
        mlp_sizes: Output width of each layer of the perceptron; empty leaves the perceptron out.
        dropout: Share of the perceptron's inner activations dropped in training.
        initial_deviation: Standard deviation of the initial embeddings.
        item_bias: Whether to add b_i, which the paper does not have; it lies in the last column of the item table.
        product_weights: Whether each component of p * q has a weight of its own in h, as in the paper.

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
        product_weights: bool = True,
    ) -> None:
        super().__init__()
        if not mlp_sizes and not mf_embedding_size:
            raise ValueError("NeuMF needs mf_embedding_size > 0 or at least one layer in mlp_sizes")
        if mlp_sizes and min(mlp_embedding_size, *mlp_sizes) < 1:
            raise ValueError("mlp_embedding_size and each of mlp_sizes must be at least 1")
        self.mf_size = mf_embedding_size
        self.item_bias = item_bias
        self.product_weights = product_weights
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
        return self.join(user_vectors, *self.item_side(item_vectors))

    def item_side(self, item_vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what `join` takes of (..., d) item vectors: q, W_item q' and b_i, as far as there are such."""
        mf = item_vectors[..., : self.mf_size]
        biases = (item_vectors[..., -1],) if self.item_bias else ()
        if self.perceptron is None:
            return mf, *biases
        mlp = item_vectors[..., self.mf_size : -1 if self.item_bias else None]
        return mf, self.item_layer(mlp), *biases

    def join(self, user_vectors: torch.Tensor, item_mf: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for user vectors (batch, d) and the items' side."""
        weight = self.output.weight[0]
        mf_weight, mlp_weight = weight[: self.mf_size], weight[self.mf_size :]
        user_mf, user_mlp = user_vectors[..., : self.mf_size], user_vectors[..., self.mf_size :]
        logits = dot(user_mf * mf_weight if self.product_weights else user_mf, item_mf) + self.output.bias
        if self.item_bias:
            logits = logits + more[-1]
        if self.perceptron is None:
            return logits
        first = self.user_layer(user_mlp)[:, None, :] + more[0]
        hidden: torch.Tensor = self.perceptron(first)
        if torch.onnx.is_in_onnx_export():
            # A row by a matrix, which onnxruntime multiplies many times faster than a matrix by a column.
            return logits + torch.matmul(mlp_weight, hidden.transpose(-2, -1))
        return logits + torch.matmul(hidden, mlp_weight)

    @torch.no_grad()
    def product(self) -> Product | None:
        """Return the factorization as a plain product, h taken into the users' side; None if there is none."""
        if not self.mf_size:
            return None
        users = self.user_embedding.weight[:, : self.mf_size]
        if self.product_weights:
            users = users * self.output.weight[0, : self.mf_size]
        biases = self.item_embedding.weight[:, -1] if self.item_bias else None
        return Product(users, self.item_embedding.weight[:, : self.mf_size], biases, self.output.bias.item())

    @torch.no_grad()
    def start(self, product: Product | None, perceptron: "NeuMF | None" = None, *, share: float = 1.0) -> None:
        """Take over what was learned elsewhere; what is not given is silent at first, and learns from there.

        The logits are then those of `product` plus `share` times those of `perceptron` without its product.

        Raises:
            ValueError: If this network has no place for it.
        """
        users, items, size = self.user_embedding.weight, self.item_embedding.weight, self.mf_size
        width = 0 if product is None else product.users.shape[1]
        if width > size:
            raise ValueError(f"mf_embedding_size is {size}, but the product to start from has {width}")
        users[:, width:size] = 0  # not the items' too: where both are 0, neither has a gradient
        self.output.weight.zero_()
        self.output.weight[0, :size] = 1
        self.output.bias.zero_()
        if self.item_bias:
            items[:, -1] = 0
        if product is not None:
            users[:, :width] = product.users
            items[:, :width] = product.items
            self._add_biases(product.item_biases, product.bias)
        if perceptron is not None:
            self._take_perceptron(perceptron, share)

    def _take_perceptron(self, other: "NeuMF", share: float) -> None:
        mine, others = self._perceptron_shape(), other._perceptron_shape()
        if mine != others:
            raise ValueError(
                f"its perceptron has the widths {mine} (twice mlp_embedding_size, then mlp_sizes), but that to"
                f" start from has {others}"
            )
        width = mine[0] // 2 if mine else 0
        self.user_embedding.weight[:, self.mf_size :] = other.user_embedding.weight[:, other.mf_size :]
        own, given = (net.item_embedding.weight[:, net.mf_size :][:, :width] for net in (self, other))
        own.copy_(given)
        for name in ("user_layer", "item_layer", "perceptron"):
            getattr(self, name).load_state_dict(getattr(other, name).state_dict())
        self.output.weight[0, self.mf_size :] = share * other.output.weight[0, other.mf_size :]
        biases = share * other.item_embedding.weight[:, -1] if other.item_bias else None
        self._add_biases(biases, share * other.output.bias.item())

    def _add_biases(self, item_biases: torch.Tensor | None, bias: float) -> None:
        self.output.bias.add_(bias)
        if item_biases is None:
            return
        if not self.item_bias:
            raise ValueError("item_bias is false, but what it is to start from has biases of items; set it")
        self.item_embedding.weight[:, -1] += item_biases

    def _perceptron_shape(self) -> list[int]:
        if self.perceptron is None:
            return []
        inner = [layer.out_features for layer in self.perceptron if isinstance(layer, nn.Linear)]
        return [2 * self.user_layer.in_features, self.user_layer.out_features, *inner]


def dot(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Return (batch, n) products of (batch, d) with (batch, n, d) or (n, d)."""
    if items.dim() == 2:
        return users @ items.T
    return torch.bmm(items, users[:, :, None]).squeeze(-1)
