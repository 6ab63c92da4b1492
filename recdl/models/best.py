"""The best of each row of scores, found in one pass and in one order whatever the ties."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled
from recdl.models.compiled import compiled_without_nan
from recdl.models.heap import into_order, sift_down, sift_up, worse
from recdl.threads import in_threads

_LEAST = np.float32(np.finfo(np.float32).min)
"""What every value reaches that is one: minus infinity is none."""


class Workspace(NamedTuple):
    """What a thread writes to while it looks for the best of a row.

    Attributes:
        highest: (n_lanes,) float32, of each lane.
        keys: (n_lanes,) int32.
        values: (n,) float32, candidates for the best ...
        columns: ... and their (n,) int32 columns.
    """

    highest: npt.NDArray[np.float32]
    keys: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    columns: npt.NDArray[np.int32]


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
    space = workspace(scores.shape[1], columns.shape[1])
    for row in range(start, end):
        best_of_line(scores[row], values[row], columns[row], space)


@compiled
def workspace(n: int, k: int) -> Workspace:
    """Return room for the best `k` of rows of `n` values.

    Lanes have some sqrt(n / k) values each, so that as many values have to be looked at one by one, those of k
    lanes, as there are lanes. An odd multiple of 16 of them spreads the values of a lane over the cache.
    """
    n_lanes = min(n, (int(np.sqrt(n * k)) // 16 | 1) * 16)
    return Workspace(
        np.empty(n_lanes, np.float32), np.empty(n_lanes, np.int32), np.empty(n, np.float32), np.empty(n, np.int32)
    )


@compiled
def best_of_line(
    line: npt.NDArray[np.float32],
    kept: npt.NDArray[np.float32],
    places: npt.NDArray[np.int32],
    space: Workspace,
) -> None:
    """Write the best values of a row to `kept` and their columns to `places`, as `best_of_rows` does.

    A lane is every m-th value. Whatever k lanes reach with their highest values, the k best of the row reach too:
    what is below it, and with it most lanes as a whole, is passed over.

    Args:
        line: (n,), no NaN among them.
        kept: (k,), k at most n. What is not written, because the row has no more values, stays as it is.
        places: (k,), the same.
        space: Overwritten.
    """
    _lane_maxima(line, space.highest)
    found = _gather(line, _reached(space.highest, len(kept), space.keys), space)
    count = 0
    for x in range(found):
        value, column = space.values[x], space.columns[x]
        if count < len(kept):
            kept[count], places[count] = value, column
            sift_up(kept, places, count)
            count += 1
        elif worse(kept[0], places[0], value, column):
            kept[0], places[0] = value, column
            sift_down(kept, places)
    into_order(kept[:count], places[:count])


@compiled_without_nan
def _lane_maxima(line: npt.NDArray[np.float32], highest: npt.NDArray[np.float32]) -> None:
    n_lanes = len(highest)
    highest[:] = line[:n_lanes]
    first = n_lanes
    while first + n_lanes <= len(line):
        part = line[first : first + n_lanes]
        for lane in range(n_lanes):
            highest[lane] = max(highest[lane], part[lane])
        first += n_lanes
    for lane in range(len(line) - first):
        highest[lane] = max(highest[lane], line[first + lane])


@compiled
def _reached(values: npt.NDArray[np.float32], k: int, keys: npt.NDArray[np.int32]) -> np.float32:
    """Return what at least `k` of the values reach, and hardly more if they differ; or `_LEAST`, if fewer are any.

    Args:
        values: (n,), no NaN among them.
        k: How many are wanted.
        keys: (n,), overwritten: integers that rise as the values do, between which to bisect. The middle of two
            integers halves what lies between two values however far these are apart.
    """
    if len(values) < k:
        return _LEAST
    bits = values.view(np.int32)
    for x in range(len(bits)):
        keys[x] = _flipped(bits[x])
    low, high = np.int64(keys.min()), np.int64(keys.max()) + 1
    n_reaching = np.int32(len(values))
    while high - low > 1 and n_reaching > k + k // 8:
        middle = np.int32((low + high) >> 1)
        n_above = np.int32(0)  # of the same width as the keys, so that several are counted at once
        for x in range(len(keys)):
            n_above += np.int32(keys[x] >= middle)
        if n_above >= k:
            low, n_reaching = np.int64(middle), n_above
        else:
            high = np.int64(middle)
    keys[0] = _flipped(np.int32(low))
    return max(keys[:1].view(np.float32)[0], _LEAST)


@compiled
def _flipped(bits: np.int32) -> np.int32:
    """Return the integer that rises as the float32 of these bits does; or, of that integer, the bits."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@compiled
def _gather(line: npt.NDArray[np.float32], least: np.float32, space: Workspace) -> int:
    """Put every value of `line` that reaches `least` into `space`; return how many there are."""
    found, n_lanes = 0, len(space.highest)
    for lane in range(n_lanes):
        if space.highest[lane] < least:
            continue
        for column in range(lane, len(line), n_lanes):
            # Without a branch, which could not be foreseen: what does not reach it is overwritten by the next.
            space.values[found], space.columns[found] = line[column], column
            found += int(line[column] >= least)
    return found
