"""What preparation says about files that are not as they should be, and what it leaves behind."""

import errno
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recdl.data import preparation
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sources import CsvLog, Filters, JsonLog, ParquetLog, Time
from recdl.errors import DataError
from tests.data.files import HEADER, dropped, events, left_behind, prepared, prepared_parquet


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"log\.csv is empty \(0 bytes\)"),
        (HEADER, r"log\.csv holds no rows"),
        ("uid,item_id,timestamp\na,x,1\n", r"no column 'user_id'; its columns are 'uid', .*data\.columns\.user="),
        ("user_id;item_id;timestamp\na;x;1\n", "no column 'user_id'.*; or is ',' not the separator"),
        ("user_id,user_id,item_id,timestamp\na,b,x,1\n", "two columns called 'user_id'"),
        (
            HEADER + "a,x,1\na,x\na,x,2\n",
            r"line 3 has 2 fields, not 3: a,x; mend the line \(.*data\.bad_timestamps=drop",
        ),
        (HEADER + "a,x,1\na,x,1,1\n", "line 3 has 4 fields, not 3: a,x,1,1; mend the line, or quote the field"),
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


@pytest.mark.parametrize(
    ("row", "message"), [("a,x,1,1", "line 3 has 4 fields, not 3"), ('a,"x,1', "Line: 3 .*unterminated quote")]
)
def test_dropping_bad_times_drops_no_other_damage(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
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


def jsonl(tmp_path: Path, text: str | bytes, **settings: Any) -> PreparedLog:
    path = tmp_path / "log.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    log = JsonLog(**({"name": "log", "path": str(path), "time": Time("s")} | settings))
    return prepare(log, tmp_path / "prepared", progress=False)


ROW = '{"user_id":"a","item_id":"x","timestamp":1}\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"log\.jsonl is empty \(0 bytes\)"),
        (ROW.replace("user_id", "uid"), r"no column 'user_id'; its columns are 'item_id', 'timestamp', 'uid'"),
        (f"[{ROW.strip()},\n {ROW.strip()}]\n", r"none of the first 1,000 lines is a JSON object"),
        (ROW + '{"user_id":"b","item_id"\n', "Malformed JSON in file .*log\\.jsonl"),
        (ROW + '{"user_id":"b","ite', "Malformed JSON in file .*log\\.jsonl"),
        (ROW + '["a","x",1]\n', "in line 2: Expected OBJECT"),
        (ROW.encode() + b'{"user_id":"\xff","item_id":"x","timestamp":1}\n', "invalid UTF-8"),
        (ROW + '{"user_id":"a","user_id":"b","item_id":"x","timestamp":1}\n', "duplicate key"),
        (ROW + "\n" + ROW.replace("1", '"noon"'), r"log\.jsonl, line 3: column 'timestamp' holds 'noon'"),
        (ROW.replace("1", "null"), r"log\.jsonl, line 1: column 'timestamp' is empty"),
        (ROW.replace("1", "NaN"), r"line 1: column 'timestamp' holds 'NaN'"),
    ],
)  # fmt: skip
def test_a_json_file_that_is_not_as_it_should_be(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        jsonl(tmp_path, text)
    assert left_behind(tmp_path / "prepared") == []


def test_json_may_start_with_a_byte_order_mark_and_lack_keys_in_some_rows(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + ROW.encode() + b'{"item_id":"y","timestamp":2}\n'
    log = jsonl(tmp_path, text)
    assert events(log) == [("a", "x", "interaction", 1_000_000)]
    assert dropped(log) == {"missing_user": 1}


def test_a_csv_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert len(events(prepared(tmp_path, b"\xef\xbb\xbf" + HEADER.encode() + b"a,x,1\n"))) == 1


@pytest.mark.parametrize("encoding", ["ascii", "utf-16", "shift-jis"])
def test_bytes_that_are_not_of_the_stated_encoding_have_their_line(tmp_path: Path, encoding: str) -> None:
    text = (HEADER + "a,x,1\n").encode(encoding) + (
        "b,ü,1\n".encode("latin-1") if encoding != "utf-16" else b"\x00\xd8\n\x00"
    )
    with pytest.raises(
        DataError, match=r"log\.csv, line 3: holds bytes that are no .*data\.encoding states another"
    ):
        prepared(tmp_path, text, encoding=encoding)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
@pytest.mark.parametrize("bad_timestamps", ["error", "drop"])
def test_a_packed_file_that_is_cut_off_is_an_error(
    tmp_path: Path, name: str, suffix: str, bad_timestamps: Any
) -> None:
    rows = "".join(f"u{n},i{n % 97},{n}\n" for n in range(20_000))
    text = HEADER + rows if name == "log.csv" else ROW * 20_000
    path = tmp_path / f"{name}{suffix}"
    with pa.output_stream(str(path), compression="gzip" if suffix == ".gz" else "zstd") as opened:
        opened.write(text.encode())
    path.write_bytes(path.read_bytes()[:-20])
    kind = CsvLog if name == "log.csv" else JsonLog
    log = kind(name="log", path=str(path), time=Time("s"), bad_timestamps=bad_timestamps)
    with pytest.raises(DataError, match=rf"{name}{suffix} cannot be read"):
        prepare(log, tmp_path / "prepared", progress=False)
    assert left_behind(tmp_path / "prepared") == []


def test_a_member_that_an_archive_lacks_or_has_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("log.csv", HEADER + "a,x,1\n")
    with pytest.raises(DataError, match=r"log\.zip holds no 'other\.csv', which data\.path names"):
        prepare(CsvLog(name="log", path=f"{path}/other.csv"), tmp_path / "prepared", progress=False)
    path.write_bytes(path.read_bytes().replace(b"a,x,1", b"a,y,1"))
    with pytest.raises(DataError, match=r"log\.zip/log\.csv cannot be read: Bad CRC-32"):
        prepare(CsvLog(name="log", path=f"{path}/log.csv"), tmp_path / "prepared", progress=False)


def test_a_parquet_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    ids = [f"user {n}" for n in range(50_000)]
    pq.write_table(pa.table({"user_id": ids, "item_id": ids, "timestamp": range(len(ids))}), path)
    path.write_bytes(path.read_bytes()[:-1_000])
    with pytest.raises(DataError, match=r"log\.parquet cannot be read"):
        prepare(ParquetLog(name="log", path=str(path), time=Time("s")), tmp_path / "prepared", progress=False)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("b,y\n", r"b\.csv cannot be read: line 2 has 2 fields, not 3"),
        ("b,y,noon\n", r"b\.csv, line 2: column 'timestamp' holds 'noon'"),
    ],
)
def test_of_several_files_the_bad_one_is_named(tmp_path: Path, bad: str, complaint: str) -> None:
    for name, row in {"a": "a,x,1\n", "b": bad, "c": "c,x,1\n"}.items():
        (tmp_path / f"{name}.csv").write_text(HEADER + row)
    with pytest.raises(DataError, match=complaint):
        prepare(CsvLog(name="log", path=str(tmp_path / "*.csv"), time=Time("s")), tmp_path / "p", progress=False)


def test_in_an_archive_the_bad_line_is_named_by_the_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("in/log.csv", HEADER + "a,x,1\na,x\n")
    with pytest.raises(DataError, match=r"log\.zip/in/log\.csv cannot be read: line 3 has 2 fields"):
        prepare(CsvLog(name="log", path=str(tmp_path / "log.zip/in/log.csv")), tmp_path / "p", progress=False)


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize(
    ("values", "kind", "complaint"),
    [
        (
            [2.0**53, 1.0],
            pa.float64(),
            "holds 9007199254740992 as a floating-point number, which is not exact from",
        ),
        ([float("inf"), 1.0], pa.float64(), "holds inf as a floating-point number"),
        ([float(2**24), 1.0], pa.float32(), "holds 16777216 as a floating-point number.*16,777,216 on"),
        ([True, False], pa.bool_(), "is of type boolean; ids and behaviours are text or numbers"),
        ([b"a", b"b"], pa.binary(), "is of type binary; ids"),
    ],
)
def test_ids_that_lost_digits_or_are_none_are_an_error(
    tmp_path: Path, column: str, values: list[Any], kind: Any, complaint: str
) -> None:
    columns = {"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]} | {
        column: pa.array(values, kind)
    }
    with pytest.raises(DataError, match=rf"log\.parquet: column '{column}' {complaint}"):
        prepared_parquet(tmp_path, columns, time=Time("s"))


def test_not_a_number_is_a_missing_id_and_no_time(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    columns = {
        "user_id": [nan, 1.0, 2.0, 3.0, 4.5],
        "item_id": ["x", "x", "x", "x", "x"],
        "timestamp": [1.0, nan, inf, -inf, 5.0],
    }
    log = prepared_parquet(tmp_path, columns, time=Time("s"), bad_timestamps="drop")
    assert events(log) == [("4.5", "x", "interaction", 5_000_000)]
    assert dropped(log) == {"missing_user": 1, "bad_timestamp": 3}


def test_times_before_1970_and_in_the_future_are_what_they_say(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,-5\na,y,32503680000\n")
    assert [time for *_, time in events(log)] == [-5_000_000, 32_503_680_000_000_000]
    assert (log.manifest["counts"]["first"], log.manifest["counts"]["last"]) == (
        "1969-12-31T23:59:55Z",
        "3000-01-01T00:00:00Z",
    )


def test_two_columns_of_one_name_are_an_error_in_parquet_too(tmp_path: Path) -> None:
    table = pa.Table.from_arrays(
        [pa.array(["a"]), pa.array(["b"]), pa.array(["x"]), pa.array([1])],
        names=["user_id", "user_id", "item_id", "timestamp"],
    )
    pq.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log\.parquet has two columns called 'user_id'; rename one"):
        prepare(ParquetLog(name="log", path=str(tmp_path / "log.parquet")), tmp_path / "p", progress=False)


def test_a_parquet_file_without_rows_is_no_log(tmp_path: Path) -> None:
    empty = pa.array([], pa.string())
    with pytest.raises(DataError, match=r"log\.parquet holds no rows"):
        prepared_parquet(tmp_path, {"user_id": empty, "item_id": empty, "timestamp": empty})


def test_a_file_without_rows_beside_others_is_read_past(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER)
    (tmp_path / "b.csv").write_text(HEADER + "a,x,1\n")
    log = CsvLog(name="log", path=str(tmp_path / "*.csv"), time=Time("s"))
    assert len(events(prepare(log, tmp_path / "p", progress=False))) == 1


def test_a_header_that_separators_of_several_characters_part_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'user_id'; its columns are 'uid', 'item_id', 'timestamp'"):
        prepared(tmp_path, "uid::item_id::timestamp\na::x::1\n", separator="::")


def test_a_bad_time_behind_a_field_larger_than_pythons_csv_allows_has_its_row(tmp_path: Path) -> None:
    header = ("user_id", "item_id", "timestamp", "text")
    text = f"a,x,1,{'t' * 200_000}\na,x,noon,t\n"
    with pytest.raises(DataError, match=r"log\.csv, row 2: column 'timestamp' holds 'noon'"):
        prepared(tmp_path, text, header=header)
