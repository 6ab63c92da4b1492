"""What a heap may begin with: a bound that enough values reach."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recdl.models.heap import N_BUCKETS, lower_bound

Values = npt.NDArray[np.float32]
ANY = arrays(np.float32, st.integers(1, 400), elements=st.floats(width=32, allow_nan=False))
FEW = arrays(np.float32, st.integers(1, 400), elements=st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1e-40, 2.0]))


@given(ANY | FEW, st.integers(1, 30))
def test_enough_values_are_not_below_the_bound(values: Values, k: int) -> None:
    bound = lower_bound(values, k, np.empty(N_BUCKETS, np.int32))
    assert (~(values < bound)).sum() >= min(k, len(values))


def test_the_bound_is_an_eighth_of_an_octave_below_what_is_wanted_at_most() -> None:
    for sign in (1, -1):
        values = sign * np.random.default_rng(0).permutation(np.linspace(1, 40, 600)).astype(np.float32)
        bound = lower_bound(values, 20, np.full(N_BUCKETS, 7, np.int32))
        wanted = np.sort(values)[-20]
        assert bound <= wanted
        assert wanted - bound <= abs(wanted) / 8


def test_of_many_values_a_part_is_looked_at_that_holds_enough() -> None:
    values = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    bound = lower_bound(values, 10, np.empty(N_BUCKETS, np.int32))
    assert 10 <= (values >= bound).sum() <= 1_500
