"""What preparation says about files that are not as they should be, and what it leaves behind."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recdl.data import preparation
from recdl.data.preparation import prepare
from recdl.data.sources import Filters, ParquetLog, Time
from recdl.errors import DataError
from tests.data.files import HEADER, dropped, events, left_behind, prepared, prepared_parquet


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"log\.csv is empty \(0 bytes\)"),
        (HEADER, r"log\.csv holds no rows"),
        ("uid,item_id,timestamp\na,x,1\n", r"no column 'user_id'; its columns are 'uid', .*data\.columns\.user="),
        ("user_id,user_id,item_id,timestamp\na,b,x,1\n", "two columns called 'user_id'"),
        (HEADER + "a,x,1\na,x\na,x,2\n", "Line: 3 Original Line: a,x Expected Number of Columns: 3 Found: 2"),
        (HEADER + "a,x,1\na,x,1,1\n", "Line: 3 .* Expected Number of Columns: 3 Found: 4"),
        (HEADER + 'a,"x,1\na,x,2\n', "Line: 2 .* unterminated quote"),
        (HEADER + 'a,"x"y,1\na,x,2\n', "Line: 2 .* unterminated quote"),
        (HEADER.encode() + b"a,\xff,1\n", "Line: 2 .* not utf-8"),
        (b"\xff\xfe" + HEADER.encode("utf-16-le"), "header row of .* is not UTF-8; convert"),
        (
            HEADER + "a,x,1\n\nb,x,noon\n",
            r"log\.csv, line 4: column 'timestamp' holds 'noon', which is no readable",
        ),
        (
            HEADER + '"a\nb",x,1\nb,x,noon\nc,x,\n',
            r"line 4: .* 'noon'.* \(2 such rows in all\).*bad_timestamps=drop",
        ),
        (HEADER + "a,x,\n", "line 2: column 'timestamp' is empty"),
    ],
)
def test_a_csv_that_is_not_as_it_should_be(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        prepared(tmp_path, text)
    assert left_behind(tmp_path / "prepared") == []


def test_a_bad_time_in_a_file_without_header_has_its_line(tmp_path: Path) -> None:
    header = ("user_id", "item_id", "timestamp")
    with pytest.raises(DataError, match=r"line 2: .* 'x'"):
        prepared(tmp_path, "a,x,1\na,x,x\n", header=header)


@pytest.mark.parametrize(
    ("format_", "bad"), [("us", "1.2.3"), ("ms", "x"), ("iso", "x"), ("date", "x"), ("%Y", "x")]
)
def test_a_bad_time_is_reported_by_its_line_in_every_format(tmp_path: Path, format_: str, bad: str) -> None:
    good = {"us": "1", "ms": "1", "iso": "2020-01-01", "date": "2020-01-01", "%Y": "2020"}[format_]
    with pytest.raises(DataError, match=f"line 3: .*'{bad}'.*data.time.format is '{format_}'"):
        prepared(tmp_path, HEADER + f"a,x,{good}\na,x,{bad}\n", time=Time(format_))


def test_a_bad_time_in_a_parquet_file_has_its_row(tmp_path: Path) -> None:
    columns = {"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": ["2020-01-01", "tomorrow"]}
    with pytest.raises(DataError, match=r"log\.parquet, row 2: column 'timestamp' holds 'tomorrow'"):
        prepared_parquet(tmp_path, columns)


def test_the_line_of_a_bad_time_is_right_deep_in_a_large_file(tmp_path: Path) -> None:
    # Larger than the buffers that DuckDB reads in parallel.
    lines = [f"user{n},item{n % 100},{n}" for n in range(400_000)]
    lines[390_000] = "a,x,noon"
    with pytest.raises(DataError, match=r"line 390002: .*'noon'"):
        prepared(tmp_path, HEADER + "\n".join(lines) + "\n")


def test_rows_with_bad_times_and_rows_cut_short_are_dropped_and_counted_on_demand(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1\nb,x,noon\nc,x,\nd,x", bad_timestamps="drop")
    assert events(log) == [("a", "x", "interaction", 1_000_000)]
    assert dropped(log) == {"bad_timestamp": 3}


@pytest.mark.parametrize("row", ["a,x,1,1", 'a,"x,1'])
def test_dropping_bad_times_drops_no_other_damage(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match="Line: 3"):
        prepared(tmp_path, HEADER + f"a,x,1\n{row}\n", bad_timestamps="drop")


def test_when_nothing_is_left_every_filter_says_what_it_took(tmp_path: Path) -> None:
    text = HEADER + "a,x,1\na,x,1\n,x,1\nb,y,2\n"
    with pytest.raises(
        DataError, match=r"nothing is left of 4 rows; dropped: missing_user 1, duplicate 1, few_events 2\. Loosen"
    ):
        prepared(tmp_path, text, filters=Filters(min_user_events=2))
    assert left_behind(tmp_path / "prepared") == []


def test_when_no_row_is_inside_the_period_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is left of 1 rows; dropped: outside_period 1"):
        prepared(tmp_path, HEADER + "a,x,1\n", start="2020-01-01")


def test_what_is_no_parquet_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_text("no")
    with pytest.raises(DataError, match=r"log\.parquet cannot be read"):
        prepare(ParquetLog(name="log", path=str(tmp_path / "log.parquet")), tmp_path / "p", progress=False)
    assert left_behind(tmp_path / "p") == []


def test_a_single_event_is_a_log(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1\n")
    assert (log.interactions.n_users, log.interactions.n_items, log.interactions.n_events) == (1, 1, 1)


def test_a_full_disk_is_reported_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(
        DataError, match=r"cannot be written to .*No space left on device; free some space, or choose"
    ):
        prepared(tmp_path, HEADER + "a,x,1\n")
    assert left_behind(tmp_path / "prepared") == []


@pytest.mark.parametrize("step", ["_encode", "_write_arrays", "write_json"])
def test_an_interrupt_leaves_nothing_and_the_next_try_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(preparation, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path, HEADER + "a,x,1\n")
    assert left_behind(tmp_path / "prepared") == []
    assert len(events(prepared(tmp_path, HEADER + "a,x,1\n"))) == 1


def test_a_root_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "prepared").write_text("a file")
    with pytest.raises(DataError, match=r"cannot be written to .*or choose another prepared_root"):
        prepared(tmp_path, HEADER + "a,x,1\n")
