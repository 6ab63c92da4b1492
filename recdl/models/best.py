"""The best of each row of scores, found in one pass and in one order whatever the ties."""

import numpy as np
import numpy.typing as npt

from recdl.models.compiled import compiled, in_threads
from recdl.models.heap import into_order, sift_down, sift_up


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
    k = values.shape[1]
    for row in range(start, end):
        kept, places, line = values[row], columns[row], scores[row]
        count, floor = 0, np.float32(-np.inf)
        for column in range(len(line)):
            value = line[column]
            # Columns rise: an equal one that comes later is worse than all equals kept.
            if not value > floor:
                continue
            if count < k:
                kept[count], places[count] = value, column
                sift_up(kept, places, count)
                count += 1
                if count < k:
                    continue
            else:
                kept[0], places[0] = value, column
                sift_down(kept, places)
            floor = kept[0]
        into_order(kept[:count], places[:count])
