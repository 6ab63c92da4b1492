"""What a network of sequences learns from, chosen by settings and apart from the network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from recdl.errors import ConfigError
from recdl.training.chunked import above_mean, full_softmax, sampled_softmax, shared_negatives
from recdl.training.losses import bpr_max, generalized_binary_cross_entropy, top1_max

_FULL_FACTOR = 2
_SOFTMAX = ("auto", "full", "sampled")


@dataclass(frozen=True, kw_only=True)
class SequenceLoss:
    """How the item that came next is set against the others.

    Attributes:
        kind: `full` softmax over the catalogue, `sampled` softmax, `auto` (sampled where the catalogue is more
            than twice `n_negatives`), `gbce`, `bpr_max` or `top1_max`.
        n_negatives: Items drawn a step, with repetition, and shared by all its positions; of all kinds but `full`.
        popularity_exponent: They are drawn in proportion to train popularity to this power.
        label_smoothing: Share of the target spread over the catalogue; of the softmax kinds.
        calibration: Of `gbce`, between 0 (plain cross-entropy) and 1 (calibrated).
        score_penalty: Of `bpr_max`, on high scores of negatives.
    """

    kind: Literal["auto", "full", "sampled", "gbce", "bpr_max", "top1_max"] = "auto"
    n_negatives: int = 2048
    popularity_exponent: float = 0.75
    label_smoothing: float = 0.0
    calibration: float = 0.75
    score_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.n_negatives < 1:
            raise ConfigError(f"n_negatives must be at least 1, not {self.n_negatives}")
        for name in ("popularity_exponent", "score_penalty"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ConfigError(f"{name} must be 0 or more, and finite, not {getattr(self, name)}")
        if not 0 <= self.calibration <= 1:
            raise ConfigError(f"calibration must lie between 0 and 1, not {self.calibration}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}")
        if self.label_smoothing and self.kind not in _SOFTMAX:
            raise ConfigError(
                f"label_smoothing={self.label_smoothing} has no meaning with kind={self.kind}; set it to 0"
            )


class NextItemLoss:
    """The loss of the settings, for a catalogue of known popularity.

    Args:
        settings: Which loss.
        popularity: (n_items,) events of each item in train; what has none is never drawn.
        seed: Of the draws.
        known_only: Whether items without an event are left out of the catalogue. Else they are learned to be
            unwanted, and with them whatever is known of them.
    """

    def __init__(
        self, settings: SequenceLoss, popularity: npt.NDArray[np.integer], *, seed: int, known_only: bool = False
    ) -> None:
        kind, n = settings.kind, settings.n_negatives
        if kind == "auto":
            kind = "full" if len(popularity) <= _FULL_FACTOR * n else "sampled"
        self.kind = kind
        self.settings = settings
        self.seed = seed
        self._known = torch.from_numpy(np.flatnonzero(popularity > 0)) if known_only else None
        weights = np.where(popularity > 0, np.maximum(popularity, 1) ** settings.popularity_exponent, 0.0)
        self._cumulative = np.cumsum(weights / weights.sum())
        with np.errstate(divide="ignore"):  # items of probability 0 are never drawn
            self._log_expected_count = np.log(weights * n / weights.sum())
        rate = min(n / max(len(popularity) - 1, 1), 1.0)
        self._losses: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "gbce": partial(
                generalized_binary_cross_entropy, sampling_rate=rate, calibration=settings.calibration
            ),
            "bpr_max": partial(bpr_max, score_penalty=settings.score_penalty),
            "top1_max": top1_max,
        }

    def items(self, targets: torch.Tensor, *, step: tuple[int, int]) -> torch.Tensor | None:
        """Return the rising int64 items whose output weights the loss of a step needs; None: those of all.

        Args:
            targets: (n,) int64.
            step: As the loss is called with.
        """
        if self._known is None:
            return None
        if self.kind == "full" or self.settings.label_smoothing:
            return self._known.to(targets.device)
        negatives, _ = self.draw(step, targets.device)
        needed: torch.Tensor = torch.unique(torch.cat([targets, negatives]))
        return needed

    def __call__(
        self,
        outputs: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        *,
        step: tuple[int, int],
        weights: torch.Tensor | None = None,
        counts: torch.Tensor | None = None,
        items: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the mean loss over the positions.

        Where a position asks for a set of items, its loss is the mean of those of its items. Items of one set are
        no negatives of each other, but a softmax sums over all other items, those of the set too, so that it is
        the cross-entropy of equal shares (the multinomial likelihood, over the size of the set).

        Args:
            outputs: (n, d), what the network says at each position.
            targets: (n,) int64, the item that came next.
            weight: (n_items, d) output weights.
            bias: (n_items,) output bias.
            step: Epoch, and step within it: what the draws depend on, beside the seed.
            weights: (n,) float32, of the positions in the mean; None: equal, and so are sets.
            counts: (k,) int64, where sets are asked for: how many of the n outputs and targets, one after the
                other, belong to each of k positions; None: one each.
            items: Those whose weights and bias these are, as `items` says; None: all.
        """
        others = None
        if items is not None:
            targets = torch.searchsorted(items, targets)
        if counts is not None:
            weights, others = _sets(targets, counts)
        asked = outputs, targets, weight, bias
        if self.kind == "full":
            loss = full_softmax(*asked, weights=weights)
        else:
            negatives, expected = self._drawn(step, outputs.device, items)
            if self.kind in self._losses:
                loss_of = self._losses[self.kind]
                return shared_negatives(loss_of, *asked, negatives=negatives, weights=weights, others=others)
            loss = sampled_softmax(*asked, negatives=negatives, log_expected_count=expected, weights=weights)
        if self.settings.label_smoothing:
            loss = loss + self.settings.label_smoothing * above_mean(*asked, weights=weights)
        return loss

    def draw(self, step: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (n_negatives,) int64 items, and the float32 log of how often each was to be expected."""
        # Keyed by the step, not by a running state, so that a resumed epoch draws what it would have drawn.
        generator = np.random.default_rng((self.seed, *step))
        points = generator.random(self.settings.n_negatives) * self._cumulative[-1]
        items = np.searchsorted(self._cumulative, points, "right")
        counts = torch.from_numpy(self._log_expected_count[items].astype(np.float32))
        return torch.from_numpy(items).to(device), counts.to(device)

    def _drawn(
        self, step: tuple[int, int], device: torch.device, items: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `draw` does, the draws as places among `items`."""
        negatives, expected = self.draw(step, device)
        return negatives if items is None else torch.searchsorted(items, negatives), expected


def _sets(targets: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Return (n,) weights that let each set weigh alike, and for each target, by its row, all items of its set."""
    sizes = counts.repeat_interleave(counts)
    rows = torch.arange(len(targets), device=targets.device).repeat_interleave(sizes)
    firsts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    within = torch.arange(len(rows), device=rows.device) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return 1.0 / sizes, (rows, targets[firsts.repeat_interleave(sizes) + within])
