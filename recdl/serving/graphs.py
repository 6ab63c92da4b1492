"""Models as one graph from plain indices to scores, for runtimes that know nothing of recdl.

A graph cannot raise. What it cannot answer, an index that the model has not, it answers by NaN: a runtime that
took -1 for the last row of a table would give a score that looks like one.

A graph goes through its rows in groups, so that what a group takes stays in the cache and memory does not grow
with the batch, and so that histories of about one length are together and little is padding. Its parts are put
together by `recdl.serving.tracing`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import torch
from torch import nn

from recdl.data.windows import N_GAPS, Events, EventSpace
from recdl.models.protocol import Recommender
from recdl.training.factorization import FactorizationRecommender
from recdl.training.interaction_modules import InteractionNetwork
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_module import HistoryNetwork

_MICROSECONDS = 10**6
_HISTORIES = 32  # a group at most; of 8, 16, 32 and 64 no network took less with another than with 16 or 32
_FLOATS = 1 << 20  # that a group of users may hold

Tensors = dict[str, torch.Tensor]


class ScoreGraph(Protocol):
    """A model in parts. What a part takes is named by its parameters: inputs, and what `before` makes of them.

    Of a `*name` it takes all that is called `name.0`, `name.1` and so on.
    """

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the graph is given."""
        ...

    @property
    def axes(self) -> Mapping[str, Mapping[int, str]]:
        """Names of the dimensions that can be of any size, by tensor (or `name` of `name.0`) and place."""
        ...

    def example(self) -> Tensors:
        """Return inputs to trace the parts with."""
        ...

    @property
    def before(self) -> Callable[..., Tensors]:
        """Makes `groups`, (n_groups, size) int64 rows of the batch, and whatever else the other parts take."""
        ...

    @property
    def each(self) -> Callable[..., torch.Tensor]:
        """Makes (size, width) of `rows`, (size,), a group."""
        ...

    @property
    def after(self) -> Callable[..., torch.Tensor]:
        """Makes (batch, n) scores of `found`, (n_groups, size, width), and what else it takes."""
        ...


class HistoryGraph(nn.Module):
    """Scores every item for histories, as `SequenceRecommender.score` does; NaN for one that cannot be.

    The inputs are (batch, length) int64 `items` and `behaviors`, oldest first and right-padded with anything,
    `timestamps` in microseconds since 1970, 0 where there are none, and (batch,) int64 `lengths`, 0 to length.

    Args:
        network: Reads events.
        layer: Its output weights and bias, of every item.
        space: What events can be.
        max_length: Inputs that the network sees at most, the start of a history counted as one.
    """

    inputs = ("items", "behaviors", "timestamps", "lengths")
    axes: Mapping[str, Mapping[int, str]] = {
        **{name: {0: "batch", 1: "length"} for name in ("items", "behaviors", "timestamps")},
        **{name: {0: "batch"} for name in ("lengths", "places", "scores")},
        "groups": {0: "n_groups", 1: "size"},
        "rows": {0: "size"},
        "found": {0: "n_groups", 1: "size"},
    }
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

    def example(self) -> Tensors:
        """Return one history: a traced recurrent layer takes its states to be of the batch it was traced with."""
        columns = {name: torch.zeros(1, 3, dtype=torch.int64) for name in self.inputs[:3]}
        return {**columns, "lengths": torch.tensor([2])}

    def before(self, lengths: torch.Tensor) -> Tensors:
        """Return groups by rising length, and `places`, (batch,) int64, where in them each history lies."""
        order = lengths.argsort()
        return {"groups": order[_in_groups(lengths, _HISTORIES)], "places": order.argsort()}

    def each(
        self,
        rows: torch.Tensor,
        items: torch.Tensor,
        behaviors: torch.Tensor,
        timestamps: torch.Tensor,
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Return (size, d) what the network says after the last event, NaN where an index is none that it has."""
        length, space, lengths = items.shape[1], self.space, lengths[rows]
        n_inputs = (lengths + 1).clamp(1, self.max_length)
        columns = torch.arange(self.max_length, device=items.device)
        columns = columns[columns < n_inputs.max()]
        # Where in the history each input lies; the one before its first event is its start.
        places = ((lengths + 1 - self.max_length).clamp(min=0) - 1)[:, None] + columns
        inside = columns < n_inputs[:, None]
        known = inside & (places >= 0)
        at = places.clamp(0, length - 1)
        item, behavior = items[rows].gather(1, at), behaviors[rows].gather(1, at)
        strange = (item < 0) | (item >= space.n_items) | (behavior < 0) | (behavior >= space.n_behaviors)
        wrong = (known & strange).any(1) | (lengths < 0) | (lengths > length)
        known = known & ~strange
        events = Events(
            torch.where(known, item, torch.where(inside, space.start, space.n_items)),
            torch.where(known, behavior, space.n_behaviors),
            self._gaps(timestamps[rows], at, known & (places > 0)) if space.timed else torch.zeros_like(item),
        )
        outputs = cast(HistoryNetwork, self.network)(events)
        last = (n_inputs - 1)[:, None, None].expand(-1, 1, outputs.shape[2])
        return torch.where(wrong[:, None], torch.nan, outputs.gather(1, last)[:, 0])

    def after(self, found: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return (batch, n_items) float32 logits."""
        return torch.addmm(self.bias, found.flatten(0, 1)[places], self.weight.T)

    def _gaps(self, timestamps: torch.Tensor, at: torch.Tensor, preceded: torch.Tensor) -> torch.Tensor:
        """Return the bins of `recdl.data.windows.gap_bins`, in whole numbers throughout."""
        after, before = timestamps.gather(1, at), timestamps.gather(1, (at - 1).clamp(min=0))
        seconds = (after - before).clamp(min=0) // _MICROSECONDS
        bins = ((seconds + 1)[:, :, None] >= self.bin_starts).sum(2)
        return torch.where(preceded & ((before != 0) | (after != 0)), bins, 0)


class PairGraph(nn.Module):
    """Scores items for users by their indices, as `FactorizationRecommender.score` does without a history.

    The inputs are (batch,) int64 `users`, -1 for one of whom nothing is known, and (n,) int64 `items`, to be
    scored for all of them. Scores are NaN where a user or an item is none that the model has.

    Args:
        network: Scores a vector of a user with those of items.
        users: (n_users + 1, d), the last of whom nothing is known.
        items: (n_items, d).
    """

    inputs = ("users", "items")
    axes: Mapping[str, Mapping[int, str]] = {
        "users": {0: "batch"},
        **{name: {0: "n"} for name in ("items", "item_side", "wrong_items")},
        "groups": {0: "n_groups", 1: "size"},
        "rows": {0: "size"},
        "found": {0: "n_groups", 1: "size", 2: "n"},
        "scores": {0: "batch", 1: "n"},
    }
    user_vectors: torch.Tensor
    item_vectors: torch.Tensor

    def __init__(self, network: nn.Module, users: torch.Tensor, items: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("user_vectors", users)
        self.register_buffer("item_vectors", items)

    def example(self) -> Tensors:
        """Return two users and three items."""
        return {"users": torch.zeros(2, dtype=torch.int64), "items": torch.zeros(3, dtype=torch.int64)}

    def before(self, users: torch.Tensor, items: torch.Tensor) -> Tensors:
        """Return groups of users, the items' side, and which items are none."""
        network = cast(InteractionNetwork, self.network)
        wrong = (items < 0) | (items >= len(self.item_vectors))
        side = network.item_side(self.item_vectors[torch.where(wrong, 0, items)])
        return {
            "groups": _in_groups(users, _FLOATS // (network.activations * items.shape[0] + 1) + 1),
            "wrong_items": wrong,
            **{f"item_side.{place}": part for place, part in enumerate(side)},
        }

    def each(
        self, rows: torch.Tensor, users: torch.Tensor, wrong_items: torch.Tensor, *item_side: torch.Tensor
    ) -> torch.Tensor:
        """Return (size, n) float32 scores."""
        asked, n_users = users[rows], len(self.user_vectors) - 1
        wrong = (asked < -1) | (asked >= n_users)
        vectors = self.user_vectors[torch.where(wrong | (asked == -1), n_users, asked)]
        scores = cast(InteractionNetwork, self.network).join(vectors, *item_side)
        return torch.where(wrong[:, None] | wrong_items, torch.nan, scores)

    def after(self, found: torch.Tensor, users: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) float32 scores."""
        return found.flatten(0, 1)[: users.shape[0]]


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


def _in_groups(batch: torch.Tensor, most: Any) -> torch.Tensor:
    """Return (n_groups, size) int64 places within a batch, sizes being as equal as can be; the last fills up.

    Args:
        batch: (n,) anything.
        most: Rows of a group; traced, where it depends on a size.
    """
    n = batch.shape[0]
    n_groups = n // most + 1  # never 0, by which a graph would divide
    size = (n + n_groups - 1) // n_groups
    starts = size * torch.arange(n_groups, device=batch.device)[:, None]
    places: torch.Tensor = starts + torch.arange(size, device=batch.device)
    return places.clamp(max=n - 1)
