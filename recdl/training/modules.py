"""What all Lightning modules share: steps, the mean of the loss, and how far a fit is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from recdl.errors import DataError
from recdl.training.optimizers import RowAdamW, RowTable
from recdl.training.processes import Processes
from recdl.training.schedules import Schedule, set_rates

_CHECK_EVERY = 50


class FitModule(pl.LightningModule):
    """What every batch shape shares: the optimizer's steps, how far they are, and a mean of the loss.

    Optimization is manual: a call may hold several steps, since what Lightning spends on a call would otherwise
    outweigh a small step, and a step may add up the gradients of several parts, so that its memory is bounded.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.learning_rate = learning_rate
        self.gradient_clip: float | None = None
        self.processes = Processes()
        self.accumulate = 1
        self.schedule = Schedule()
        self.planned_epochs = 1
        self.steps_per_epoch = 1
        self.batches_done = 0
        self.batches_in_all = 0
        self.steps_in_all = 0
        self._loss_sum = torch.zeros(())
        self._steps = 0

    def mean_loss(self) -> float:
        """Return the mean training loss of the epoch so far, of all processes, which must all ask.

        Raises:
            DataError: If it is not finite.
        """
        self._check()
        total = self._loss_sum.clone()
        self.processes.add_up([total])
        return float(total / max(self._steps, 1))

    def parts(self) -> Iterator[tuple[int, int]]:
        """Yield the parts of a step that this process goes through: which one, of how many.

        All processes cut the same batch, since it depends on seed and epoch alone, and each goes through its share
        of it. The normalizers of a loss are those of the whole batch, so that the parts' gradients add up to the
        step's, however many parts and processes there are.
        """
        for place in range(self.accumulate):
            yield self.processes.rank * self.accumulate + place, self.processes.count * self.accumulate

    def end_batch(self) -> None:
        """Count a batch, and look at loss and gradient: on a CPU always, on a GPU, which waits, now and then.

        Raises:
            DataError: If the loss, or the gradient of the last step, is not finite.
        """
        # self.log costs a third of a small step; a sum and a rare log of it do not.
        self.batches_done += 1
        self.batches_in_all += 1
        often = self.batches_in_all % _CHECK_EVERY == 0
        if often or self.device.type == "cpu":
            self._check()
            self._check_gradient()
        if often:
            self.log("train/loss", self.mean_loss(), prog_bar=True)

    def end_epoch(self) -> None:
        """Let rows that were not touched make up for the decay that they missed; twice is as once."""
        optimizers = self.optimizers(use_pl_optimizer=False)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            if isinstance(optimizer, RowAdamW):
                optimizer.catch_up()

    def start_epoch(self) -> None:
        """Begin the loss of an epoch, and its count of batches, anew."""
        self.batches_done = 0
        self._loss_sum = torch.zeros((), device=self.device)
        self._steps = 0

    def progress(self) -> dict[str, Any]:
        """Return what, beside weights and optimizers, `go_on` needs; all processes must ask."""
        return {
            "batches_done": self.batches_done,
            "batches_in_all": self.batches_in_all,
            "steps_in_all": self.steps_in_all,
            "loss_sums": self.processes.gathered(self._loss_sum.cpu()),
            "steps": self._steps,
        }

    def go_on(self, progress: Mapping[str, Any]) -> None:
        """Take up an epoch where `progress` was."""
        self.batches_done = progress["batches_done"]
        self.batches_in_all = progress["batches_in_all"]
        self.steps_in_all = progress["steps_in_all"]
        self._loss_sum = progress["loss_sums"][self.processes.rank].to(self.device)
        self._steps = progress["steps"]

    def descend(self, losses: Iterable[torch.Tensor], *, tables: Sequence[RowTable] = ()) -> None:
        """Make one step of all optimizers along the gradient of the sum of `losses`, those of all processes.

        Args:
            losses: Of the parts of the step; none, where this process has none of it.
            tables: Tables whose rows the step touches, the same rows in all processes.
        """
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        for optimizer in optimizers:
            optimizer.zero_grad()
        for loss in losses:
            self.manual_backward(loss)
            self._loss_sum = self._loss_sum + loss.detach()
        for table in tables:
            table.put_gradient()
        if self.processes.count > 1:
            self._meet()
        if self.gradient_clip is not None:
            clip_gradient(self.parameters(), self.gradient_clip)
        share = self._share() if self.schedule.moves else None
        for optimizer in optimizers:
            if share is not None:
                set_rates(optimizer.param_groups, share)
            optimizer.step()
        self._steps += 1
        self.steps_in_all += 1

    def check_weights(self) -> None:
        """Check that what was learned is numbers: a weight of NaN may not be asked for in a long time.

        Raises:
            DataError: If the loss or a weight is not finite.
        """
        self._check()
        for name, weights in self.state_dict().items():
            if weights.is_floating_point() and not torch.isfinite(weights).all():
                raise DataError(
                    f"weights of {name} are not finite after epoch {self.current_epoch}, step {self.steps_in_all}:"
                    f" training diverged; {self._advice()}"
                )

    def _share(self) -> float:
        return self.schedule.share(
            self.steps_in_all, steps_per_epoch=self.steps_per_epoch, epochs=self.planned_epochs
        )

    def _meet(self) -> None:
        """Add up the gradients of all processes; a process that had no part of the step adds nothing."""
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        for parameter in learned:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.processes.add_up([_values(parameter.grad) for parameter in learned if parameter.grad is not None])

    def _check(self) -> None:
        if not torch.isfinite(self._loss_sum):
            raise DataError(
                f"the training loss became {float(self._loss_sum)} in epoch {self.current_epoch}: it diverged; "
                f"{self._advice()}"
            )

    def _check_gradient(self) -> None:
        # A weight of NaN shows in a loss only when it is asked for, which may be long after.
        gradients = [_values(weights.grad) for weights in self.parameters() if weights.grad is not None]
        if gradients and not torch.isfinite(torch.stack(torch._foreach_norm(gradients))).all():
            raise DataError(
                f"the gradient became {float(torch.stack(torch._foreach_norm(gradients)).sum())} in epoch"
                f" {self.current_epoch}: training diverged; {self._advice()}"
            )

    def _advice(self) -> str:
        return f"lower model.learning_rate (now {self.learning_rate}) or set trainer.gradient_clip"


def _values(gradient: torch.Tensor) -> torch.Tensor:
    return gradient._values() if gradient.is_sparse else gradient


def clip_gradient(parameters: Iterable[nn.Parameter], norm: float) -> None:
    """Scale all gradients so that their joint norm is at most `norm`; those of rows count like others."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    values = [_values(gradient) for gradient in gradients]
    total = torch.stack([value.norm() for value in values]).norm()
    scale = (norm / (total + 1e-6)).clamp(max=1.0)
    for value in values:
        value.mul_(scale)
