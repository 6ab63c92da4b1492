"""Files as they come: each gives the right data, or an error that names file, line and column.

What concerns one format alone is in `test_bad_logs` and `test_formats`; here all formats are asked the same.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recdl.data.preparation import prepare
from recdl.data.sources import Columns, EventLog, ParquetLog, Time
from recdl.errors import DataError
from tests.data.files import dropped, events, left_behind
from tests.data.forms import csv_text, jsonl_text, parquet_table, read

Make = Callable[[Path, Any], EventLog]
"""Write a file whose second event has this for its time (or, for ids, this for its user)."""


def csv_time(folder: Path, time: Any) -> EventLog:
    return csv_text(folder, f"user_id,item_id,timestamp\na,x,1\nb,y,{time}\nc,z,3\n", time=Time())


def json_time(folder: Path, time: Any) -> EventLog:
    rows = [("a", "x", 1), ("b", "y", time), ("c", "z", 3)]
    text = "".join(f'{{"user_id":"{user}","item_id":"{item}","timestamp":{at}}}\n' for user, item, at in rows)
    return jsonl_text(folder, text)


def parquet_time(folder: Path, time: Any) -> EventLog:
    times = pa.array([1, time, 3], pa.float64() if isinstance(time, float) else None)
    table = pa.table({"user_id": ["a", "b", "c"], "item_id": ["x", "y", "z"], "timestamp": times})
    return parquet_table(folder, table)


PLACES: dict[str, tuple[Make, str]] = {
    "csv": (csv_time, r"log\.csv, line 3"),
    "jsonl": (json_time, r"log\.jsonl, line 2"),
    "parquet": (parquet_time, r"log\.parquet, row 2"),
}


@pytest.mark.parametrize("form", PLACES)
@pytest.mark.parametrize("time", [float("nan"), float("inf"), float("-inf"), 10**19 - 1])
def test_a_time_that_is_none_is_named_with_its_place_and_column(form: str, time: Any, tmp_path: Path) -> None:
    make, place = PLACES[form]
    if form == "jsonl":
        time = str(time).replace("inf", "Infinity").replace("nan", "NaN")
    if form == "parquet" and isinstance(time, int):
        time = 2**63 - 1
    with pytest.raises(DataError, match=rf"{place}: column 'timestamp' holds '.*', which is no readable time; "):
        read(make(tmp_path, time), tmp_path)
    assert left_behind(tmp_path / "prepared") == []


@pytest.mark.parametrize("form", PLACES)
def test_a_time_before_1970_and_one_far_ahead_are_what_they_say(form: str, tmp_path: Path) -> None:
    make, _ = PLACES[form]
    for place, (time, expected) in enumerate({-5: -5_000_000, 32_503_680_000: 32_503_680_000_000_000}.items()):
        folder = tmp_path / str(place)
        folder.mkdir()
        assert events(read(make(folder, time), folder))[1] == ("b", "y", "interaction", expected)


@pytest.mark.parametrize("kind", [pa.uint64(), pa.uint32(), pa.int32()])
def test_whole_numbers_of_any_width_are_times(kind: pa.DataType, tmp_path: Path) -> None:
    table = pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": pa.array([5], kind)})
    assert events(read(parquet_table(tmp_path, table), tmp_path)) == [("a", "x", "interaction", 5_000_000)]


def test_a_number_beyond_64_bits_with_sign_is_no_time_and_named(tmp_path: Path) -> None:
    times = pa.array([1, 2**64 - 1], pa.uint64())
    table = pa.table({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": times})
    with pytest.raises(DataError, match=r"row 2: column 'timestamp' holds '18446744073709551615', which is no"):
        read(parquet_table(tmp_path, table), tmp_path)


@pytest.mark.parametrize(
    ("times", "kind"), [([True], "boolean"), ([[1]], "array<int64>"), ([{"at": 1}], "struct<at: int64>")]
)
def test_a_type_that_holds_no_times_is_named_once(times: list[Any], kind: str, tmp_path: Path) -> None:
    table = pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": times})
    with pytest.raises(DataError, match=rf"log\.parquet: column 'timestamp' is of type {kind}; times are text"):
        read(parquet_table(tmp_path, table), tmp_path)


ONE_ROW: dict[str, Callable[[Path], EventLog]] = {
    "csv": lambda folder: csv_text(folder, "user_id,item_id,timestamp\na,x,1"),
    "jsonl": lambda folder: jsonl_text(folder, '{"user_id":"a","item_id":"x","timestamp":1}'),
    "parquet": lambda folder: parquet_table(
        folder, pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": [1]})
    ),
}


@pytest.mark.parametrize("make", ONE_ROW.values(), ids=ONE_ROW)
def test_one_row_is_a_log_also_without_a_line_break_at_its_end(
    make: Callable[[Path], EventLog], tmp_path: Path
) -> None:
    assert events(read(make(tmp_path), tmp_path)) == [("a", "x", "interaction", 1_000_000)]


@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize(
    "bad", ['{"user_id":007,"item_id":"x","timestamp":1}', '{"user_id":"b","item_id"', '{"user_id":"\\ud800"}']
)
@pytest.mark.parametrize("last", [False, True])
def test_malformed_json_has_its_line(n: int, bad: str, last: bool, tmp_path: Path) -> None:
    good = '{"user_id":"a","item_id":"x","timestamp":1}\n'
    text = good * (n - 1) + bad + ("" if last else "\n" + good * 2)
    if last and n == 1:
        text = good + text
        n = 2
    with pytest.raises(DataError, match=rf'log\.jsonl", in line {n}: '):
        read(jsonl_text(tmp_path, text), tmp_path)


def test_lines_that_end_in_two_ways_are_an_error_with_the_first_of_them(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"user_id,item_id,timestamp\r\na,x,1\r\nb,y,2\nc,z,3\r\n")
    log = csv_text(tmp_path, "")
    (tmp_path / "log.csv").write_bytes(b"user_id,item_id,timestamp\r\na,x,1\r\nb,y,2\nc,z,3\r\n")
    with pytest.raises(DataError, match=r"log\.csv, line 3: ends in another way than the line before it"):
        read(log, tmp_path)


@pytest.mark.parametrize("ends", ["\r\n", "\r", "\n"])
def test_lines_may_end_in_any_one_way(ends: str, tmp_path: Path) -> None:
    log = csv_text(tmp_path, "")
    (tmp_path / "log.csv").write_bytes(f"user_id,item_id,timestamp{ends}a,x,1{ends}".encode())
    assert events(read(log, tmp_path)) == [("a", "x", "interaction", 1_000_000)]


def test_a_file_repeated_with_its_heading_is_an_error_with_the_line(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp\na,x,1\n"
    with pytest.raises(DataError, match=r"log\.csv, line 3: column 'timestamp' holds 'timestamp'"):
        read(csv_text(tmp_path, text + text), tmp_path)


def test_ids_of_several_types_in_several_files_are_the_same_text(tmp_path: Path) -> None:
    parts: list[tuple[Any, str]] = [(pa.array([7]), "x"), (pa.array(["007"]), "y"), (pa.array([7.0]), "z")]
    for place, (user, item) in enumerate(parts):
        table = pa.table({"user_id": user, "item_id": [item], "timestamp": [place]})
        parquet_table(tmp_path, table, f"{place}.parquet")
    log = ParquetLog(name="log", path=str(tmp_path / "*.parquet"), time=Time("s"))
    assert [event[:2] for event in events(read(log, tmp_path))] == [("007", "y"), ("7", "x"), ("7", "z")]


def test_a_column_in_which_a_file_holds_nothing_is_missing_there(tmp_path: Path) -> None:
    full = pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": [1], "w": [0.5], "s": ["s"]})
    empty = {name: pa.nulls(1) for name in ("user_id", "timestamp", "w", "s")}
    for key, nothing in empty.items():
        folder = tmp_path / key
        parquet_table(folder, full, "0.parquet")
        parquet_table(folder, full.set_column(full.schema.get_field_index(key), key, nothing), "1.parquet")
        log = ParquetLog(
            name="log",
            path=str(folder / "*.parquet"),
            time=Time("s"),
            columns=Columns(weight="w", session="s"),
            bad_timestamps="drop",
            bad_weights="drop",
        )
        made = prepare(log, folder / "prepared", progress=False)
        reasons = {"user_id": "missing_user", "timestamp": "bad_timestamp", "w": "bad_weight"}
        if key == "s":
            assert made.interactions.sessions is not None
            assert made.interactions.sessions.tolist() == [-1, 0]
        else:
            assert dropped(made) == {reasons[key]: 1}
