"""Lightning modules for networks of users and items: over pairs, and over rows of users."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import torch
from torch import nn

from recdl.data.batches import PairBatch, RowBatch
from recdl.training.losses import row_softmax, sampled_row_softmax
from recdl.training.modules import FitModule
from recdl.training.optimizers import RowAdamW, RowTable
from recdl.training.processes import part
from recdl.training.sides import Lookup, Sides

_FLOATS_AT_ONCE = 1 << 22  # 16 MiB of activations


class InteractionNetwork(Protocol):
    """A network of users and items whose tables are apart from what it does with their rows.

    Attributes:
        user_embedding: (n_users, d).
        item_embedding: (n_items, d).
        activations: Floats that training holds for each (user, item) pair; it decides how many are held at once.
    """

    user_embedding: nn.Embedding
    item_embedding: nn.Embedding
    activations: int

    def interact(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for user vectors (batch, d) and item vectors (batch, n, d) or (n, d)."""
        ...

    def item_side(self, item_vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what of `interact` is made of the item vectors alone, (..., n) or (..., n, any) each."""
        ...

    def join(self, user_vectors: torch.Tensor, *item_side: torch.Tensor) -> torch.Tensor:
        """Return the logits that `interact` gives, of what `item_side` does."""
        ...


class InteractionModule(FitModule):
    """What the two modules of factorization share: their optimizers, and rows in place of whole tables.

    Args:
        network: An `InteractionNetwork`.
        learning_rate: Of Adam.
        l2: Share that an epoch's decay takes off each embedding, whatever the batch size and the learning rate.
        rows: Whether a step updates only the rows that it touches.
        sides: What is known of users and items beside that.
    """

    def __init__(
        self, network: nn.Module, *, learning_rate: float, l2: float, rows: bool, sides: Sides | None = None
    ) -> None:
        super().__init__(network, learning_rate=learning_rate)
        self.sides = Sides({}, {}) if sides is None else sides
        self.l2 = l2
        self.rows = rows
        self.interactions = cast(InteractionNetwork, network)
        self._tables: list[RowTable] | None = None

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return Adam for the layers, and Adam with decoupled decay for the tables."""
        tables = self._weights()
        layers = [p for p in self.network.parameters() if all(p is not table for table in tables)]
        keep = (1.0 - self.l2) ** (1.0 / self.steps_per_epoch)
        optimizers: list[torch.optim.Optimizer] = []
        if self.rows:
            optimizers.append(RowAdamW(tables, lr=self.learning_rate, keep=keep))
        groups: list[dict[str, Any]] = [{"params": layers, "weight_decay": 0.0}] if layers else []
        decay = {"weight_decay": (1.0 - keep) / self.learning_rate, "keep": keep}
        if not self.rows:
            groups.append({"params": tables, **decay})
        if encoders := list(self.sides.parameters()):
            groups.append({"params": encoders, **decay})
        if groups:
            optimizers.append(torch.optim.AdamW(groups, lr=self.learning_rate, fused=True))
        return optimizers

    def touch(self, users: torch.Tensor, items: torch.Tensor | None) -> tuple[Lookup, Lookup, list[RowTable]]:
        """Return how to look up user and item vectors in this step, and the tables to be given a gradient.

        Args:
            users: int64 users that the step touches.
            items: int64 items that it touches; None: all of them.
        """
        if not self.rows or items is None:
            return *self._whole(self.interactions.user_embedding, self.interactions.item_embedding), []
        if self._tables is None:  # only now are the weights where they are trained
            self._tables = [RowTable(weight) for weight in self._weights()]
        user_table, item_table = self._tables
        user_table.touch(users)
        item_table.touch(items)
        return *self._whole(user_table.__getitem__, item_table.__getitem__), self._tables

    def _whole(self, users: Lookup, items: Lookup) -> tuple[Lookup, Lookup]:
        return self.sides.lookup("users", users), self.sides.lookup("items", items)

    def _weights(self) -> list[nn.Parameter]:
        tables = (self.interactions.user_embedding, self.interactions.item_embedding)
        return [cast(nn.Parameter, table.weight) for table in tables]


class PairModule(InteractionModule):
    """Trains a network on positives, each with negatives of its own.

    Args:
        network: An `InteractionNetwork`.
        loss: Maps (batch, 1 + n) logits, the positive first, to (batch,) losses.
        batch_size: Positives an optimizer step.
        learning_rate: Of Adam.
        l2: Share that an epoch's decay takes off each embedding.
        rows: Whether a step updates only the rows that it touches.
        sides: What is known of users and items beside that.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: Callable[[torch.Tensor], torch.Tensor],
        batch_size: int,
        learning_rate: float,
        l2: float,
        rows: bool,
        sides: Sides | None = None,
    ) -> None:
        super().__init__(network, learning_rate=learning_rate, l2=l2, rows=rows, sides=sides)
        self.loss = loss
        self.batch_size = batch_size

    def training_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Make a step for each `batch_size` positives."""
        columns = (torch.split(column, self.batch_size) for column in batch)
        for users, items, weights in zip(*columns, strict=True):
            user_vectors, item_vectors, tables = self.touch(users, items)
            step = PairBatch(users, items, weights)
            self.descend(self._losses(step, user_vectors, item_vectors), tables=tables)

    def _losses(self, step: PairBatch, user_vectors: Lookup, item_vectors: Lookup) -> Iterator[torch.Tensor]:
        total = step.weights.sum()
        for place, count in self.parts():
            rows = part(len(step.users), place, count)
            users, items, weights = (column[rows] for column in step)
            if len(users):
                logits = self.interactions.interact(user_vectors(users), item_vectors(items))
                yield (weights * self.loss(logits)).sum() / total


class RowModule(InteractionModule):
    """Trains a network on users with all their positives, by a softmax over the catalogue or a draw from it.

    Args:
        network: An `InteractionNetwork`.
        learning_rate: Of Adam.
        l2: Share that an epoch's decay takes off each embedding.
        rows: Whether a step updates only the rows that it touches.
        sides: What is known of users and items beside that.
        catalogue: int64, what the softmax is over where items have features; None: all items.
    """

    _items: torch.Tensor
    _places: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        l2: float,
        rows: bool,
        sides: Sides | None = None,
        catalogue: torch.Tensor | None = None,
    ) -> None:
        super().__init__(network, learning_rate=learning_rate, l2=l2, rows=rows, sides=sides)
        n_items = len(self.interactions.item_embedding.weight)
        places = torch.zeros(n_items, dtype=torch.int64)
        items = torch.arange(n_items) if catalogue is None else catalogue
        places[items] = torch.arange(len(items))
        self.register_buffer("_items", items, persistent=False)
        self.register_buffer("_places", places, persistent=False)

    def training_step(self, batch: RowBatch, batch_idx: int) -> None:
        """Make a step for the batch."""
        if batch.negatives is None:
            self.descend(self._full(batch))
            return
        items = torch.cat([batch.items, batch.negatives])
        user_vectors, item_vectors, tables = self.touch(batch.users, items)
        self.descend(self._sampled(batch, user_vectors, item_vectors), tables=tables)

    def _full(self, batch: RowBatch) -> Iterator[torch.Tensor]:
        """Yield the loss of a few users at a time, so that the logits of a whole batch are never held."""
        total = batch.weights.sum()
        user_vectors, item_vectors, _ = self.touch(batch.users, None)
        for chunk, pairs in self._chunks(batch, len(self._items)):
            # Looked up only where something is left out or added: that has a far slower gradient.
            told = "items" in self.sides
            items = item_vectors(self._items) if told else self.interactions.item_embedding.weight
            logits = self.interactions.interact(user_vectors(batch.users[chunk]), items)
            rows = batch.rows[pairs] - chunk.start
            yield row_softmax(logits, rows, self._places[batch.items[pairs]], batch.weights[pairs]) / total

    def _sampled(self, batch: RowBatch, user_vectors: Lookup, item_vectors: Lookup) -> Iterator[torch.Tensor]:
        assert batch.negatives is not None and batch.held is not None and batch.log_expected_count is not None
        total = batch.weights.sum()
        for chunk, pairs in self._chunks(batch, len(batch.negatives)):
            users, rows = user_vectors(batch.users[chunk]), batch.rows[pairs] - chunk.start
            positives = item_vectors(batch.items[pairs])[:, None]
            yield (
                sampled_row_softmax(
                    self.interactions.interact(users[rows], positives)[:, 0],
                    rows,
                    batch.weights[pairs],
                    self.interactions.interact(users, item_vectors(batch.negatives)),
                    log_expected_count=batch.log_expected_count,
                    held=batch.held[chunk],
                )
                / total
            )

    def _chunks(self, batch: RowBatch, n_items: int) -> Iterator[tuple[slice, slice]]:
        """Yield users, as rows of the batch, and their pairs."""
        at_most = max(1, _FLOATS_AT_ONCE // (n_items * self.interactions.activations))
        share = self.processes.share(len(batch.users))
        n_users = min(at_most, max(1, -(-(share.stop - share.start) // self.accumulate)))
        for start in range(share.start, share.stop, n_users):
            end = min(start + n_users, share.stop)
            first, last = torch.searchsorted(batch.rows, torch.tensor([start, end], device=batch.rows.device))
            yield slice(start, end), slice(int(first), int(last))
