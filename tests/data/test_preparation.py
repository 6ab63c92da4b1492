"""Preparation against a brute-force twin and logs worked by hand."""

import csv
import gzip
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from recdl.data import preparation
from recdl.data.preparation import prepare
from recdl.data.sources import Columns, CsvLog, Filters, ParquetLog, Time
from recdl.errors import DataError, RecordError
from tests.data.files import (
    FUNNEL,
    HEADER,
    Event,
    csv_log,
    dropped,
    events,
    prepared,
    prepared_parquet,
)

AWKWARD = [
    "007",
    "7",
    "7.0",
    "NA",
    "NaN",
    "null",
    "NULL",
    "None",
    " 7",
    "a,b",
    'say "x"',
    "ü",
    "名",
    "9007199254740993",
]

BEHAVIORS = "user_id,item_id,timestamp,b\na,x,1,pv\na,x,2,buy\na,x,3,fav\na,x,4,fav\n"


def test_events_lie_by_user_then_time_then_behavior_then_item(tmp_path: Path) -> None:
    text = "u,i,t,b\nbob,x,9,buy\nbob,y,9,pv\nbob,x,9,pv\nann,y,7,click\nbob,z,3,pv\nZoe,y,1,buy\nann,x,2,pv\n"
    log = prepared(tmp_path, text, columns=Columns("u", "i", "t", "b"), behaviors=FUNNEL)
    second = 1_000_000
    assert events(log) == [
        ("Zoe", "y", "purchase", 1 * second),  # byte by byte, capitals come first
        ("ann", "x", "view", 2 * second),
        ("ann", "y", "view", 7 * second),
        ("bob", "z", "view", 3 * second),
        ("bob", "x", "view", 9 * second),
        ("bob", "y", "view", 9 * second),
        ("bob", "x", "purchase", 9 * second),
    ]
    assert log.interactions.offsets.tolist() == [0, 1, 3, 7]
    assert log.users.to_arrow().to_pylist() == ["Zoe", "ann", "bob"]
    assert log.items.to_arrow().to_pylist() == ["x", "y", "z"]
    assert log.interactions.behavior_names == ("view", "purchase")


def test_the_manifest_counts_everything(tmp_path: Path) -> None:
    rows = ["a,x,10,pv", "a,x,10,pv", "a,x,11,buy", ",x,10,pv", "a,,10,pv", "b,x,,pv", "b,y,5,buy", "b,y,99,buy"]
    log = prepared(
        tmp_path,
        "user_id,item_id,timestamp,b\n" + "\n".join(rows) + "\n",
        columns=Columns(behavior="b"),
        behaviors=FUNNEL,
        start="1970-01-01T00:00:06",
        end="1970-01-01T00:01:39",
        bad_timestamps="drop",
    )
    assert log.manifest["counts"] == {
        "rows_read": 8,
        "dropped": {
            "missing_user": 1,
            "missing_item": 1,
            "excluded": 0,
            "bad_timestamp": 1,
            "bad_weight": 0,
            "outside_period": 2,
            "behavior_not_kept": 0,
            "forgotten": 0,
            "duplicate": 1,
            "few_events": 0,
            "few_users": 0,
        },
        "events": 2,
        "events_by_behavior": {"view": 1, "purchase": 1},
        "users": 1,
        "items": 1,
        "first": "1970-01-01T00:00:10Z",
        "last": "1970-01-01T00:00:11Z",
    }


def random_rows(seed: int) -> list[list[str]]:
    rng = random.Random(seed)
    users = ["", "007", "7", "NA", "u,1", 'u"2', "ü", "Z", "z"]
    items = ["", *(f"i{rng.randrange(40)}" for _ in range(12))]
    return [
        [
            rng.choice(users),
            rng.choice(items),
            rng.choice(["", "x", *map(str, range(12))]),
            rng.choice(["pv", "click", "buy"]),
        ]
        for _ in range(160)
    ]


def twin(rows: Sequence[Sequence[str]], *, start: int, min_user: int, min_item: int) -> set[Event]:
    """Prepare in plain Python, the slow and obvious way."""
    kept = set()
    for user, item, time, raw in rows:
        if user and item and time.isdigit() and int(time) >= start:
            name = next(name for name, values in FUNNEL.items() if raw in values)
            kept.add((user, item, name, int(time) * 1_000_000))
    while True:
        users, items = Counter(event[0] for event in kept), Counter(event[1] for event in kept)
        core = {event for event in kept if users[event[0]] >= min_user and items[event[1]] >= min_item}
        if core == kept:
            return kept
        kept = core


def write_rows(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["user_id", "item_id", "timestamp", "b"])
        writer.writerows(rows)


@pytest.mark.parametrize(("seed", "min_user", "min_item"), [(2, 1, 1), (1, 8, 6), (0, 1, 6), (4, 9, 1), (5, 8, 6)])
def test_preparation_equals_its_twin_whatever_the_order_of_the_rows(
    tmp_path: Path, seed: int, min_user: int, min_item: int
) -> None:
    rows = random_rows(seed)
    settings = {
        "name": "log",
        "path": str(tmp_path / "log.csv"),
        "columns": Columns(behavior="b"),
        "behaviors": FUNNEL,
        "time": Time("s"),
        "start": "1970-01-01T00:00:02",
        "bad_timestamps": "drop",
        "filters": Filters(min_user_events=min_user, min_item_events=min_item),
    }
    write_rows(tmp_path / "log.csv", rows)
    log = prepare(CsvLog(**settings), tmp_path / "one", progress=False)
    expected = twin(rows, start=2, min_user=min_user, min_item=min_item)
    assert len(events(log)) == len(expected)
    assert set(events(log)) == expected
    assert log.users.to_arrow().to_pylist() == sorted({event[0] for event in expected}, key=str.encode)
    assert log.items.to_arrow().to_pylist() == sorted({event[1] for event in expected}, key=str.encode)
    counts = log.manifest["counts"]
    assert counts["rows_read"] == len(rows)
    assert counts["rows_read"] - sum(counts["dropped"].values()) == counts["events"] == len(expected)

    random.Random(seed).shuffle(rows)
    write_rows(tmp_path / "log.csv", rows)
    shuffled = prepare(CsvLog(**settings), tmp_path / "two", progress=False)
    assert shuffled.fingerprint == log.fingerprint
    assert shuffled.manifest["counts"] == counts


def test_the_core_is_found_again_and_again(tmp_path: Path) -> None:
    # Without item z, user c has one event; without c, item y has one; without y, so has b. Only the square stays.
    pairs = ["a,w", "a,x", "d,w", "d,x", "b,w", "b,y", "c,y", "c,z"]
    text = HEADER + "".join(f"{pair},{second}\n" for second, pair in enumerate(pairs))
    log = prepared(tmp_path, text, filters=Filters(min_user_events=2, min_item_events=2))
    assert {event[:2] for event in events(log)} == {("a", "w"), ("a", "x"), ("d", "w"), ("d", "x")}
    assert dropped(log) == {"few_events": 4}


def test_two_preparations_are_equal_byte_for_byte(tmp_path: Path) -> None:
    log = csv_log(tmp_path / "log.csv", HEADER + "b,x,2\na,y,1\na,x,3\n")
    one, two = (prepare(log, tmp_path / root, progress=False).folder for root in ("one", "two"))
    names = sorted(path.name for path in one.iterdir())
    assert names == [
        "behaviors.npy",
        "items.npy",
        "items.parquet",
        "manifest.json",
        "offsets.npy",
        "timestamps.npy",
        "users.parquet",
    ]
    assert [(one / name).read_bytes() for name in names] == [(two / name).read_bytes() for name in names]


def test_the_same_log_is_not_prepared_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(tmp_path, HEADER + "a,x,1\n")
    monkeypatch.setattr(preparation, "_write", None)
    assert prepared(tmp_path, HEADER + "a,x,1\n").fingerprint == first.fingerprint
    with pytest.raises(TypeError):
        prepared(tmp_path, HEADER + "a,x,2\n")


def test_a_damaged_folder_is_reported_and_not_replaced(tmp_path: Path) -> None:
    folder = prepared(tmp_path, HEADER + "a,x,1\n").folder
    (folder / "items.npy").unlink()
    with pytest.raises(RecordError, match=r"items\.npy is missing or damaged"):
        prepared(tmp_path, HEADER + "a,x,1\n")


def test_several_batches_make_one_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEADER + "".join(f"u{n % 7},i{n % 11},{n}\n" for n in range(5_000))
    whole = prepared(tmp_path, text)
    monkeypatch.setattr(preparation, "_BATCH", 100)
    parts = prepare(csv_log(tmp_path / "log.csv", text), tmp_path / "again", progress=False)
    assert parts.fingerprint == whole.fingerprint
    assert parts.manifest == whole.manifest


def test_ids_of_a_csv_are_kept_as_they_are_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "log.csv", [[one, one, "1", "pv"] for one in AWKWARD])
    text = (tmp_path / "log.csv").read_bytes()
    log = prepared(tmp_path, text)
    assert log.users.to_arrow().to_pylist() == sorted(AWKWARD, key=str.encode)
    assert {event[:2] for event in events(log)} == {(one, one) for one in AWKWARD}


def test_a_quoted_nothing_is_a_missing_id_and_a_quoted_line_break_is_part_of_one(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + '"",x,1\n"a\nb",x,2\n')
    assert events(log) == [("a\nb", "x", "interaction", 2_000_000)]
    assert dropped(log) == {"missing_user": 1}


def test_integers_of_a_parquet_file_are_exact(tmp_path: Path) -> None:
    users = pa.array([2**53 + 1, 2**53, -5], pa.int64())
    items = pa.array([2**64 - 1, 7, None], pa.uint64())
    log = prepared_parquet(tmp_path, {"user_id": users, "item_id": items, "timestamp": [1, 2, 3]})
    assert [event[:2] for event in events(log)] == [
        ("9007199254740992", "7"),
        ("9007199254740993", "18446744073709551615"),
    ]
    assert dropped(log) == {"missing_item": 1}


def test_integers_that_pandas_made_floats_are_read_as_integers(tmp_path: Path) -> None:
    log = prepared_parquet(
        tmp_path,
        {"user_id": [17850.0, float("nan"), None, 0.5], "item_id": ["x", "x", "x", ""], "timestamp": [1] * 4},
    )
    assert [event[:2] for event in events(log)] == [("17850", "x")]
    assert dropped(log) == {"missing_user": 2, "missing_item": 1}


def test_categories_and_large_strings_are_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": pd.Categorical(["a", "b"]), "item_id": ["x", "y"], "timestamp": [1, 2]})
    frame.to_parquet(tmp_path / "frame.parquet")
    log = ParquetLog(name="log", path=str(tmp_path / "frame.parquet"))
    assert [event[:2] for event in events(prepare(log, tmp_path / "p", progress=False))] == [
        ("a", "x"),
        ("b", "y"),
    ]


def test_a_column_that_cannot_be_an_id_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'item_id' is of type array<string>"):
        prepared_parquet(tmp_path, {"user_id": ["a"], "item_id": [["x"]], "timestamp": [1]})


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("\ufeff" + HEADER + "a,x,1\n", {}),
        (HEADER.replace("\n", "\r\n") + "a,x,1\r\n", {}),
        (HEADER + "a,x,1", {}),
        (HEADER + "\na,x,1\n\n", {}),
        (HEADER.replace(",", "\t") + "a\tx\t1\n", {"separator": r"\t"}),
        (HEADER.replace(",", ";") + "a;x;1\n", {"separator": ";"}),
        ("a,x,1\n", {"header": ("user_id", "item_id", "timestamp")}),
        ("\ufeffa,x,1\n", {"header": ("user_id", "item_id", "timestamp")}),
        ('"user_id","extra, one","item_id","timestamp"\n"a","?","x","1"\n', {}),
    ],
)
def test_forms_of_csv_say_the_same(tmp_path: Path, text: str, settings: dict[str, Any]) -> None:
    assert events(prepared(tmp_path, text, **settings)) == [("a", "x", "interaction", 1_000_000)]


def test_a_gzipped_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "a,x,1\n").encode()))
    log = prepare(CsvLog(name="log", path=str(path)), tmp_path / "p", progress=False)
    assert events(log) == [("a", "x", "interaction", 1_000_000)]


def test_without_a_mapping_raw_behaviors_are_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    log = prepared(tmp_path, BEHAVIORS, columns=Columns(behavior="b"))
    assert log.manifest["counts"]["events_by_behavior"] == {"buy": 1, "fav": 2, "pv": 1}


def test_behaviors_that_nobody_named_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"'b' holds behaviours .* not name: 'fav' \(2 rows\)\. Add .*'data\.exclude=\{b: \"\^fav\$\"\}'",
    ):
        prepared(tmp_path, BEHAVIORS, columns=Columns(behavior="b"), behaviors=FUNNEL)


def test_behaviors_that_nobody_named_may_be_left_out_as_the_error_says(tmp_path: Path) -> None:
    exclude = {"b": "^fav$"}
    log = prepared(tmp_path, BEHAVIORS, columns=Columns(behavior="b"), behaviors=FUNNEL, exclude=exclude)
    assert log.interactions.behavior_names == tuple(FUNNEL)
    assert dropped(log) == {"excluded": 2}


def test_events_without_a_behaviour_may_be_left_out_as_the_error_says(tmp_path: Path) -> None:
    text = BEHAVIORS + "a,x,9,\n"
    settings = {"columns": Columns(behavior="b"), "behaviors": {**FUNNEL, "favorite": ("fav",)}}
    with pytest.raises(DataError, match=r"not name: '' \(1 rows\)\. Add .*'data\.exclude=\{b: \"\^\$\"\}'"):
        prepared(tmp_path, text, **settings)
    assert dropped(prepared(tmp_path, text, **settings, exclude={"b": "^$"})) == {"excluded": 1}


def test_where_no_time_can_be_read_the_error_asks_for_their_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dropped: bad_timestamp 2\. State .*data\.time\.format"):
        prepared(tmp_path, "user_id,item_id,timestamp\na,x,1.2.3\nb,x,k\n", bad_timestamps="drop")


def test_an_empty_behavior_is_one_that_nobody_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not name: '' \(1 rows\)"):
        prepared(tmp_path, BEHAVIORS + "a,x,5,\n", columns=Columns(behavior="b"))


def test_behaviors_that_are_left_out_are_counted(tmp_path: Path) -> None:
    mapping = FUNNEL | {"favorite": ("fav",)}
    keep = Filters(behaviors=("purchase", "view"))
    log = prepared(tmp_path, BEHAVIORS, columns=Columns(behavior="b"), behaviors=mapping, filters=keep)
    assert log.interactions.behavior_names == ("view", "purchase")  # the order of the funnel, not of the filter
    assert dropped(log) == {"behavior_not_kept": 2}


def test_a_behavior_to_keep_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no behaviour 'view' to keep .*; it has buy, fav, pv"):
        prepared(tmp_path, BEHAVIORS, columns=Columns(behavior="b"), filters=Filters(behaviors=("view",)))


def test_a_behavior_column_full_of_different_values_is_the_wrong_column(tmp_path: Path) -> None:
    text = "user_id,item_id,timestamp,b\n" + "".join(f"a,x,1,{n}\n" for n in range(300))
    with pytest.raises(
        DataError, match=r"'b' holds more than 100 different values, such as '0': is data\.columns"
    ):
        prepared(tmp_path, text, columns=Columns(behavior="b"))


def test_a_mapped_behavior_that_does_not_occur_keeps_its_code(tmp_path: Path) -> None:
    log = prepared(
        tmp_path, "user_id,item_id,timestamp,b\na,x,1,buy\n", columns=Columns(behavior="b"), behaviors=FUNNEL
    )
    assert log.manifest["counts"]["events_by_behavior"] == {"view": 0, "purchase": 1}
    assert log.interactions.behaviors.tolist() == [1]


def test_what_was_dropped_is_shown_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = csv_log(tmp_path / "log.csv", HEADER + "a,x,1\na,x,1\n,x,1\n")
    prepare(log, tmp_path / "p")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "rows read" in shown.err
    assert "without a user id" in shown.err
    assert "exact duplicates" in shown.err
    assert "without an item id" not in shown.err


def test_without_progress_nothing_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared(tmp_path, HEADER + "a,x,1\n")
    assert capsys.readouterr() == ("", "")
