"""The best of each row of scores, found in one pass and in one order whatever the ties."""

import numpy as np
import numpy.typing as npt

from recdl.models.compiled import compiled, compiled_without_nan, in_threads
from recdl.models.heap import into_order, sift_down, sift_up

_BLOCK = 64
"""Scores that are looked at together."""


def best_of_rows(scores: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return the columns and values of the best min(k, n) of each row (m, n), best first, ties by rising column.

    Minus infinity is no value: where nothing else is left, the column is -1 and the value `nan`.
    """
    width = min(k, scores.shape[1])
    columns = np.full((len(scores), width), -1, np.int32)
    values = np.full((len(scores), width), np.nan, np.float32)
    in_threads(lambda start, end: _best_rows(start, end, scores, columns, values), np.ones(len(scores)))
    return columns, values


@compiled
def _best_rows(
    start: int,
    end: int,
    scores: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
) -> None:
    for row in range(start, end):
        best_of_line(scores[row], values[row], columns[row])


@compiled
def best_of_line(
    line: npt.NDArray[np.float32], kept: npt.NDArray[np.float32], places: npt.NDArray[np.int32]
) -> None:
    """Write the best values of a row to `kept` and their columns to `places`, as `best_of_rows` does.

    Of the highest values of blocks, the k-th highest is no higher than the k-th best of all: what is below it, and
    with it most blocks as a whole, is passed over.

    Args:
        line: (n,), no NaN among them.
        kept: (k,), k at most n. What is not written, because the row has no more values, stays as it is.
        places: (k,), the same.
    """
    k, n = len(kept), len(line)
    highest = np.empty((n + _BLOCK - 1) // _BLOCK, np.float32)
    _block_maxima(line, highest)
    least = _kth_highest(highest, k)
    count = 0
    for block in range(len(highest)):
        if highest[block] < least or (count == k and not highest[block] > kept[0]):
            continue
        for column in range(block * _BLOCK, min((block + 1) * _BLOCK, n)):
            value = line[column]
            if count < k:
                if value >= least and value > -np.inf:
                    kept[count], places[count] = value, column
                    sift_up(kept, places, count)
                    count += 1
            elif value > kept[0]:  # columns rise: an equal one that comes later is worse than all equals kept
                kept[0], places[0] = value, column
                sift_down(kept, places)
    into_order(kept[:count], places[:count])


@compiled_without_nan
def _block_maxima(line: npt.NDArray[np.float32], highest: npt.NDArray[np.float32]) -> None:
    for block in range(len(highest)):
        most = np.float32(-np.inf)
        for column in range(block * _BLOCK, min((block + 1) * _BLOCK, len(line))):
            most = max(most, line[column])
        highest[block] = most


@compiled
def _kth_highest(values: npt.NDArray[np.float32], k: int) -> float:
    """Return the k-th highest of some values; minus infinity where there are not as many."""
    if len(values) < k:
        return -np.inf
    kept, places = np.empty(k, np.float32), np.zeros(k, np.int32)
    for place in range(len(values)):
        if place < k:
            kept[place] = values[place]
            sift_up(kept, places, place)
        elif values[place] > kept[0]:
            kept[0] = values[place]
            sift_down(kept, places)
    return float(kept[0])
