import gzip
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.queries import Queries
from recdl.data.sources import Columns, CsvLog
from recdl.data.vocabulary import UNKNOWN, Vocabulary
from recdl.errors import DataError
from recdl.models.popularity import Popularity
from recdl.models.ranking import recommend
from recdl.serving.bundle import Bundle
from recdl.serving.histories import HistoryFile, known_user_queries, read_histories
from recdl.serving.recommendations import recommendation_table

CATALOGUE = Vocabulary(["a", "b", "c", "007", "NA", "x,y", 'say "hi"', "two\nlines", "日本"])
BEHAVIORS = ("view", "purchase")
SECOND = 1_000_000


def read(path: Path, text: str | bytes, **settings: Any) -> HistoryFile:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_histories(path, **{"items": CATALOGUE, "behavior_names": BEHAVIORS} | settings)


def histories(read: HistoryFile) -> dict[str, list[str]]:
    """The raw items of each user's history, oldest first."""
    queries = read.queries
    return {
        raw: CATALOGUE.ids(queries.items[start:end]).tolist()
        for raw, start, end in zip(read.query_ids, queries.starts, queries.ends, strict=True)
    }


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "histories.csv"


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    return tmp_path / "histories.parquet"


def test_rows_without_times_keep_the_order_of_the_file(csv: Path) -> None:
    found = read(csv, "user_id,item_id\nv,b\nw,c\nv,a\nv,b\n")
    assert histories(found) == {"v": ["b", "a", "b"], "w": ["c"]}
    assert found.queries.timestamps.tolist() == [0, 0, 0, 0]
    assert found.n_duplicates == 0


def test_users_come_in_the_order_in_which_they_first_occur(csv: Path) -> None:
    found = read(csv, "user_id,item_id,timestamp\nz,b,9\na,c,1\nz,a,2\n")
    assert found.query_ids.tolist() == ["z", "a"]


def test_times_order_a_history(csv: Path) -> None:
    found = read(csv, "user_id,item_id,timestamp\nv,a,30\nw,b,5\nv,c,10\nv,b,20\n")
    assert histories(found) == {"v": ["c", "b", "a"], "w": ["b"]}
    assert found.queries.timestamps.tolist() == [10 * SECOND, 20 * SECOND, 30 * SECOND, 5 * SECOND]


def test_a_history_is_the_one_that_preparation_makes_of_the_same_rows(csv: Path, tmp_path: Path) -> None:
    rows = [
        ("v", "b", "purchase", "2024-01-01 10:00:00"),
        ("v", "c", "view", "1704103200"),
        ("v", "a", "view", "2024-01-01T10:00:00Z"),
        ("v", "b", "view", "2024-01-01T12:00:00+02:00"),
        ("v", "a", "view", "1704103200000"),
        ("w", "a", "view", "2024-01-02"),
    ]
    text = "user_id,item_id,behavior,timestamp\n" + "".join(",".join(row) + "\n" for row in rows)
    csv.write_text(text, encoding="utf-8")
    source = CsvLog(
        name="rows",
        path=str(csv),
        columns=Columns(behavior="behavior"),
        behaviors={name: [name] for name in BEHAVIORS},
    )
    log = prepare(source, tmp_path, progress=False)
    found = read(csv, text, items=log.items)
    expected = Queries.at_end(log.interactions)
    for name in ("starts", "ends", "items", "behaviors", "timestamps"):
        np.testing.assert_array_equal(getattr(found.queries, name), getattr(expected, name), name)
    assert found.n_duplicates == 1


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [
        ("0", 0),
        ("1.5", 1_500_000),
        ("1700000000", 1_700_000_000 * SECOND),
        ("1700000000123", 1_700_000_000_123_000),
        ("1970-01-02", 86_400 * SECOND),
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01 01:00:01+01:00", SECOND),
        ("1969-12-31T23:59:59", -SECOND),
    ],
)
def test_a_time_is_seconds_or_iso(written: str, microseconds: int, csv: Path) -> None:
    found = read(csv, f"user_id,item_id,timestamp\nv,a,{written}\n")
    assert found.queries.timestamps.tolist() == [microseconds]


@pytest.mark.parametrize("written", ["yesterday", "", "20240131", "2024-02-30", "1e300"])
def test_an_unreadable_time_is_named_with_its_row(written: str, csv: Path) -> None:
    text = f"user_id,item_id,timestamp\nv,a,1\nv,b,{written}\nv,c,1\n"
    with pytest.raises(DataError, match=rf"histories\.csv, row 2 .* column 'timestamp' holds '{written}'"):
        read(csv, text)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2, 1], pa.int64()),
        pa.array([2.0, 1.0], pa.float64()),
        pa.array(["2", "1"]).dictionary_encode(),
        pa.array([2000, 1000], pa.timestamp("ms")),
        pa.array([2_000_000_000, 1_000_000_000], pa.timestamp("ns")),
        pa.array([datetime(1970, 1, 1, 1, 0, n, tzinfo=timezone(timedelta(hours=1))) for n in (2, 1)]),
        pa.array([datetime(1970, 1, 1, 0, 0, n, tzinfo=UTC) for n in (2, 1)], pa.timestamp("us", "Asia/Tokyo")),
    ],
    ids=lambda column: str(column.type),
)
def test_parquet_times_of_any_type_mean_the_same(column: Any, parquet: Path) -> None:
    pq.write_table(pa.table({"user_id": ["v", "v"], "item_id": ["a", "b"], "timestamp": column}), parquet)
    found = read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)
    assert histories(found) == {"v": ["b", "a"]}
    assert found.queries.timestamps.tolist() == [SECOND, 2 * SECOND]


def test_a_parquet_date_is_its_first_moment(parquet: Path) -> None:
    table = {"user_id": ["v"], "item_id": ["a"], "timestamp": pa.array([1], pa.date32())}
    pq.write_table(pa.table(table), parquet)
    found = read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)
    assert found.queries.timestamps.tolist() == [86_400 * SECOND]


def test_a_missing_parquet_time_is_named_with_its_row(parquet: Path) -> None:
    pq.write_table(pa.table({"user_id": ["v"], "item_id": ["a"], "timestamp": pa.array([None], "int64")}), parquet)
    with pytest.raises(DataError, match=r"row 1 .* holds None, which is no readable time"):
        read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 1e300, 2**62])
def test_a_parquet_number_beyond_all_calendars_is_named_with_its_row(time: float, parquet: Path) -> None:
    pq.write_table(
        pa.table({"user_id": ["v", "v"], "item_id": ["a", "b"], "timestamp": [type(time)(1), time]}), parquet
    )
    with pytest.raises(DataError, match=r"row 2 .* which is no readable time"):
        read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)


def test_a_parquet_number_beyond_64_bits_is_named_with_its_row(parquet: Path) -> None:
    times = pa.array([2**63], pa.uint64())
    pq.write_table(pa.table({"user_id": ["v"], "item_id": ["a"], "timestamp": times}), parquet)
    with pytest.raises(
        DataError,
        match=r"histories\.parquet, row 1 .* column 'timestamp' holds 9223372036854775808, which is no readable",
    ):
        read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)


def test_a_parquet_column_that_holds_no_times_is_refused(parquet: Path) -> None:
    pq.write_table(pa.table({"user_id": ["v"], "item_id": ["a"], "timestamp": [True]}), parquet)
    with pytest.raises(DataError, match="column 'timestamp' is of type bool; store it as"):
        read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)


def test_awkward_csv_ids_are_read_exactly_as_written(csv: Path) -> None:
    text = 'user_id,item_id\n007,007\n7,NA\n" v ","x,y"\nnull,"say ""hi"""\n"a\nb","two\nlines"\nmüller,日本\n'
    assert histories(read(csv, text)) == {
        "007": ["007"],
        "7": ["NA"],
        " v ": ["x,y"],
        "null": ['say "hi"'],
        "a\nb": ["two\nlines"],
        "müller": ["日本"],
    }


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        (pa.array([7, 2**53 + 1], pa.int64()), ["7", "9007199254740993"]),
        (pa.array([7.0, -1.0], pa.float64()), ["7", "-1"]),
        (pa.array(["007", "7"]), ["007", "7"]),
        (pa.array(["007", "7"]).dictionary_encode(), ["007", "7"]),
        (pa.array(["007", "7"], pa.large_string()), ["007", "7"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_parquet_ids_become_the_text_that_a_log_would_hold(users: Any, expected: list[str], parquet: Path) -> None:
    pq.write_table(pa.table({"user_id": users, "item_id": ["a", "b"]}), parquet)
    found = read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)
    assert found.query_ids.tolist() == expected


def test_ids_with_a_fraction_are_refused(parquet: Path) -> None:
    pq.write_table(pa.table({"user_id": [7.5], "item_id": ["a"]}), parquet)
    with pytest.raises(DataError, match="column 'user_id' holds numbers with a fraction"):
        read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)


def test_ids_of_another_type_are_refused(parquet: Path) -> None:
    pq.write_table(pa.table({"user_id": ["v"], "item_id": [b"a"]}), parquet)
    with pytest.raises(DataError, match="column 'item_id' is of type binary"):
        read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)


def test_a_byte_order_mark_is_no_part_of_a_name(csv: Path) -> None:
    assert histories(read(csv, b"\xef\xbb\xbfuser_id,item_id\nv,a\n")) == {"v": ["a"]}


def test_a_gzipped_file_is_read(tmp_path: Path) -> None:
    assert histories(read(tmp_path / "h.csv.gz", gzip.compress(b"user_id,item_id\nv,a\n"))) == {"v": ["a"]}


def test_other_columns_and_their_order_do_not_matter(csv: Path) -> None:
    assert histories(read(csv, "note,item_id,user_id\nsome,a,v\n,b,v\n")) == {"v": ["a", "b"]}


def test_items_that_the_model_does_not_know_are_left_out_and_counted(csv: Path) -> None:
    found = read(csv, "user_id,item_id\nv,a\nv,gone\nv,b\nw,gone\n")
    assert histories(found) == {"v": ["a", "b"], "w": []}
    assert (found.n_events, found.n_unknown_items, found.without_history.tolist()) == (4, 2, [1])


def test_the_same_time_is_ordered_and_counted_once_as_in_the_log(csv: Path) -> None:
    found = read(csv, "user_id,item_id,timestamp\nv,b,1\nv,a,1\nv,b,1\n")
    assert histories(found) == {"v": ["a", "b"]}
    assert found.n_duplicates == 1


def test_behaviors_are_read_by_name(csv: Path) -> None:
    found = read(csv, "user_id,item_id,behavior\nv,a,purchase\nv,b,view\n")
    assert found.queries.behaviors.tolist() == [1, 0]


def test_without_behaviors_every_event_is_the_least_committed(csv: Path) -> None:
    found = read(csv, "user_id,item_id\nv,a\nv,b\n")
    assert found.queries.behaviors.tolist() == [0, 0]


def test_behaviors_that_the_model_does_not_know_are_named(csv: Path) -> None:
    with pytest.raises(DataError, match="knows no behavior 'buy', 'cart'; it knows view, purchase"):
        read(csv, "user_id,item_id,behavior\nv,a,buy\nv,b,view\nv,b,cart\n")


def test_a_behavior_that_the_model_does_not_know_is_named_with_its_row(csv: Path) -> None:
    with pytest.raises(DataError, match=r"histories\.csv, row 3 .*: column 'behavior' holds 'cart'\."):
        read(csv, "user_id,item_id,behavior\nv,a,view\nv,b,purchase\nv,b,cart\nv,a,buy\nv,a,cart\n")


def test_a_visitor_is_unknown_even_under_the_id_of_a_known_user(csv: Path) -> None:
    found = read(csv, "user_id,item_id\n007,a\nv,b\n")
    assert found.queries.users.tolist() == [UNKNOWN, UNKNOWN]


def test_users_are_known_where_the_caller_says_whose_ids_they_are(csv: Path) -> None:
    found = read(csv, "user_id,item_id\nv,b\n007,a\n", users=Vocabulary(["7", "007"]))
    assert found.queries.users.tolist() == [UNKNOWN, 1]
    assert histories(found) == {"v": ["b"], "007": ["a"]}


@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_a_missing_column_is_named_with_the_file(column: str, csv: Path) -> None:
    text = "user_id,item_id,n\nv,a,1\n".replace(column, "other")
    with pytest.raises(DataError, match=rf"histories\.csv has no column '{column}'; its columns are .*'other'"):
        read(csv, text)


def test_a_column_that_occurs_twice_is_named(csv: Path) -> None:
    with pytest.raises(DataError, match="has two columns 'item_id'; rename one"):
        read(csv, "user_id,item_id,item_id\nv,a,b\n")


@pytest.mark.parametrize(("row", "column"), [(",a", "user_id"), ("v,", "item_id"), ('v,""', "item_id")])
def test_a_missing_id_is_named_with_its_row(row: str, column: str, csv: Path) -> None:
    with pytest.raises(DataError, match=rf"histories\.csv, row 2 .*: column '{column}' is empty"):
        read(csv, f"user_id,item_id\nv,a\n{row}\n")


def test_a_null_id_of_a_parquet_file_is_missing(parquet: Path) -> None:
    pq.write_table(pa.table({"user_id": ["v", None], "item_id": ["a", "b"]}), parquet)
    with pytest.raises(DataError, match=r"row 2 .*: column 'user_id' is empty"):
        read_histories(parquet, items=CATALOGUE, behavior_names=BEHAVIORS)


def test_a_row_with_too_many_fields_is_named_without_its_content(csv: Path) -> None:
    with pytest.raises(DataError, match=r"row 2 .*: 3 fields under a header of 2; quote fields") as caught:
        read(csv, "user_id,item_id\nv,a\nsecret,x,y\n")
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(csv: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*histories\.csv$"):
        read_histories(csv, items=CATALOGUE, behavior_names=BEHAVIORS)


def test_a_folder_is_no_file(csv: Path) -> None:
    csv.mkdir()
    with pytest.raises(DataError, match="; it is a folder"):
        read_histories(csv, items=CATALOGUE, behavior_names=BEHAVIORS)


def test_an_empty_file_is_refused(csv: Path) -> None:
    with pytest.raises(DataError, match=r"histories\.csv is empty \(0 bytes\)"):
        read(csv, "")


def test_a_file_of_a_header_alone_is_refused(csv: Path) -> None:
    with pytest.raises(DataError, match="holds no events"):
        read(csv, "user_id,item_id\n")


@pytest.mark.parametrize("name", ["h.csv", "h.csv.gz", "h.parquet"])
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{name} cannot be read"):
        read(tmp_path / name, b"user_id,item_id\n\xff\xfe,a\n")


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"histories are read from .csv, .csv.gz and .parquet files, not \.json"):
        read(tmp_path / "h.json", "{}")


def test_known_users_come_with_all_that_the_log_holds_of_them(log: PreparedLog) -> None:
    queries = known_user_queries(['müller, "anna"', "007"], log.users, log.interactions)
    assert queries.users.tolist() == [2, 0]
    assert queries.history_items()[1].tolist() == [2, 1, 3, 5, 0, 1, 1]


def test_a_user_named_twice_is_asked_for_once(log: PreparedLog) -> None:
    assert known_user_queries(["7", "007", "7"], log.users, log.interactions).users.tolist() == [1, 0]


def test_unknown_users_are_counted_and_not_named(log: PreparedLog) -> None:
    with pytest.raises(DataError, match=r"2 of 3 user ids .* the log .*: number 2, number 3 of") as caught:
        known_user_queries(["7", "secret", "0007"], log.users, log.interactions)
    assert "secret" not in str(caught.value)


def test_unknown_users_are_left_out_where_that_is_asked_for(log: PreparedLog) -> None:
    queries = known_user_queries(["secret", "7"], log.users, log.interactions, unknown_users="skip")
    assert log.users.ids(queries.users).tolist() == ["7"]


@pytest.mark.parametrize("users", [[], ["secret"]])
def test_nobody_known_is_an_error_even_then(users: list[str], log: PreparedLog) -> None:
    with pytest.raises(DataError, match="there is nobody to recommend to"):
        known_user_queries(users, log.users, log.interactions, unknown_users="skip")


def test_a_bundle_recommends_to_the_visitors_of_a_file(bundle: Bundle, csv: Path) -> None:
    csv.write_text('user_id,item_id\n01,"a,b"\n1,unheard-of\n', encoding="utf-8")
    found = read_histories(csv, items=bundle.items, behavior_names=bundle.behavior_names, users=bundle.users)
    model = Popularity().set_state(bundle.state)
    lists = recommend(model, found.queries, k=2, candidates=bundle.candidates, exclude_history=True)
    table = recommendation_table(found.query_ids, *lists, bundle.items)
    expected = pd.DataFrame(
        {
            "user_id": ["01", "01", "1", "1"],
            "rank": [1, 2, 1, 2],
            "item_id": ["NA", 'say "hi"', "a,b", "NA"],
            "score": [1.0, 1.0, 3.0, 1.0],
        }
    )
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_weights_lie_beside_their_events_and_tell_them_apart(csv: Path) -> None:
    found = read(csv, "user_id,item_id,timestamp,weight\nv,a,3,5\nv,b,1,2.5\nv,a,3,4\nv,a,3,5.0\n")
    assert found.queries.weights is not None
    assert found.queries.weights.tolist() == [2.5, 4.0, 5.0]
    assert found.n_duplicates == 1


@pytest.mark.parametrize("value", ["", "nan", "inf", "4e38"])
def test_a_weight_that_is_no_finite_number_is_named(csv: Path, value: str) -> None:
    with pytest.raises(DataError, match=r"histories\.csv, row 2 .* column 'weight' holds .* no finite number"):
        read(csv, f"user_id,item_id,weight\nv,a,1\nv,b,{value}\n")


def test_a_weight_that_is_text_is_named(csv: Path) -> None:
    with pytest.raises(DataError, match=r"column 'weight' holds what is no number: .*five"):
        read(csv, "user_id,item_id,weight\nv,a,five\n")
