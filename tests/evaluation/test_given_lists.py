from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recdl.data.vocabulary import Vocabulary
from recdl.errors import DataError
from recdl.evaluation.given_lists import GivenFile, given_notes, read_given_lists
from tests.evaluation.backgrounds import background

USERS, ITEMS = Vocabulary(["u0", "u1", "u2"]), Vocabulary(list("abcdef"))


def read(path: Path) -> GivenFile:
    return read_given_lists(path, users=USERS, items=ITEMS, query_set=background().query_set)


def written(folder: Path, text: str) -> Path:
    path = folder / "theirs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_lists_are_ordered_by_falling_score_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    given = read(written(tmp_path, "user_id,item_id,score\nu1,a,0.5\nu0,c,1e-3\nu1,b,0.9\nu0,a,2\nu1,c,0.7\n"))
    assert given.users.tolist() == [0, 1]
    assert given.lists.offsets.tolist() == [0, 2, 5]
    assert given.lists.items.tolist() == [0, 2, 1, 2, 0]
    assert given.lists.places.tolist() == [0, 1, 0, 1, 2]
    assert (given.counts.by, given.counts.unsorted_users, given.counts.rows) == ("score", 2, 5)


def test_lists_are_ordered_by_rank_where_there_is_one(tmp_path: Path) -> None:
    given = read(written(tmp_path, "item_id,user_id,rank,score\nb,u0,2,9\na,u0,1,1\n"))
    assert given.lists.items.tolist() == [0, 1]
    assert given.counts.by == "rank"


def test_equal_scores_share_a_place(tmp_path: Path) -> None:
    given = read(written(tmp_path, "user_id,item_id,score\nu0,a,1\nu0,b,1\nu0,c,0\n"))
    assert given.lists.places.tolist() == [0, 0, 1]
    assert given.counts.tied_rows == 2


def test_of_an_item_twice_in_a_list_the_better_place_counts(tmp_path: Path) -> None:
    given = read(written(tmp_path, "user_id,item_id,rank\nu0,a,1\nu0,b,2\nu0,a,3\nu0,zz,4\nu0,zz,5\n"))
    assert given.lists.items.tolist() == [0, 1, -1]
    assert given.counts.duplicates == 2


def test_unknown_users_are_left_out_and_unknown_items_keep_their_place(tmp_path: Path) -> None:
    given = read(written(tmp_path, "user_id,item_id,rank\nstranger,a,1\nu0,x,1\nu0,y,2\nu0,b,3\n"))
    assert given.users.tolist() == [0]
    assert given.lists.items.tolist() == [-1, -1, 1]
    assert (given.counts.unknown_users, given.counts.unknown_items) == (1, 2)


def test_queries_without_a_list_are_counted(tmp_path: Path) -> None:
    counts = read(written(tmp_path, "user_id,item_id,rank\nu0,a,1\nu2,a,1\nu2,b,2\n")).counts
    assert (counts.queries, counts.queries_without_list, counts.shortest, counts.longest) == (4, 2, 1, 2)


def test_parquet_holds_ids_as_text_or_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "theirs.parquet"
    pd.DataFrame({"user_id": [7, 7], "item_id": ["a", "b"], "score": np.array([1, 2], np.float32)}).to_parquet(
        path
    )
    given = read_given_lists(
        path, users=Vocabulary(["7", "8", "9"]), items=ITEMS, query_set=background().query_set
    )
    assert given.lists.items.tolist() == [1, 0]


def test_ids_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = written(tmp_path, "user_id,item_id,rank\n007,1.0,1\n007,NA,2\n")
    given = read_given_lists(
        path,
        users=Vocabulary(["007", "7", "x"]),
        items=Vocabulary(["NA", "1.0"]),
        query_set=background().query_set,
    )
    assert given.lists.items.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,item_id\nu0,a\n", "neither a column 'rank' .* nor 'score'"),
        ("user,item_id,rank\nu0,a,1\n", "no column 'user_id'; its columns are user, item_id, rank"),
        ("user_id,item_id,rank\n", "holds no recommendations"),
        ("user_id,item_id,rank\nu0,a,1\nu0,b,first\n", "row 2 of the data: rank is 'first', which is no finite"),
        ("user_id,item_id,score\nu0,a,nan\n", "row 1 of the data: score is 'nan', which is no finite number"),
        ("user_id,item_id,score\nu0,a,inf\n", "score is 'inf'"),
        ("user_id,item_id,score\nu0,,1\n", "row 1 of the data: there is no item_id"),
        ("user_id,item_id,rank\nU0,a,1\n", "no list for any of the 4 test queries"),
        ("user_id,item_id,rank\nu0,a,1,9\n", "cannot be read as CSV or Parquet"),
    ],
)
def test_a_file_that_cannot_be_evaluated_is_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(written(tmp_path, text))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read(tmp_path / "nowhere.csv")


def test_only_what_was_found_is_told(tmp_path: Path) -> None:
    clean = read(written(tmp_path, "user_id,item_id,rank\nu0,a,1\nu0,b,2\n")).counts.to_json()
    notes = given_notes({**clean, "queries_without_list": 0}, (1, 2))
    assert len(notes) == 1 and notes[0].startswith("Recommendations read from a file, ordered by rank")
    told = " ".join(given_notes({**clean, "duplicates": 1234, "unknown_items": 5}, (1, 10)))
    assert "3 of 4 test queries (75.0 %) have no list" in told
    assert "The shortest list has 2 items" in told
    assert "1,234 rows repeat an item" in told
    assert "5 rows name an item that is not in the log: it keeps its place and is a miss" in told
    assert "users are not in the log" not in told
