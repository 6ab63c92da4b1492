"""How far predicted ratings are from those given."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def root_mean_squared_error(predicted: Values, given: Values) -> float:
    """Return the root of the mean squared difference of two (n,) arrays, n at least 1."""
    return float(np.sqrt(np.square(predicted - given).mean()))


def mean_absolute_error(predicted: Values, given: Values) -> float:
    """Return the mean absolute difference of two (n,) arrays, n at least 1."""
    return float(np.abs(predicted - given).mean())


RATING_METRICS: dict[str, Callable[[Values, Values], float]] = {
    "rmse": root_mean_squared_error,
    "mae": mean_absolute_error,
}
"""The metrics of ratings by the name that a run record has for them; of all that are predicted at once."""
