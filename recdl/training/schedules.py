"""How fast networks learn as training goes on: settings only, cheap to import."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, inf, pi
from typing import Any, Literal

from recdl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What share of the learning rate each step is made with.

    It depends on the number of steps made alone, so that training that goes on from a checkpoint goes on with it.

    Attributes:
        kind: What follows the warm-up: `constant`, or a fall to `final`, in a straight line or along half a cosine
            (Loshchilov & Hutter 2017, SGDR).
        warmup: Epochs in which the share rises from 0 to 1 in a straight line; parts of an epoch are allowed.
        final: Share that is left at the end of the planned epochs; of `linear` and `cosine`.
        epochs: How many are planned; None: the trainer's `max_epochs`. Training that ends before has not come to
            the end of the fall.
    """

    kind: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = 0.0
    final: float = 0.0
    epochs: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < inf:
            raise ConfigError(f"schedule.warmup must be 0 or more epochs, and finite, not {self.warmup}")
        if not 0 <= self.final <= 1:
            raise ConfigError(f"schedule.final is a share of the learning rate, between 0 and 1, not {self.final}")
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"schedule.epochs must be at least 1, not {self.epochs}")

    @property
    def moves(self) -> bool:
        """Whether the rate is not always the same."""
        return self.kind != "constant" or self.warmup > 0

    def share(self, done: int, *, steps_per_epoch: int, epochs: int) -> float:
        """Return the share for the step that follows `done` steps, of `epochs` planned unless the setting says."""
        warmup, end = self.warmup * steps_per_epoch, (self.epochs or epochs) * steps_per_epoch
        if done + 1 < warmup:
            return (done + 1) / warmup
        if self.kind == "constant":
            return 1.0
        fallen = min(max(done - warmup, 0.0) / max(end - warmup, 1.0), 1.0)
        left = 1.0 - fallen if self.kind == "linear" else (1.0 + cos(pi * fallen)) / 2
        return self.final + (1.0 - self.final) * left


def set_rates(groups: Sequence[dict[str, Any]], share: float) -> None:
    """Let groups of an optimizer's parameters learn with a share of the rate that they began with.

    A group of AdamW that has `keep` loses the rest of it at every step, whatever its rate.
    """
    for group in groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * share
        if "keep" in group and "weight_decay" in group and group["lr"]:
            group["weight_decay"] = (1.0 - group["keep"]) / group["lr"]
