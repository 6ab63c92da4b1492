"""What a visitor has had, kept as a sum of embeddings: a network need not learn to hand it through its state."""

import torch
from torch import nn

_KEPT = 0.9
_GAIN = 0.1


class Recall(nn.Module):
    """The sum of the embeddings of all items so far, each by what was done with it, older ones fading.

    Added to an output whose weights are the item embeddings, it raises the scores of what the history holds, as a
    copy mechanism does (Ren et al. 2019, RepeatNet), or lowers those of what was bought: how much an event of each
    behaviour counts, and how fast it fades, is learned.

    Args:
        n_behaviors: Number of behaviours. `n_behaviors` stands for none: padding and the start count nothing.
        told: Whether behaviours are told apart; else all count alike.
    """

    def __init__(self, n_behaviors: int, *, told: bool) -> None:
        super().__init__()
        self.n_behaviors = n_behaviors
        self.told = told
        n_gains = n_behaviors if told else 1
        self.gains = nn.Embedding(n_gains + 1, 1, padding_idx=n_gains)
        nn.init.constant_(self.gains.weight, _GAIN)
        with torch.no_grad():  # nn.init overwrote it
            self.gains.weight[n_gains].zero_()
        self.kept = nn.Parameter(torch.tensor(_KEPT).logit())

    def forward(
        self, items: torch.Tensor, behaviors: torch.Tensor, before: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, length, size) sums, and the last of each, (1, batch, size), to go on from.

        Args:
            items: (batch, length, size) embeddings of the items.
            behaviors: (batch, length) int64.
            before: (1, batch, size), the sums after what was read before; None at the beginning.
        """
        if not self.told:
            behaviors = (behaviors == self.n_behaviors).long()
        places = torch.arange(items.shape[1], device=items.device)
        kept = self.kept.sigmoid()
        ages = places[:, None] - places
        shares = torch.where(ages >= 0, kept ** ages.clamp(min=0), 0.0).to(items.dtype)
        sums = shares @ (self.gains(behaviors).to(items.dtype) * items)
        if before is not None:
            sums = sums + (kept ** (places + 1))[:, None].to(items.dtype) * before[0][:, None]
        return sums, sums[:, -1][None]
