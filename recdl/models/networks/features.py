"""What is known of users or items, as vectors."""

import torch
from torch import nn
from torch.nn import functional

from recdl.data.features import Features


class FeatureEncoder(nn.Module):
    """A vector for what is known of each index: one a category, and a linear map of numbers and given vectors.

    e(i) = sum over categories c of i of share_ic E_c + W dense_i. It has no bias: of whom nothing is known has 0.
    The features are no part of its state dict, since they are not learned.

    Args:
        features: Of all indices.
        embedding_size: Width of the vectors.
        initial_deviation: Standard deviation of the initial weights; 0 is fine where what follows is no zero.
    """

    codes: torch.Tensor
    shares: torch.Tensor
    dense: torch.Tensor

    def __init__(self, features: Features, embedding_size: int, *, initial_deviation: float = 0.0) -> None:
        super().__init__()
        for name in ("codes", "shares", "dense"):
            self.register_buffer(name, torch.from_numpy(getattr(features, name)), persistent=False)
        self.categories = nn.Embedding(features.n_codes, embedding_size)
        self.weights = nn.Parameter(torch.zeros(features.dense.shape[1], embedding_size))
        for weight in (self.categories.weight, self.weights):
            nn.init.normal_(weight, std=initial_deviation) if initial_deviation else nn.init.zeros_(weight)
        with torch.no_grad():
            self.categories.weight[0] = 0

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """Return (..., embedding_size) vectors for int64 (...) indices."""
        flat = indices.flatten()
        vectors = self.dense[flat] @ self.weights
        if self.codes.shape[1]:
            vectors = vectors + functional.embedding_bag(
                self.codes[flat], self.categories.weight, mode="sum", per_sample_weights=self.shares[flat]
            )
        return vectors.view(*indices.shape, -1)

    def table(self) -> torch.Tensor:
        """Return (n, embedding_size), the vectors of all indices."""
        vectors: torch.Tensor = self(torch.arange(len(self.codes), device=self.codes.device))
        return vectors
