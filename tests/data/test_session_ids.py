"""Sessions by id, from the log's column to the sequences that are cut and asked about."""

from collections import defaultdict
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.forgetting import forget_users
from recdl.data.interactions import Interactions
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sessions import latest_sessions, sequences
from recdl.data.sources import Columns, Filters, IbisLog, ParquetLog, Time
from recdl.data.splits import LeaveLastOut, NewUsersSplit, TemporalSplit, split_log
from recdl.errors import ConfigError, DataError, RecordError
from tests.data.files import csv_log, dropped, events, prepared
from tests.logs import log_of_events

VISITS = Columns(session="visit")
HEADER = "user_id,item_id,timestamp,visit\n"


def numbers(log: PreparedLog) -> list[int]:
    assert log.interactions.sessions is not None
    assert log.interactions.sessions.dtype == np.int32
    return log.interactions.sessions.tolist()


def by_session(log: Interactions, rule: str = "column") -> list[list[int]]:
    """The items of each session."""
    found = sequences(log, rule).log
    return [part.tolist() for part in np.split(found.items, found.offsets[1:-1])]


def named(sessions: list[int], users: list[int] | None = None) -> Interactions:
    """Event n is at n, of item n, and of a session."""
    owners = users or [0] * len(sessions)
    plain = [(user, time, 0, time) for time, user in enumerate(owners)]
    return log_of_events(plain, n_users=max(owners) + 1, n_items=len(plain), sessions=sessions)


def test_sessions_are_numbered_within_their_user_by_their_ids(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,s9\na,y,2,s10\na,z,3,s9\nb,x,1,s9\n", columns=VISITS)
    assert [event[:2] for event in events(log)] == [("a", "x"), ("a", "y"), ("a", "z"), ("b", "x")]
    assert numbers(log) == [1, 0, 1, 0]


def test_an_event_without_a_session_id_has_none_and_is_counted(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,\na,y,2,s\na,z,3,  \n", columns=VISITS)
    assert numbers(log) == [-1, 0, -1]
    assert log.manifest["counts"]["without_session"] == 2


def test_session_ids_are_exact_text(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,007\na,y,2,7\na,z,3,NA\n", columns=VISITS)
    assert sorted(numbers(log)) == [0, 1, 2]
    pq.write_table(
        pa.table(
            {
                "user_id": ["a"] * 3,
                "item_id": ["x"] * 3,
                "timestamp": [1, 2, 3],
                "visit": [2**53, 2**53 + 1, 2**53 + 1],
            }
        ),
        tmp_path / "log.parquet",
    )
    whole = ParquetLog(name="log", path=str(tmp_path / "log.parquet"), columns=VISITS)
    assert numbers(prepare(whole, tmp_path / "prepared", progress=False)) == [0, 1, 1]


def test_rows_that_differ_in_their_session_alone_are_two_events(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,s\na,x,1,t\na,x,1,s\na,x,1,\na,x,1,\n", columns=VISITS)
    assert numbers(log) == [-1, 0, 1]
    assert dropped(log) == {"duplicate": 2}


def test_a_log_without_the_setting_has_no_sessions_and_no_file_of_them(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,s\n")
    assert log.interactions.sessions is None
    assert "without_session" not in log.manifest["counts"]
    assert not (log.folder / "sessions.npy").exists()
    with pytest.raises(
        DataError, match=r"split\.sessions=column: this log names no sessions; .*data\.columns\.sess"
    ):
        sequences(log.interactions, "column")


def test_a_session_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'visit'"):
        prepared(tmp_path, "user_id,item_id,timestamp\na,x,1\n", columns=VISITS)


def test_a_column_cannot_be_both_user_and_session() -> None:
    with pytest.raises(ConfigError, match=r"data\.columns names one column twice"):
        Columns(session="user_id")


def test_sessions_are_part_of_what_a_log_is_and_a_folder_without_them_is_damaged(tmp_path: Path) -> None:
    one = prepared(tmp_path, HEADER + "a,x,1,s\na,y,2,s\n", columns=VISITS)
    two = prepared(tmp_path, HEADER + "a,x,1,s\na,y,2,t\n", columns=VISITS)
    assert one.fingerprint != two.fingerprint
    (one.folder / "sessions.npy").unlink()
    with pytest.raises(RecordError, match=r"sessions\.npy is missing or damaged"):
        PreparedLog.open(one.folder)


def test_no_session_id_is_kept(tmp_path: Path) -> None:
    log = prepared(tmp_path, HEADER + "a,x,1,hush-hush\na,y,2,hush-hush\n", columns=VISITS)
    for path in log.folder.iterdir():
        assert b"hush-hush" not in path.read_bytes()


def test_sessions_follow_their_events_through_the_core_and_through_forgetting(tmp_path: Path) -> None:
    rows = "a,x,1,s2\na,rare,2,s1\na,y,3,s2\nb,x,1,s2\nb,y,2,s3\nc,x,1,s2\nc,y,5,s2\n"
    few = {"columns": VISITS, "filters": Filters(min_item_events=2)}
    log = prepared(tmp_path, HEADER + rows, **few)
    assert numbers(log) == [1, 1, 0, 1, 0, 0]  # a's s1 fell with its only event, and keeps its number
    forget_users(tmp_path / "prepared", ["c"])
    left = PreparedLog.open(log.folder)
    fresh = prepared(tmp_path / "prepared", HEADER + rows.split("c,")[0], **few)
    assert numbers(left) == numbers(fresh) == [1, 1, 0, 1]
    assert left.fingerprint == fresh.fingerprint


def test_the_order_of_rows_is_nothing(tmp_path: Path) -> None:
    rows = ["a,x,1,s", "a,x,1,t", "a,y,1,", "a,y,2,t", "b,x,1,t", "b,x,1,s"]
    one = prepared(tmp_path, HEADER + "\n".join(rows) + "\n", columns=VISITS)
    other = prepared(tmp_path, HEADER + "\n".join(reversed(rows)) + "\n", columns=VISITS)
    assert numbers(one) == [0, 1, -1, 1, 0, 1]
    assert one.folder != other.folder
    assert one.fingerprint == other.fingerprint


def test_sessions_one_after_another_are_cut_without_a_copy() -> None:
    log = named([5, 5, 2, -1, -1, 2, 2], users=[0, 0, 0, 0, 1, 1, 1])
    found = sequences(log, "column")
    assert by_session(log) == [[0, 1], [2], [3], [4], [5, 6]]
    assert found.owners is not None and found.owners.tolist() == [0, 0, 0, 1, 1]
    assert found.log.items is log.items
    assert found.log.sessions is None


def test_sessions_that_interleave_are_put_together_in_the_order_of_their_beginnings() -> None:
    log = named([7, 3, 7, -1, 3, 7, -1])
    assert by_session(log) == [[0, 2, 5], [1, 4], [3], [6]]
    assert sequences(log, "column").log.timestamps.tolist() == [0, 2, 5, 1, 4, 3, 6]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3)), min_size=1, max_size=30),
    st.lists(st.integers(0, 4), min_size=30, max_size=30),
)
def test_every_event_is_in_one_session_of_its_user_in_the_order_of_time(
    drawn: list[tuple[int, int]], times: list[int]
) -> None:
    drawn.sort(key=lambda one: one[0])
    moments = [time for user in range(3) for time in sorted(times[: sum(one == user for one, _ in drawn)])]
    plain = [(user, time, 0, item) for item, ((user, _), time) in enumerate(zip(drawn, moments, strict=True))]
    log = log_of_events(plain, n_users=3, n_items=30, sessions=[session for _, session in drawn])
    expected = defaultdict[tuple[int, int, int], list[int]](list)
    for item, (user, session) in enumerate(drawn):
        expected[user, session, item if session == -1 else -1].append(item)
    found = sequences(log, "column")
    assert found.owners is not None
    assert by_session(log) == sorted(expected.values())  # items rise as events do, so this is by beginning
    assert [drawn[items[0]][0] for items in by_session(log)] == found.owners.tolist()


def test_a_split_of_sessions_by_id_clusters_by_user_and_says_so(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 2},i{step},{100 * n + step},s{n // 2}\n" for n in range(6) for step in range(3))
    log = prepared(tmp_path, HEADER + rows, columns=VISITS)
    split = split_log(LeaveLastOut(sessions="column"), log)
    assert len(split.test) == 6
    assert split.test.people.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.report["sequences"] == {"unit": "session", "sequences": 6, "users": 2}
    assert {
        split_log(one, log).report["sequences"]["unit"]
        for one in (TemporalSplit(sessions="column"), NewUsersSplit(sessions="column"))
    } == {"session"}


def test_known_users_ask_with_the_session_that_began_last() -> None:
    log = named([0, 1, 0, 1, 0])
    queries = latest_sessions(log, np.array([0], np.int32), "column")
    assert queries.items[queries.starts[0] : queries.ends[0]].tolist() == [1, 3]


def test_a_rule_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"split\.sessions: 'columns' is no duration; .*or column: the sessions"):
        TemporalSplit(sessions="columns")


def test_a_session_below_minus_one_is_no_session() -> None:
    with pytest.raises(AssertionError, match="a session is below -1"):
        named([-2])


def test_the_setting_reads_from_a_file_of_any_dialect(tmp_path: Path) -> None:
    log = csv_log(
        tmp_path / "log.csv", 'user_id|item_id|timestamp|visit\na|x|1|"s|1"\n', columns=VISITS, separator="|"
    )
    assert numbers(prepare(log, tmp_path / "prepared", progress=False)) == [0]


def test_session_ids_of_a_database_may_be_whole_numbers_or_uuids(tmp_path: Path) -> None:
    connection = ibis.duckdb.connect(tmp_path / "shop.duckdb")
    connection.con.execute(
        "create table events as select 'a' user_id, 'x' || i item_id, i as \"timestamp\", "
        "md5('' || i // 2)::uuid visit, 9007199254740992 + i // 2 as number from range(4) t(i)"
    )
    connection.disconnect()
    for column in ("visit", "number"):
        url = f"duckdb://{tmp_path / 'shop.duckdb'}"
        log = IbisLog(name="log", url=url, table="events", time=Time("s"), columns=Columns(session=column))
        found = numbers(prepare(log, tmp_path / "prepared", progress=False))
        assert found[0] == found[1] != found[2] == found[3]
