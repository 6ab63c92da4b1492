"""Models as one graph from plain indices to scores, for runtimes that know nothing of recdl.

A graph cannot raise. What it cannot answer, an index that the model has not, it answers by NaN: a runtime that
took -1 for the last row of a table would give a score that looks like one.
"""

from typing import cast

import torch
from torch import nn

from recdl.data.windows import N_GAPS, Events, EventSpace
from recdl.models.protocol import Recommender
from recdl.training.factorization import FactorizationRecommender
from recdl.training.modules import InteractionNetwork
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_module import HistoryNetwork

_MICROSECONDS = 10**6


class HistoryGraph(nn.Module):
    """Scores every item for histories, as `SequenceRecommender.score` does.

    Args:
        network: Reads events.
        layer: Its output weights and bias, of every item.
        space: What events can be.
        max_length: Inputs that the network sees at most, the start of a history counted as one.
    """

    inputs = ("items", "behaviors", "timestamps", "lengths")
    weight: torch.Tensor
    bias: torch.Tensor
    bin_starts: torch.Tensor

    def __init__(
        self, network: nn.Module, layer: tuple[torch.Tensor, torch.Tensor], space: EventSpace, *, max_length: int
    ) -> None:
        super().__init__()
        self.network = network
        self.space = space
        self.max_length = max_length
        self.register_buffer("weight", layer[0].detach().clone())
        self.register_buffer("bias", layer[1].detach().clone())
        self.register_buffer("bin_starts", 2 ** torch.arange(N_GAPS - 1))

    def forward(
        self, items: torch.Tensor, behaviors: torch.Tensor, timestamps: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Return (batch, n_items) float32 scores; NaN in rows that hold an index the model has not.

        Args:
            items: (batch, length) int64, oldest first and right-padded with anything.
            behaviors: (batch, length) int64.
            timestamps: (batch, length) int64, microseconds since 1970; 0 where there are none.
            lengths: (batch,) int64, events of each history, 0 to length.
        """
        length, space = items.shape[1], self.space
        n_inputs = (lengths + 1).clamp(1, self.max_length)
        columns = torch.arange(length + 1, device=items.device)[: self.max_length]
        # Where in the history each input lies; the one before its first event is its start.
        places = ((lengths + 1 - self.max_length).clamp(min=0) - 1)[:, None] + columns
        inside = columns < n_inputs[:, None]
        known = inside & (places >= 0)
        at = places.clamp(0, length - 1)
        item, behavior = items.gather(1, at), behaviors.gather(1, at)
        strange = (item < 0) | (item >= space.n_items) | (behavior < 0) | (behavior >= space.n_behaviors)
        wrong = (known & strange).any(1) | (lengths < 0) | (lengths > length)
        known = known & ~strange
        events = Events(
            torch.where(known, item, torch.where(inside, space.start, space.n_items)),
            torch.where(known, behavior, space.n_behaviors),
            self._gaps(timestamps, at, known & (places > 0)) if space.timed else torch.zeros_like(item),
        )
        outputs = cast(HistoryNetwork, self.network)(events)
        last = (n_inputs - 1)[:, None, None].expand(-1, 1, outputs.shape[2])
        scores = torch.addmm(self.bias, outputs.gather(1, last)[:, 0], self.weight.T)
        return torch.where(wrong[:, None], torch.nan, scores)

    def _gaps(self, timestamps: torch.Tensor, at: torch.Tensor, preceded: torch.Tensor) -> torch.Tensor:
        """Return the bins of `recdl.data.windows.gap_bins`, in whole numbers throughout."""
        after, before = timestamps.gather(1, at), timestamps.gather(1, (at - 1).clamp(min=0))
        seconds = (after - before).clamp(min=0) // _MICROSECONDS
        bins = ((seconds + 1)[:, :, None] >= self.bin_starts).sum(2)
        return torch.where(preceded & ((before != 0) | (after != 0)), bins, 0)


class PairGraph(nn.Module):
    """Scores items for users by their indices, as `FactorizationRecommender.score` does without a history.

    Args:
        network: Scores a vector of a user with those of items.
        users: (n_users + 1, d), the last of whom nothing is known.
        items: (n_items, d).
    """

    inputs = ("users", "items")
    user_vectors: torch.Tensor
    item_vectors: torch.Tensor

    def __init__(self, network: nn.Module, users: torch.Tensor, items: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("user_vectors", users)
        self.register_buffer("item_vectors", items)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) float32 scores; NaN where a user or an item is none that the model has.

        Args:
            users: (batch,) int64; -1: of whom nothing is known.
            items: (n,) int64, to be scored for all of them.
        """
        n_users, n_items = len(self.user_vectors) - 1, len(self.item_vectors)
        wrong_users = (users < -1) | (users >= n_users)
        wrong_items = (items < 0) | (items >= n_items)
        user = self.user_vectors[torch.where(wrong_users | (users == -1), n_users, users)]
        item = self.item_vectors[torch.where(wrong_items, 0, items)]
        scores = cast(InteractionNetwork, self.network).interact(user, item)
        return torch.where(wrong_users[:, None] | wrong_items, torch.nan, scores)


def graph_of(model: Recommender) -> HistoryGraph | PairGraph | None:
    """Return a fitted model as a graph, or None for one that has none: neighbours, ensembles, closed forms."""
    if isinstance(model, SequenceRecommender):
        graph: HistoryGraph | PairGraph = HistoryGraph(
            model.network_, model.output_layer(), model.space_, max_length=model.max_length
        )
    elif isinstance(model, FactorizationRecommender):
        graph = PairGraph(model.network_, *model.tables())
    else:
        return None
    return graph.cpu().eval()
