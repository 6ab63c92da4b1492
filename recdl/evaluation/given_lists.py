"""Recommendations made elsewhere, read from a file and checked, to be evaluated as any model is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recdl.data.queries import QuerySet
from recdl.data.vocabulary import UNKNOWN, Vocabulary
from recdl.errors import DataError
from recdl.models.protocol import ListedItems

USER, ITEM, RANK, SCORE = "user_id", "item_id", "rank", "score"
_IDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating)


@dataclass(frozen=True, kw_only=True)
class GivenCounts:
    """What was found in a file of recommendations.

    Attributes:
        rows: Of the file.
        users: Distinct users of the file.
        by: "rank" or "score": what the lists are ordered by.
        duplicates: Rows left out because their user has the item at a better place.
        unknown_users: Users of the file that the log does not hold; their lists are left out.
        unknown_items: Rows whose item the log does not hold; each keeps its place, and is a miss.
        unsorted_users: Users whose rows were not in the order of their rank or score; they were sorted.
        tied_rows: Rows that share their user's rank or score with another.
        queries: Test queries.
        queries_without_list: Of these, the ones of users without a list: all of their targets are misses.
        shortest, longest: Items in a list of a test query that has one.
    """

    rows: int
    users: int
    by: str
    duplicates: int
    unknown_users: int
    unknown_items: int
    unsorted_users: int
    tied_rows: int
    queries: int
    queries_without_list: int
    shortest: int
    longest: int

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON can say them."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class GivenFile:
    """Lists that a file gives, by the indices of a log.

    Attributes:
        users: (n,) int32, rising.
        lists: One a user.
        counts: What was found.
    """

    users: npt.NDArray[np.int32]
    lists: ListedItems
    counts: GivenCounts


def read_given_lists(path: Path, *, users: Vocabulary, items: Vocabulary, query_set: QuerySet) -> GivenFile:
    """Read a CSV (also gzipped) or Parquet file of recommendations: a row a user and item.

    Columns: `user_id`, `item_id`, and `rank` (1 is the best) or `score` (the higher the better); of both, `rank`
    counts, and other columns are not read. Ids are as in the log. Rows may come in any order; equal ranks or
    scores are ties. Of an item twice in a list the better place counts.

    Args:
        path: The file.
        users: Of the log.
        items: Of the log.
        query_set: What is asked.

    Raises:
        DataError: If the file cannot be read, lacks a column or an id, holds a rank or score that is no finite
            number, or has no list for any query.
    """
    table, by = _read(path)
    if not len(table):
        raise DataError(
            f"{path} holds no recommendations; each row names a {USER}, an {ITEM} and a {RANK} or {SCORE}"
        )
    frame = pd.DataFrame(
        {
            "given": pd.factorize(table[USER])[0],
            "user": users.indices(table[USER].to_numpy()),
            "raw": pd.factorize(table[ITEM])[0],
            "item": items.indices(table[ITEM].to_numpy()),
            "key": table[by].to_numpy(np.float64) * (1 if by == RANK else -1),
        }
    )
    unsorted = _unsorted(frame)
    # The best row of an item first; equal ones in the order of the file.
    frame = frame.sort_values(["user", "given", "key"], kind="stable")
    twice = frame.duplicated(["given", "raw"])
    unique = frame[~twice]
    known = unique[unique["user"] != UNKNOWN]
    lists = _lists(known)
    kept = np.unique(known["user"].to_numpy(np.int32))
    lengths = _lengths(kept, lists, query_set, path)
    counts = GivenCounts(
        rows=len(frame),
        users=int(frame["given"].nunique()),
        by=by,
        duplicates=int(twice.sum()),
        unknown_users=int(frame.loc[frame["user"] == UNKNOWN, "given"].nunique()),
        unknown_items=int((unique["item"] == UNKNOWN).sum()),
        unsorted_users=unsorted,
        tied_rows=int(unique.duplicated(["given", "key"], keep=False).sum()),
        queries=len(query_set),
        queries_without_list=int((lengths == 0).sum()),
        shortest=int(lengths[lengths > 0].min()),
        longest=int(lengths.max()),
    )
    return GivenFile(kept, lists, counts)


def given_notes(counts: Mapping[str, Any], cutoffs: tuple[int, ...]) -> list[str]:
    """Say what must be known of given lists to read their figures, a sentence each.

    Args:
        counts: As `GivenCounts.to_json` gives them.
        cutoffs: Of the figures.
    """
    said = [
        f"Recommendations read from a file, ordered by {counts['by']}; what a list does not name is a miss, and"
        " nothing is known of time, size or validation."
    ]
    if counts["queries_without_list"]:
        share = counts["queries_without_list"] / counts["queries"]
        said.append(
            f"{counts['queries_without_list']:,} of {counts['queries']:,} test queries ({100 * share:.1f} %) have"
            " no list: all of their targets count as misses."
        )
    if counts["shortest"] < max(cutoffs):
        said.append(
            f"The shortest list has {counts['shortest']:,} items: at longer cutoffs the places it leaves empty are"
            " misses."
        )
    for name, what in (
        ("duplicates", "rows repeat an item of their user: the better place counts"),
        ("unknown_users", "users are not in the log: their lists are left out"),
        ("unknown_items", "rows name an item that is not in the log: it keeps its place and is a miss"),
        ("unsorted_users", f"users had their rows in another order than that of the {counts['by']}: sorted"),
        ("tied_rows", "rows are tied with another: a target among them gets its expected place"),
    ):
        if counts[name]:
            said.append(f"{counts[name]:,} {what}.")
    return said


def _unsorted(frame: pd.DataFrame) -> int:
    keys, given = frame["key"].to_numpy(), frame["given"].to_numpy()
    order = np.argsort(given, kind="stable")
    falls = (np.diff(keys[order]) < 0) & (np.diff(given[order]) == 0)
    return len(np.unique(given[order][1:][falls]))


def _lists(known: pd.DataFrame) -> ListedItems:
    """Make a list a user of rows sorted by user and key; places are the ranks of the keys, equal ones alike."""
    users, keys = known["user"].to_numpy(), known["key"].to_numpy()
    _, firsts = np.unique(users, return_index=True)
    offsets = np.append(firsts, len(users)).astype(np.int64)
    rises = np.ones(len(users), np.int64)
    rises[1:] = np.diff(keys) != 0
    rises[firsts] = 1
    steps = np.cumsum(rises)
    places = steps - np.repeat(steps[firsts], np.diff(offsets))
    return ListedItems(offsets, known["item"].to_numpy(np.int32), places.astype(np.int32))


def _lengths(
    users: npt.NDArray[np.int32], lists: ListedItems, query_set: QuerySet, path: Path
) -> npt.NDArray[np.int64]:
    """Return (n_queries,) int64, the length of the list of each query."""
    by_user = dict(zip(users.tolist(), np.diff(lists.offsets).tolist(), strict=True))
    lengths = np.array([by_user.get(user, 0) for user in query_set.queries.users.tolist()], np.int64)
    if not lengths.any():
        raise DataError(
            f"{path} has no list for any of the {len(query_set):,} test queries: its {USER} must be those of the"
            " log (of pseudonyms, the pseudonyms), and of the users that the run's test part asks about"
        )
    return lengths


def _read(path: Path) -> tuple[pd.DataFrame, str]:
    """Return the ids as text and the rank or score, and which of the two it is."""
    if not path.is_file():
        raise DataError(f"recommendations={path}: there is no such file")
    try:
        table = pq.read_table(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as CSV or Parquet: {error}") from error
    for name in (USER, ITEM):
        if name not in table.column_names:
            raise DataError(f"{path} has no column {name!r}; its columns are {', '.join(table.column_names)}")
        if not any(is_id(table[name].type) for is_id in _IDS):
            raise DataError(f"{path}: {name} must be text or whole numbers, not {table[name].type}")
    by = next((name for name in (RANK, SCORE) if name in table.column_names), None)
    if by is None:
        raise DataError(f"{path} has neither a column {RANK!r} (1 is the best) nor {SCORE!r} to order lists by")
    ids = {name: table[name].cast(pa.string()).to_pandas() for name in (USER, ITEM)}
    for name, column in ids.items():
        missing = column.isna() | (column == "")
        if missing.any():
            raise DataError(f"{path}, row {int(np.argmax(missing)) + 1} of the data: there is no {name}")
    numbers = _numbers(table[by], by, path)
    return pd.DataFrame({**ids, by: numbers}), by


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> npt.NDArray[np.float64]:
    if any(is_number(column.type) for is_number in _NUMBERS):
        numbers: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    else:
        numbers = pd.to_numeric(column.cast(pa.string()).to_pandas(), errors="coerce").to_numpy(np.float64)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{path}, row {row + 1} of the data: {name} is {column[row].as_py()!r}, which is no finite number"
        )
    return numbers


def _read_csv(path: Path) -> pa.Table:
    names = (USER, ITEM)
    options = pyarrow.csv.ConvertOptions(
        column_types={**dict.fromkeys(names, pa.string()), RANK: pa.string(), SCORE: pa.string()},
        strings_can_be_null=False,
    )
    return pyarrow.csv.read_csv(
        path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True), convert_options=options
    )
