"""A number for each event, from the log's column to the queries."""

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.queries import Queries
from recdl.data.sources import Columns, Filters, ParquetLog
from recdl.data.splits.temporal import TemporalSplit
from recdl.errors import ConfigError, DataError, RecordError
from tests.data.files import csv_log, dropped, events, prepared
from tests.logs import log_of_events

WEIGHED = Columns(weight="stars")
HEADER = "user_id,item_id,timestamp,stars\n"


def weights(log: PreparedLog) -> list[float]:
    assert log.interactions.weights is not None
    assert log.interactions.weights.dtype == np.float32
    return log.interactions.weights.tolist()


def in_parquet(tmp_path: Path, table: dict[str, Any]) -> PreparedLog:
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    log = ParquetLog(name="log", path=str(tmp_path / "log.parquet"), columns=WEIGHED)
    return prepare(log, tmp_path / "prepared", progress=False)


def test_numbers_of_either_sign_lie_beside_their_events(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "b,x,2,-1.5\na,y,3,1e2\na,x,1,+.25\n", columns=WEIGHED)
    assert [event[:2] for event in events(log)] == [("a", "x"), ("a", "y"), ("b", "x")]
    assert weights(log) == [0.25, 100.0, -1.5]


def test_a_log_without_the_setting_has_no_weights_and_no_file_of_them(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,junk\n")
    assert log.interactions.weights is None
    assert not (log.folder / "weights.npy").exists()


def test_rows_that_differ_in_weight_alone_are_two_events_and_minus_zero_is_zero(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,2\na,x,1,1\na,x,1,2.0\na,x,2,0\na,x,2,-0.0\n", columns=WEIGHED)
    assert weights(log) == [1.0, 2.0, 0.0]
    assert dropped(log) == {"duplicate": 2}


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "4e38", "1_000", "five", "0x1"])
def test_what_is_no_finite_number_is_an_error_that_names_its_line(tmp_path: Path, value: str) -> None:
    text = HEADER + f"a,x,1,1\na,y,2,{value}\na,z,3,{value}\n"
    message = (
        rf"log\.csv, line 3: column 'stars' holds '{value}', which is no finite number \(2 such rows in all\)"
    )
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, text, columns=WEIGHED)


def test_a_missing_weight_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3: column 'stars' is empty|line 3: .*data\.bad_weights=drop"):
        prepared(tmp_path, HEADER + "a,x,1,1\na,y,2,\n", columns=WEIGHED)


def test_rows_without_a_number_are_dropped_and_counted_where_that_is_asked_for(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,1\na,y,2,\na,z,3,nan\n", columns=WEIGHED, bad_weights="drop")
    assert weights(log) == [1.0]
    assert dropped(log) == {"bad_weight": 2}


def test_a_row_that_is_dropped_anyway_may_weigh_anything(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,1\n,y,2,junk\n", columns=WEIGHED)
    assert dropped(log) == {"missing_user": 1}


def test_a_decimal_comma_is_read(tmp_path: Path) -> None:
    text = HEADER.replace(",", ";") + "a;x;1;2,5\n"
    assert weights(prepared(tmp_path, text, columns=WEIGHED, separator=";", decimal=",")) == [2.5]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(38, 2)])
def test_numbers_of_any_type_are_read_from_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {"user_id": ["a"], "item_id": ["x"], "timestamp": [1], "stars": pa.array([4]).cast(kind)}
    assert weights(in_parquet(tmp_path, columns)) == [4.0]


def test_nan_in_parquet_is_no_number(tmp_path: Path) -> None:
    columns = {"user_id": ["a", "a"], "item_id": ["x", "y"], "timestamp": [1, 2], "stars": [1.0, float("nan")]}
    with pytest.raises(DataError, match=r"row 2: column 'stars' holds 'nan', which is no finite number"):
        in_parquet(tmp_path, columns)


def test_a_column_that_holds_no_numbers_is_named(tmp_path: Path) -> None:
    columns = {"user_id": ["a"], "item_id": ["x"], "timestamp": [1], "stars": [True]}
    with pytest.raises(DataError, match=r"column 'stars' is of type boolean; weights are numbers"):
        in_parquet(tmp_path, columns)


def test_a_policy_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.bad_weights: 'zero' is neither error nor drop"):
        csv_log(tmp_path / "log.csv", "", bad_weights="zero")


def test_weights_follow_their_events_through_the_core(tmp_path: Path) -> None:
    text = HEADER + "a,x,1,1\na,y,2,2\nb,x,3,3\nb,y,4,4\nc,z,5,5\n"
    log = prepared(tmp_path, text, columns=WEIGHED, filters=Filters(min_user_events=2, min_item_events=2))
    assert weights(log) == [1.0, 2.0, 3.0, 4.0]


def test_weights_are_part_of_what_a_log_is(tmp_path: Path) -> None:
    one = prepared(tmp_path, HEADER + "a,x,1,1\n", columns=WEIGHED)
    two = prepared(tmp_path, HEADER + "a,x,1,2\n", columns=WEIGHED)
    assert one.fingerprint != two.fingerprint


def test_a_folder_whose_weights_are_gone_is_damaged(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,1\n", columns=WEIGHED)
    (log.folder / "weights.npy").unlink()
    with pytest.raises(RecordError, match=r"weights\.npy is missing or damaged"):
        PreparedLog.open(log.folder)


def test_parts_of_a_split_and_their_queries_keep_the_weights_of_their_events() -> None:
    stamps = [(user, 10 * time + user, 0, time % 5) for user in range(4) for time in range(10)]
    log = log_of_events(stamps, n_users=4, n_items=5, behavior_names=("view",), weights=np.arange(40))
    split = TemporalSplit(test_fraction=0.2, validation_fraction=0.2).split(log, data_fingerprint="")
    assert split.train.weights is not None
    rows = {(user, stamp): weight for weight, (user, stamp, _, _) in enumerate(sorted(stamps))}
    kept = zip(split.train.users.tolist(), split.train.timestamps.tolist(), strict=True)
    assert split.train.weights.tolist() == [rows[event] for event in kept]
    queries = split.test.queries[1:]
    assert queries.weights is not None
    first = slice(queries.starts[0], queries.ends[0])
    found = [rows[int(queries.users[0]), stamp] for stamp in queries.timestamps[first].tolist()]
    assert queries.weights[first].tolist() == found


def test_queries_at_the_end_of_a_log_without_weights_have_none() -> None:
    log = log_of_events([(0, 0, 0, 0)], n_users=1, n_items=1)
    assert Queries.at_end(log).weights is None


@pytest.mark.parametrize("queries", ["per_user", "per_event"])
def test_targets_have_the_logs_number_of_their_last_event(queries: Literal["per_user", "per_event"]) -> None:
    events = [(0, 0, 0, 1), (0, 10, 0, 2), (0, 20, 0, 0), (0, 21, 0, 1), (0, 22, 0, 0)]
    events += [(1, 1, 0, 0), (1, 11, 0, 1), (1, 20, 0, 2)]
    log = log_of_events(events, n_users=2, n_items=3, weights=[1, 2, 3, 4, 5, 6, 7, 8])
    split = TemporalSplit(test_fraction=0.5, validation_fraction=0.3, queries=queries)
    test = split.split(log, data_fingerprint="").test
    expected = {
        "per_user": [([0, 1], [5, 4]), ([2], [8])],
        "per_event": [([0], [3]), ([1], [4]), ([0], [5]), ([2], [8])],
    }
    assert test.target_weights is not None
    bounds = test.target_offsets
    found = [
        (test.target_items[first:last].tolist(), test.target_weights[first:last].tolist())
        for first, last in pairwise(bounds)
    ]
    assert found == expected[queries]
    assert test.take(np.array([1])).target_weights.tolist() == expected[queries][1][1]
