import numpy as np
import pytest

from recdl.metrics.ratings import mean_absolute_error, root_mean_squared_error


def test_errors_are_those_worked_by_hand() -> None:
    predicted, given = np.array([3.0, 5.0, 1.0]), np.array([4.0, 5.0, 3.0])
    assert root_mean_squared_error(predicted, given) == pytest.approx((5 / 3) ** 0.5)
    assert mean_absolute_error(predicted, given) == pytest.approx(1.0)
