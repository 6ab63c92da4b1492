"""How histories are changed while a network learns from them, so that it leans on no single event."""

from dataclasses import dataclass

from recdl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is taken from histories in training, drawn anew each epoch; none of it takes away a target.

    Attributes:
        crop: Share of the windows that are cut in two at a random place: what comes after is learned with no more
            than the event before it (the crop of Xie et al. 2022, CL4SRec, of which both parts are kept).
        mask: Share of the input events whose item is not told; behaviour, time and place are.
        item_dropout: Share of the input events of which nothing is told but that there was one.
    """

    crop: float = 0.0
    mask: float = 0.0
    item_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.crop <= 1:
            raise ConfigError(f"augmentation.crop must lie between 0 and 1, not {self.crop}")
        for name in ("mask", "item_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"augmentation.{name} must be at least 0 and below 1, not {getattr(self, name)}")
