"""Recommendations as a table of raw ids, and as a file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recdl.data.vocabulary import Vocabulary
from recdl.errors import DataError
from recdl.storage import whole_file

_SUFFIXES = (".csv", ".parquet")
_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("rank", pa.int32()), ("item_id", pa.string()), ("score", pa.float32())]
)


def recommendation_table(
    query_ids: npt.NDArray[np.object_],
    items: npt.NDArray[np.int32],
    scores: npt.NDArray[np.float32],
    vocabulary: Vocabulary,
) -> pd.DataFrame:
    """Turn lists of item indices into a table of raw ids.

    Args:
        query_ids: (n_queries,) raw user ids.
        items: (n_queries, k) int32 item indices, best first, -1 where the candidates ran out.
        scores: (n_queries, k) float32.
        vocabulary: Raw ids of the items.

    Returns:
        Columns `user_id` and `item_id` (text), `rank` (int32, 1 is the best) and `score` (float32) in the order
        `user_id, rank, item_id, score`; one row an item recommended, the queries in their order.
    """
    assert items.shape == scores.shape and len(items) == len(query_ids), "one list of items and scores a query"
    rows, places = np.nonzero(items >= 0)
    return pd.DataFrame(
        {
            "user_id": np.asarray(query_ids, dtype=object)[rows],
            "rank": (places + 1).astype(np.int32),
            "item_id": vocabulary.ids(items[rows, places]),
            "score": scores[rows, places],
        }
    )


def check_recommendations_path(path: Path) -> None:
    """Check, before any work, that recommendations can go to `path`.

    Raises:
        DataError: If its suffix is none we write, or it is a folder.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise DataError(
            f"{path}: recommendations are written to a {' or '.join(_SUFFIXES)} file; change the suffix"
        )
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the name of a file")


def write_recommendations(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV (UTF-8, text quoted) or Parquet, by the suffix of `path`; whole or not at all.

    Raises:
        DataError: As `check_recommendations_path` does.
    """
    check_recommendations_path(path)
    columns = pa.Table.from_pandas(table, schema=_SCHEMA, preserve_index=False).replace_schema_metadata()
    with whole_file(path) as temporary:
        if path.suffix.lower() == ".csv":
            # Arrow quotes all text: an id with a comma, a quote or a line break comes back as it went in.
            pyarrow.csv.write_csv(columns, temporary)
        else:
            pq.write_table(columns, temporary, compression="zstd")
