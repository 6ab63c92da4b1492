"""A heap of the best so far, the worst of them first."""

import numpy as np
import numpy.typing as npt

from recdl.models.compiled import compiled


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
