"""Raw ids and the contiguous indices that stand for them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.errors import RecordError
from recdl.storage import whole_file

UNKNOWN = -1
"""The index of an id that is in no vocabulary. It never addresses a row of a table."""


class Vocabulary:
    """A one-to-one map of raw ids (text, exactly as in the log) to indices 0 ... n - 1.

    Args:
        ids: Distinct, non-null raw ids; the position of each is its index.
    """

    def __init__(self, ids: pa.StringArray | Sequence[str]) -> None:
        array = ids if isinstance(ids, pa.Array) else pa.array(list(ids), pa.string())
        self._ids = array.cast(pa.large_string())
        assert self._ids.null_count == 0, "a vocabulary holds no null id"

    @cached_property
    def _lookup(self) -> "pd.Index[Any]":
        lookup: pd.Index[Any] = pd.Index(self._ids.to_numpy(zero_copy_only=False).astype(object), dtype=object)
        assert lookup.is_unique, "a vocabulary holds each id once"
        return lookup

    def __len__(self) -> int:
        return len(self._ids)

    def indices(self, ids: Sequence[str] | npt.NDArray[np.object_]) -> npt.NDArray[np.int32]:
        """Return the int32 index of each raw id, `UNKNOWN` (-1) for those the vocabulary does not hold."""
        return self._lookup.get_indexer(pd.Index(np.asarray(ids, dtype=object), dtype=object)).astype(np.int32)

    def ids(self, indices: npt.NDArray[np.integer]) -> npt.NDArray[np.object_]:
        """Return the raw ids at `indices`, all of them in [0, n)."""
        if len(indices) and not (0 <= indices.min() and indices.max() < len(self)):
            raise IndexError(f"an index lies outside [0, {len(self)}); unknown ids have no raw id to give back")
        return np.asarray(self._ids.take(pa.array(indices)).to_numpy(zero_copy_only=False), dtype=object)

    def to_arrow(self) -> pa.LargeStringArray:
        """Return the ids in index order."""
        return self._ids

    def save(self, path: Path) -> None:
        """Write a Parquet file of one column, `id`, in index order."""
        with whole_file(path) as temporary:
            pq.write_table(pa.table({"id": self._ids}), temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RecordError: If the file is missing or is no vocabulary.
        """
        try:
            with pq.ParquetFile(path) as opened:  # `read_table` would load pyarrow's datasets first
                return cls(opened.read(columns=["id"])["id"].combine_chunks())
        except (OSError, pa.ArrowException, KeyError) as error:
            raise RecordError(f"{path} is not a readable vocabulary: {error}") from error
