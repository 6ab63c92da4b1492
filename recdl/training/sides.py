"""The two sides of an interaction: what is learned of each user and item, and what their features add to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from recdl.data.features import FeatureColumns, Features, encode
from recdl.data.interactions import Interactions
from recdl.errors import ConfigError, RecordError
from recdl.models.networks.features import FeatureEncoder
from recdl.models.protocol import State

Side = Literal["users", "items"]
Lookup = Callable[[torch.Tensor], torch.Tensor]

_SIDES: tuple[Side, ...] = ("users", "items")


@dataclass(frozen=True, kw_only=True)
class SideFeatures:
    """Which columns of the log's tables a factorization network reads, beside the indices.

    Attributes:
        users: Of the table of users.
        items: Of the table of items.
        own_dropout: Share of the vectors of single users and items, of a side with features, that is left out of
            a step, so that the features learn to stand alone (Volkovs et al. 2017, DropoutNet).
    """

    users: FeatureColumns = field(default_factory=FeatureColumns)
    items: FeatureColumns = field(default_factory=FeatureColumns)
    own_dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_dropout(self.own_dropout)

    def encoded(self, train: Interactions, trained: Mapping[Side, npt.NDArray[np.bool_]]) -> dict[Side, Features]:
        """Encode the columns of the sides that have any; `trained` says who has an event in train.

        Raises:
            DataError: As `encode` does.
        """
        tables = {"users": train.user_table, "items": train.item_table}
        return {
            side: encode(tables[side], columns, trained[side], of=side)
            for side in _SIDES
            if (columns := getattr(self, side))
        }


@dataclass(frozen=True, kw_only=True)
class ItemFeatures:
    """Which columns of the log's table of items a network of sequences reads, beside the indices.

    Attributes:
        items: Of the table of items.
        own_dropout: Share of the vectors of single items that is left out of a step, as in `SideFeatures`.
    """

    items: FeatureColumns = field(default_factory=FeatureColumns)
    own_dropout: float = 0.1

    def __post_init__(self) -> None:
        _check_dropout(self.own_dropout)


class Sides(nn.Module):
    """Turns the vector that is learned for a user or an item into one that also says what is known of it.

    v_i = own_i + e(features_i). Who has no event in train has no own vector, and is what its features say.

    Args:
        features: Of the sides that have any.
        widths: Width of the vectors of each side.
        own_dropout: See `SideFeatures`.
    """

    def __init__(
        self, features: Mapping[Side, Features], widths: Mapping[Side, int], *, own_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.features = dict(features)
        self.encoders = nn.ModuleDict(
            {
                _singular(side): FeatureEncoder(features[side], widths[side], own_dropout=own_dropout)
                for side in features
            }
        )

    def __contains__(self, side: Side) -> bool:
        return side in self.features

    def lookup(self, side: Side, own: Lookup) -> Lookup:
        """Return what looks up whole vectors (..., d) by int64 indices (...), given what looks up own ones."""
        if side not in self:
            return own
        complete: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
        complete = self.encoders[_singular(side)].complete  # type: ignore[assignment]
        return lambda indices: complete(own(indices), indices)

    def table(self, side: Side, own: torch.Tensor) -> torch.Tensor:
        """Return (n, d) whole vectors for a table of own ones."""
        return own + self.encoders[_singular(side)].table() if side in self else own  # type: ignore[operator]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the features and what was learned of them, as `restored` reads them."""
        found: dict[str, npt.NDArray[Any]] = {}
        for side, features in self.features.items():
            found |= features.arrays(f"features.{side}.")
        weights = self.encoders.state_dict()
        return found | {f"encoders.{name}": tensor.detach().cpu().numpy() for name, tensor in weights.items()}

    @classmethod
    def restored(cls, chosen: SideFeatures, state: State, widths: Mapping[Side, int]) -> Self:
        """Return what `arrays` was made of.

        Raises:
            RecordError: If an array is missing or does not fit.
        """
        features = {
            side: Features.restored(state, f"features.{side}.") for side in _SIDES if getattr(chosen, side)
        }
        sides = cls(features, widths, own_dropout=chosen.own_dropout)
        prefix = "encoders."
        own = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        try:
            sides.encoders.load_state_dict(
                {name: torch.from_numpy(np.array(array)) for name, array in own.items()}
            )
        except RuntimeError as error:
            raise RecordError(f"the stored weights do not fit the model's features: {error}") from error
        return sides.eval()


def _check_dropout(share: float) -> None:
    if not 0 <= share < 1:
        raise ConfigError(f"model.features.own_dropout must lie in [0, 1), not {share}")


def _singular(side: Side) -> str:
    return side.removesuffix("s")  # a dictionary of modules has attributes of its own, such as items
