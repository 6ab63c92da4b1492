"""What a visitor has had, kept as a sum of vectors: a network need not learn to hand it through its state."""

import numpy as np
import torch
from torch import nn

_KEPT = 0.9
_RECALLED = 0.1
_COPIED = 4.0
_RATE = 10.0
"""What is learned is a tenth of each number, so that an optimizer whose steps are of one size changes it ten times
as fast as a weight: where few events are learned from, a gain would else hardly leave where it began."""

_SEED = 0
_BITS = 64


class Recall(nn.Module):
    """The sum of a vector of each item so far, each by what was done with it, older ones fading.

    How much an event of each behaviour counts, and how fast it fades, is learned. Added to an output whose weights
    are the item embeddings, a sum of these raises the scores of what the history holds and of what is like it, as
    a copy mechanism does (Ren et al. 2019, RepeatNet), or lowers those of what was bought.

    Args:
        n_behaviors: Number of behaviours. `n_behaviors` stands for none: padding and the start count nothing.
        told: Whether behaviours are told apart; else all count alike.
        gain: What an event counts at first.
    """

    def __init__(self, n_behaviors: int, *, told: bool, gain: float = _RECALLED) -> None:
        super().__init__()
        self.n_behaviors = n_behaviors
        self.told = told
        n_gains = n_behaviors if told else 1
        self.gain_tenths = nn.Embedding(n_gains + 1, 1, padding_idx=n_gains)
        nn.init.constant_(self.gain_tenths.weight, gain / _RATE)
        with torch.no_grad():  # nn.init overwrote it
            self.gain_tenths.weight[n_gains].zero_()
        self.kept_tenth = nn.Parameter(torch.tensor(_KEPT).logit() / _RATE)

    def forward(
        self, items: torch.Tensor, behaviors: torch.Tensor, before: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, length, size) sums, and the last of each, (1, batch, size), to go on from.

        Args:
            items: (batch, length, size) vectors of the items.
            behaviors: (batch, length) int64.
            before: (1, batch, size), the sums after what was read before; None at the beginning.
        """
        if not self.told:
            behaviors = (behaviors == self.n_behaviors).long()
        places = torch.arange(items.shape[1], device=items.device)
        kept = (_RATE * self.kept_tenth).sigmoid()
        ages = places[:, None] - places
        shares = torch.where(ages >= 0, kept ** ages.clamp(min=0), 0.0).to(items.dtype)
        gains = _RATE * self.gain_tenths(behaviors)
        sums = shares @ (gains.to(items.dtype) * items)
        if before is not None:
            sums = sums + (kept ** (places + 1))[:, None].to(items.dtype) * before[0][:, None]
        return sums, sums[:, -1][None]


class Copy(nn.Module):
    """Scores of the very items of the history, and of no others, as far as `Recall` learns.

    An item is named by a random code of plus and minus 1 that is not learned, over the root of its width: the
    product of a code with itself is 1, and with another about 0, with a deviation of one over that root. Outputs
    and output weights are lengthened by the sum of the history's codes and by the items' own, so that whatever
    takes products of them, losses and rankings, need not know. (A sketch as of Charikar et al. 2002, "Finding
    frequent items in data streams", in place of the copy distribution of Ren et al. 2019, RepeatNet.)

    Args:
        n_items: Size of the catalogue. Items from `n_items` on, padding and the start, have no code.
        n_behaviors: Number of behaviours.
        width: Of the codes, a multiple of 64.
        told: Whether behaviours are told apart.
    """

    codes: torch.Tensor
    """(n_items + 2, width) float32. The first rows are the same whatever `n_items` is."""

    def __init__(self, n_items: int, n_behaviors: int, *, width: int, told: bool) -> None:
        super().__init__()
        self.recall = Recall(n_behaviors, told=told, gain=_COPIED)
        # Raw bits of a generator of numpy, which are the same in all its versions: codes are not stored.
        raw = np.random.PCG64(_SEED).random_raw(n_items * width // _BITS)
        signs = np.unpackbits(raw.astype("<u8").view(np.uint8)).reshape(n_items, width)
        codes = np.zeros((n_items + 2, width), np.float32)
        codes[:n_items] = (2.0 * signs - 1.0) * width**-0.5
        self.register_buffer("codes", torch.from_numpy(codes), persistent=False)

    def forward(
        self, items: torch.Tensor, behaviors: torch.Tensor, before: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `Recall` does, for (batch, length) int64 items."""
        sums, after = self.recall(self.codes[items], behaviors, before)
        return sums, after
