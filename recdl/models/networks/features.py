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
        own_dropout: Share of the vectors of single indices that `complete` leaves out in training, so that the
            features learn to stand alone (Volkovs et al. 2017, DropoutNet).
        initial_deviation: Standard deviation of the initial weights; 0 is fine where what follows is no zero.
    """

    codes: torch.Tensor
    shares: torch.Tensor
    dense: torch.Tensor

    def __init__(
        self,
        features: Features,
        embedding_size: int,
        *,
        own_dropout: float = 0.0,
        initial_deviation: float = 0.0,
    ) -> None:
        super().__init__()
        self.own_dropout = own_dropout
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

    def complete(self, own: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Return (..., embedding_size), own + e for the own vectors (...) of int64 indices."""
        if self.training and self.own_dropout:
            kept = torch.rand(indices.shape, device=indices.device) >= self.own_dropout
            own = own * kept[..., None]
        many = indices.numel() > len(self.codes)  # then each is encoded once
        told: torch.Tensor = functional.embedding(indices, self.table()) if many else self(indices)
        return own + told

    def table(self) -> torch.Tensor:
        """Return (n, embedding_size), the vectors of all indices."""
        vectors: torch.Tensor = self(torch.arange(len(self.codes), device=self.codes.device))
        return vectors
