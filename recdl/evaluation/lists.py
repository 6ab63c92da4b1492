"""The lists that a run recommended, in its folder: what reports look at beyond figures."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.errors import RecordError
from recdl.storage import whole_file


def write_lists(folder: Path, part: str, lists: npt.NDArray[np.int32]) -> None:
    """Write the lists (n_queries, k) of a part ("test" or "validation") into the folder of a run."""
    rows = pa.FixedSizeListArray.from_arrays(pa.array(lists.ravel()), lists.shape[1])
    with whole_file(_path(folder, part)) as temporary:
        pq.write_table(pa.table({"items": rows}), temporary, compression="zstd")


def read_lists(folder: Path, part: str = "test") -> npt.NDArray[np.int32] | None:
    """Return (n_queries, k) int32 item indices, best first, -1 where there is none; None if the run kept no lists.

    Runs of earlier versions kept none.

    Raises:
        RecordError: If the file is damaged.
    """
    path = _path(folder, part)
    if not path.is_file():
        return None
    try:
        rows = pq.read_table(path, columns=["items"])["items"].combine_chunks()
        flat: npt.NDArray[np.int32] = rows.values.to_numpy().astype(np.int32, copy=False)
        return flat.reshape(len(rows), rows.type.list_size)
    except (OSError, pa.ArrowException, ValueError, AttributeError, KeyError) as error:
        raise RecordError(f"{path} is damaged ({error}); run it again") from error


def _path(folder: Path, part: str) -> Path:
    return folder / "lists" / f"{part}.parquet"
