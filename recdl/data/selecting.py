"""Some of the events of a log, in memory where they are few and in a file where they are many."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

from recdl.threads import in_threads

_BLOCK = 1 << 18  # what is counted of a block stays in the cache
_IN_MEMORY = 1 << 24  # events: 13 bytes each, and 8 more with weights and sessions

Mask = npt.NDArray[np.bool_]


def selected(arrays: Mapping[str, npt.NDArray[Any]], mask: Mask) -> dict[str, npt.NDArray[Any]]:
    """Return the values of flat arrays where `mask` is true.

    Many values out of memory-mapped arrays are mapped as well: so a log that is larger than memory is cut into
    parts none of which has to fit. They lie beside the folder that they come from, in files without a name, which
    are gone with the arrays or the process, however it ends.
    """
    n_selected = int(np.count_nonzero(mask))
    names, made = list(arrays), dict[str, npt.NDArray[Any]]()

    def select(first: int, last: int) -> None:
        for name in names[first:last]:
            folder = _folder(arrays[name])
            if n_selected < _IN_MEMORY or folder is None:
                made[name] = np.asarray(arrays[name][mask])
            else:
                made[name] = _mapped(arrays[name], mask, folder)

    in_threads(select, np.array([array.nbytes for array in arrays.values()], np.float64))
    return {name: made[name] for name in names}


def offsets_where(offsets: npt.NDArray[np.int64], mask: Mask) -> npt.NDArray[np.int64]:
    """Return where each user's events begin among those where `mask` is true, as `offsets` says it of all."""
    counted = np.zeros(len(offsets), np.int64)
    n_before = 0
    for start in range(0, len(mask), _BLOCK):
        ends = n_before + np.cumsum(mask[start : start + _BLOCK], dtype=np.int64)
        first, last = np.searchsorted(offsets, [start + 1, start + len(ends) + 1])
        counted[first:last] = ends[offsets[first:last] - start - 1]
        n_before = int(ends[-1])
    return counted


def _folder(array: npt.NDArray[Any]) -> Path | None:
    """Return the folder of the file that an array is mapped from; None if it is in none that has a name."""
    path = getattr(array, "filename", None)
    return None if path is None else Path(path).parent


def _mapped(array: npt.NDArray[Any], mask: Mask, folder: Path) -> npt.NDArray[Any]:
    try:
        opened = TemporaryFile(dir=folder.parent)  # noqa: SIM115 - closed below; the map stays
    except OSError:  # a folder that may only be read
        return np.asarray(array[mask])
    with opened:
        for start in range(0, len(mask), _BLOCK):
            block = slice(start, start + _BLOCK)
            opened.write(np.ascontiguousarray(array[block][mask[block]]).data)
        opened.flush()
        return np.memmap(opened, array.dtype, "r")
