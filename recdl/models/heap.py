"""A heap of the best so far, the worst of them first."""

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled

N_BUCKETS = 4096
"""Of values by the first twelve bits of a float32: its sign, its exponent and an eighth of an octave."""

_BUCKET_BITS = 20  # of a float32 that do not tell its bucket
_LOOKED_AT = 64  # values for each that is wanted, of which the bound is taken
_BUCKETS_FROM = 8  # wanted, from which on buckets cost less than what the heap would do without them


@compiled
def lower_bound(values: npt.NDArray[np.float32], k: int, buckets: npt.NDArray[np.int32]) -> np.float32:
    """Return what at least `k` of the values reach, and few others; minus infinity where that does not pay.

    A heap that is begun with this bound sees little more than the values it keeps, where one that is begun with
    nothing takes up and throws away several times as many.

    Args:
        values: Any; NaN among them makes the bound void.
        k: How many are wanted.
        buckets: (N_BUCKETS,), overwritten.
    """
    if k < _BUCKETS_FROM or len(values) <= 2 * k:
        return np.float32(-np.inf)
    bits = values.view(np.uint32)
    buckets[:] = 0
    for x in range(0, len(bits), max(1, len(bits) // (_LOOKED_AT * k))):
        buckets[_rising(bits[x]) >> _BUCKET_BITS] += 1
    bucket, n = N_BUCKETS - 1, buckets[N_BUCKETS - 1]
    while n < k:
        bucket -= 1
        n += buckets[bucket]
    edge = np.array([_rising_back(np.uint32(bucket << _BUCKET_BITS))]).view(np.float32)
    return np.float32(edge[0])


@compiled
def _rising(bits: np.uint32) -> np.uint32:
    """Return what rises as the float32 of these bits does."""
    return np.uint32(~bits if bits >> 31 else bits | np.uint32(1 << 31))


@compiled
def _rising_back(bits: np.uint32) -> np.uint32:
    return np.uint32(bits ^ np.uint32(1 << 31) if bits >> 31 else ~bits)


@compiled
def worse(value: float, index: int, other: float, other_index: int) -> bool:
    """Whether the value at `index` stands behind the other one, equal values by rising index."""
    return value < other or (value == other and index > other_index)


@compiled
def sift_up(values: npt.NDArray[np.float32], indices: npt.NDArray[np.int32], place: int) -> None:
    """Restore the heap after its last entry has been added at `place`.

    Args:
        values: Those kept, the worst first.
        indices: What each belongs to; the lower one is better among equals.
        place: Of the entry.
    """
    value, index = values[place], indices[place]
    while place > 0:
        parent = (place - 1) // 2
        if not worse(value, index, values[parent], indices[parent]):
            break
        values[place], indices[place] = values[parent], indices[parent]
        place = parent
    values[place], indices[place] = value, index


@compiled
def sift_down(values: npt.NDArray[np.float32], indices: npt.NDArray[np.int32]) -> None:
    """Restore the heap after its first entry has been replaced.

    Args:
        values: Those kept, the worst first but for that entry.
        indices: What each belongs to; the lower one is better among equals.
    """
    place, value, index = 0, values[0], indices[0]
    while True:
        child = 2 * place + 1
        if child >= len(values):
            break
        other = child + 1
        if other < len(values) and worse(values[other], indices[other], values[child], indices[child]):
            child = other
        if not worse(values[child], indices[child], value, index):
            break
        values[place], indices[place] = values[child], indices[child]
        place = child
    values[place], indices[place] = value, index


@compiled
def into_order(values: npt.NDArray[np.float32], indices: npt.NDArray[np.int32]) -> None:
    """Turn a heap into a list, the best first: the worst is taken away one by one."""
    for last in range(len(values) - 1, 0, -1):
        value, index = values[last], indices[last]
        values[last], indices[last] = values[0], indices[0]
        values[0], indices[0] = value, index
        sift_down(values[:last], indices[:last])
