"""Lightning modules, one for each shape of batch."""

from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import nn

from recdl.data.batches import PairBatch, SequenceBatch
from recdl.errors import DataError
from recdl.training.losses import full_softmax, sampled_softmax

_CHECK_EVERY = 50


class FitModule(pl.LightningModule):
    """What every batch shape shares: the optimizer, and a running mean of the loss that costs a step nothing."""

    def __init__(self, network: nn.Module, *, learning_rate: float, weight_decay: float) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self._loss_sum = torch.zeros(())
        self._steps = 0

    def mean_loss(self) -> float:
        """Return the mean training loss of the epoch so far."""
        self._check()
        return float(self._loss_sum / max(self._steps, 1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with decoupled weight decay (Loshchilov & Hutter 2019), fused into one pass."""
        return torch.optim.AdamW(
            self.network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )

    def on_train_epoch_start(self) -> None:
        """Tell the batches which epoch it is, and begin its loss anew."""
        batches = self.trainer.train_dataloader
        assert batches is not None
        batches.epoch = self.current_epoch
        self._loss_sum = torch.zeros((), device=self.device)
        self._steps = 0

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add up the loss, and look at it now and then."""
        # self.log costs a third of a small step; a sum and a rare look at it do not.
        self._loss_sum += outputs["loss"].detach()
        self._steps += 1
        if self._steps % _CHECK_EVERY == 0:
            self.log("train/loss", self.mean_loss(), prog_bar=True)

    def _check(self) -> None:
        if not torch.isfinite(self._loss_sum):
            raise DataError(
                f"the training loss became {float(self._loss_sum)} in epoch {self.current_epoch}: it diverged; "
                f"lower model.learning_rate (now {self.learning_rate}) or set trainer.gradient_clip"
            )


class PairModule(FitModule):
    """Trains a network of `(users, items) -> logits` on positives with sampled negatives.

    Args:
        network: Maps int64 users (batch,) and items (batch, n) to (batch, n) logits.
        loss: Maps (batch, n) logits, the positive first, to a scalar.
        learning_rate: Of Adam.
        weight_decay: Decoupled (AdamW), a step.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: Callable[[torch.Tensor], torch.Tensor],
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        super().__init__(network, learning_rate=learning_rate, weight_decay=weight_decay)
        self.loss = loss

    def training_step(self, batch: PairBatch, batch_idx: int) -> torch.Tensor:
        """Return the loss of one batch."""
        return self.loss(self.network(batch.users, batch.items))


class HistoryNetwork(Protocol):
    """A network that says something after each event of a history, and the layer that turns it into logits."""

    def __call__(self, items: torch.Tensor, behaviors: torch.Tensor) -> torch.Tensor:
        """Return (batch, length, d) outputs for right-padded int64 (batch, length) inputs."""
        ...

    def output_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (n_items, d) weights and (n_items,) bias."""
        ...


class SequenceModule(FitModule):
    """Trains a network of `(items, behaviors) -> outputs` to predict the next item at every position.

    Args:
        network: A `HistoryNetwork`.
        learning_rate: Of Adam.
        weight_decay: Decoupled (AdamW), a step.
        proposal: (n_items,) probabilities to draw negatives by; None computes the full softmax.
        n_negatives: Negatives drawn a step, shared by all positions of the batch.
        seed: Of the negatives.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        weight_decay: float,
        proposal: npt.NDArray[np.float64] | None,
        n_negatives: int,
        seed: int,
    ) -> None:
        super().__init__(network, learning_rate=learning_rate, weight_decay=weight_decay)
        self.n_negatives = n_negatives
        self.seed = seed
        self._cumulative = None if proposal is None else np.cumsum(proposal)
        with np.errstate(divide="ignore"):  # items of probability 0 are never drawn
            self._log_expected_count = None if proposal is None else np.log(proposal * n_negatives)

    def training_step(self, batch: SequenceBatch, batch_idx: int) -> torch.Tensor:
        """Return the mean loss over the positions of one batch that are not padding."""
        outputs = self.network(batch.items, batch.behaviors)[batch.mask]
        targets = batch.targets[batch.mask]
        weight, bias = cast(HistoryNetwork, self.network).output_layer()
        if self._cumulative is None:
            return full_softmax(outputs, targets, weight, bias)
        negatives, log_expected_count = self._draw(batch_idx)
        return sampled_softmax(
            outputs, targets, weight, bias, negatives=negatives, log_expected_count=log_expected_count
        )

    def _draw(self, batch_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        # Keyed by the step, not by a running state, so that a resumed epoch draws what it would have drawn.
        generator = np.random.default_rng((self.seed, self.current_epoch, batch_idx))
        assert self._cumulative is not None and self._log_expected_count is not None
        points = generator.random(self.n_negatives) * self._cumulative[-1]
        items = np.searchsorted(self._cumulative, points, "right")
        counts = torch.from_numpy(self._log_expected_count[items].astype(np.float32))
        return torch.from_numpy(items).to(self.device), counts.to(self.device)
