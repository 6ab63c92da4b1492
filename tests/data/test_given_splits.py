"""Splits that files give: the questions as they are in the files, and nothing of them in train."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.queries import QuerySet
from recdl.data.splits import GivenSplit, Split
from recdl.data.splits.given_files import GivenColumns
from recdl.data.splits.given_validation import cut_validation
from recdl.data.splits.parts import Vocabularies
from recdl.data.vocabulary import Vocabulary
from recdl.errors import ConfigError, DataError
from tests.logs import log_of_items

USERS, ITEMS = ["ann", "bob", "cy"], ["a", "b", "c", "d", "e", "f"]
HISTORIES = [[0, 1, 2], [1, 3], [4, 0, 1, 3]]
"""Of ann: a b c; of bob: b d; of cy: e a b d. Nobody has had f."""
PAIRS = "user_id\titem_id\ncy\tc\nann\td\nbob\ta\n"


def split(folder: Path, test: str | pa.Table = PAIRS, **settings: Any) -> Split:
    """Split the log by files of the given contents."""
    contents = {"test": test} | {
        name: settings.pop(name) for name in ("validation", "candidates") if name in settings
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = str(folder / (f"{name}.tsv" if isinstance(content, str) else f"{name}.parquet"))
        if isinstance(content, str):
            Path(paths[name]).write_text(content, encoding="utf-8")
        else:
            pq.write_table(content, paths[name])
    made = GivenSplit(**paths, **{"validation_fraction": 0.3} | settings)
    names = Vocabularies(Vocabulary(USERS), Vocabulary(ITEMS))
    return made.split(log_of_items(HISTORIES, n_items=6), data_fingerprint="log", vocabularies=names)


def asked(query_set: QuerySet) -> list[tuple[int, list[int], list[int]]]:
    """User, history and targets of each query."""
    queries, offsets = query_set.queries, query_set.target_offsets
    return [
        (
            int(queries.users[row]),
            queries.items[queries.starts[row] : queries.ends[row]].tolist(),
            query_set.target_items[offsets[row] : offsets[row + 1]].tolist(),
        )
        for row in range(len(query_set))
    ]


def test_pairs_ask_once_a_user_with_all_of_the_log_as_history(tmp_path: Path) -> None:
    made = split(tmp_path, PAIRS + "ann\te\nann\td\n")
    assert asked(made.test) == [(0, [0, 1, 2], [3, 4]), (1, [1, 3], [0]), (2, [4, 0, 1, 3], [2])]
    assert made.report["test"]["repeated_rows"] == 1


def test_validation_is_each_drawn_users_last_event_and_is_not_in_train(tmp_path: Path) -> None:
    made = split(tmp_path, validation_fraction=1.0)
    assert asked(made.validation) == [(0, [0, 1], [2]), (1, [1], [3]), (2, [4, 0, 1], [3])]
    assert made.train.items.tolist() == [0, 1, 1, 4, 0, 1]


def test_the_users_that_begin_last_can_be_validation_and_are_asked_before_each_event_but_the_first() -> None:
    log = log_of_items(HISTORIES, n_items=6)
    log.timestamps[:] += np.repeat([10, 30, 20], [3, 2, 4])
    train, part = cut_validation(log, "latest_users", fraction=0.6, seed=0)
    assert asked(part.query_set) == [(1, [1], [3]), (2, [4], [0]), (2, [4, 0], [1]), (2, [4, 0, 1], [3])]
    assert train.items.tolist() == [0, 1, 2]


def test_a_validation_file_leaves_the_whole_log_to_train(tmp_path: Path) -> None:
    made = split(tmp_path, validation="user_id\titem_id\nbob\tf\n")
    assert asked(made.validation) == [(1, [1, 3], [5])]
    assert made.train.n_events == 9


def test_a_session_is_asked_before_each_event_but_its_first_in_the_order_of_time(tmp_path: Path) -> None:
    rows = "sid\titem\tat\nt\tb\t3.5\nu\tc\t1\nt\ta\t2\nt\td\t3.5\nv\ta\t9\n"
    columns = GivenColumns(user="sid", item="item", timestamp="at")
    made = split(tmp_path, rows, kind="sessions", columns=columns)
    assert asked(made.test) == [(-1, [0], [1]), (-1, [0, 1], [3])]
    assert made.test.queries.timestamps.tolist() == [2_000_000, 3_500_000, 3_500_000, 1_000_000, 9_000_000]
    assert (made.test.people == made.test.people[0]).all()
    assert made.test.people[0] >= len(USERS)


def test_rows_of_sessions_without_times_are_in_order(tmp_path: Path) -> None:
    made = split(tmp_path, "user_id\titem_id\nt\tb\nu\tc\nt\ta\nu\ta\n", kind="sessions")
    assert asked(made.test) == [(-1, [1], [0]), (-1, [2], [0])]


def test_bare_queries_come_with_their_histories(tmp_path: Path) -> None:
    rows = pa.table({"history": [["a", "f"], [], ["b"]], "target": ["c", "d", "b"]})
    made = split(tmp_path, rows, kind="queries")
    assert asked(made.test) == [(-1, [0, 5], [2]), (-1, [], [3]), (-1, [1], [1])]
    assert made.report["test"]["repeat_share"] == pytest.approx(1 / 3)
    assert made.report["test"]["cold_user_share"] == 1.0
    assert made.report["test"]["users"] == 3


def test_an_item_that_the_log_lacks_is_a_miss_and_is_left_out_of_histories(tmp_path: Path) -> None:
    rows = pa.table({"history": [["a", "zz", "b"], ["zz"]], "target": ["zz", "c"]})
    made = split(tmp_path, rows, kind="queries", unknown_items="miss")
    assert asked(made.test) == [(-1, [0, 1], [-1]), (-1, [], [2])]
    report = made.report["test"]
    assert (report["unknown_targets"], report["unknown_in_history"], report["cold_target_share"]) == (1, 2, 0.5)


def test_candidates_are_the_given_items_and_the_targets_each_once(tmp_path: Path) -> None:
    lines = "(bob,a)\tc\ta\tc\nann\tf\te\n(cy,c)\te\tzz\n"
    made = split(tmp_path, candidates=lines, unknown_items="miss")
    given = made.test.candidates
    assert given is not None
    assert given.counts.tolist() == [3, 2, 2]
    assert given.items.tolist() == [3, 4, 5, 0, 2, 2, 4]
    counts = made.report["test"]["candidates"]
    assert (counts["unknown"], counts["queries_with_target_listed"]) == (1, 1)
    assert "sampled candidates: each test query ranks 2 given items (2 to 3)" in made.report["warnings"][0]
    assert "Krichene" in made.report["warnings"][0]


def test_drawn_validation_candidates_hold_the_target_and_nothing_the_user_has_had(tmp_path: Path) -> None:
    lines = "ann f\nbob f\ncy f\n"
    made = split(tmp_path, candidates=lines, validation_fraction=1.0, validation_candidates=2)
    given = made.validation.candidates
    assert given is not None
    by_user = [given.items[a:b].tolist() for a, b in zip(given.offsets[:-1], given.offsets[1:], strict=True)]
    assert [len(items) for items in by_user] == [3, 3, 3]
    for items, history, target in zip(by_user, HISTORIES, [2, 3, 3], strict=True):
        assert target in items
        assert set(items) & set(history) == {target}


def test_the_fingerprint_follows_what_the_files_hold_and_not_where_they_lie(tmp_path: Path) -> None:
    there = tmp_path / "elsewhere"
    there.mkdir()
    first, moved = split(tmp_path), split(there)
    assert first.fingerprint == moved.fingerprint
    assert split(tmp_path, PAIRS + "ann\te\n").fingerprint != first.fingerprint
    with_candidates = split(tmp_path, candidates="ann f\nbob f\ncy f\n")
    others = split(tmp_path, candidates="ann e\nbob f\ncy f\n")
    assert len({first.fingerprint, with_candidates.fingerprint, others.fingerprint}) == 3


@pytest.mark.parametrize(
    ("test", "settings", "message"),
    [
        ("user_id\titem_id\nann\td\nzoe\ta\n", {}, r"test\.tsv, row 2: user 'zoe' is no user of the log"),
        (
            "user_id\titem_id\nann\tzz\n",
            {},
            r"test\.tsv, row 1: item 'zz' is no item of the log.*unknown_items=miss",
        ),
        ("", {}, r"test\.tsv is empty \(0 bytes\)"),
        ("user_id\titem_id\n", {}, r"test\.tsv holds no rows"),
        ("user\titem\nann\td\n", {}, r"no column 'user_id'; its columns are 'user', 'item'.*split\.columns"),
        ("user_id\titem_id\nann\t\n", {}, r"test\.tsv, row 1: column 'item_id' is empty"),
        ("user_id\titem_id\nann\n", {}, r"test\.tsv cannot be read: .*Expected 2 columns, got 1"),
        (
            "user_id\titem_id\nann\td\n",
            {"kind": "sessions"},
            r"row 1: user 'ann' is a user \(or session\) of the log",
        ),
        ("user_id\titem_id\nt\td\nu\ta\n", {"kind": "sessions"}, r"no session has two events"),
        (
            "user_id\titem_id\tat\nt\td\tsoon\n",
            {"kind": "sessions", "columns": GivenColumns(timestamp="at")},
            r"row 1: at 'soon' is no number of seconds",
        ),
        (
            pa.table({"history": ["a"], "target": ["b"]}),
            {"kind": "queries"},
            r"'history' is of type string; it must",
        ),
        (pa.table({"history": [None, ["a"]], "target": ["b", "c"]}), {"kind": "queries"}, r"row 1: .* is empty"),
        (
            pa.table({"history": [["a"], ["b", None]], "target": ["b", "c"]}),
            {"kind": "queries"},
            r"row 2: .*empty it",
        ),
        (
            pa.table({"user_id": [1.5], "item_id": ["a"]}),
            {},
            r"'user_id' is of type double; ids are text or whole",
        ),
        (PAIRS, {"candidates": "ann f\nbob f\n"}, r"candidates\.tsv has no line for user 'cy'"),
        (PAIRS, {"candidates": "ann f\nann e\nbob f\ncy f\n"}, r"line 2: user 'ann' has a line already"),
        (PAIRS, {"candidates": "zoe f\n"}, r"line 1: 'zoe' is no user that the test part asks about"),
        (PAIRS, {"candidates": "(ann,b)\tf\n"}, r"line 1: 'b' is no target of user 'ann'"),
        (
            PAIRS,
            {"candidates": "ann f\n\nbob f zz\n"},
            r"line 3: 'zz' is no item of the log.*leaves such candidates",
        ),
        (PAIRS, {"candidates": "ann\n"}, r"line 1: user 'ann' has no candidates"),
        (PAIRS, {"candidates": "\n"}, r"candidates\.tsv holds no rows"),
        (PAIRS, {"validation_fraction": 0.01}, r"3 users of the log have two events or more, .* takes none"),
        (
            PAIRS,
            {"validation_rule": "latest_users", "validation_fraction": 1.0},
            r"leaves nothing to ask or nothing",
        ),
    ],
)
def test_a_bad_file_is_told_with_its_row_and_the_way_out(
    tmp_path: Path, test: str | pa.Table, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        split(tmp_path, test, **settings)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    names = Vocabularies(Vocabulary(USERS), Vocabulary(ITEMS))
    made = GivenSplit(test="gone.tsv", data_root=str(tmp_path))
    with pytest.raises(DataError, match=r"split\.test: there is no file .*gone\.tsv"):
        made.split(log_of_items(HISTORIES, n_items=6), data_fingerprint="log", vocabularies=names)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "triples"}, r"split\.kind: 'triples' is none of pairs, sessions, queries"),
        ({"unknown_items": "drop"}, r"split\.unknown_items: 'drop' is none of error, miss"),
        ({"validation_rule": "first"}, r"split\.validation_rule: 'first' is none of"),
        ({"validation_fraction": 0.0}, r"split\.validation_fraction must lie between 0 and 1"),
        ({"kind": "sessions", "candidates": "c"}, r"split\.candidates: are given by user"),
        ({"validation_candidates": 9}, r"split\.validation_candidates: goes with split\.candidates"),
        ({"candidates": "c", "validation_candidates": 0}, r"split\.validation_candidates: must be at least 1"),
        ({"separator": "ab"}, r"split\.separator: 'ab' is not a single character"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GivenSplit(**{"test": "t"} | settings)


@given(
    histories=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=2, max_size=6),
    rule=st.sampled_from(["last", "random", "latest_users"]),
    fraction=st.sampled_from([0.34, 0.5, 1.0]),
    seed=st.integers(0, 3),
)
def test_every_event_is_learned_from_or_asked_about_and_no_query_knows_its_answer(
    histories: list[list[int]], rule: Any, fraction: float, seed: int
) -> None:
    log = log_of_items(histories, n_items=6)
    try:
        train, part = cut_validation(log, rule, fraction=fraction, seed=seed)
    except DataError:
        return
    assert train.n_events + part.events == log.n_events
    query_set = part.query_set
    if rule == "latest_users":
        held = np.unique(query_set.queries.users)
        assert not np.isin(train.users, held).any()
        ends = query_set.queries.ends
        assert (query_set.target_items == log.items[ends]).all()
    else:
        assert len(np.unique(query_set.queries.users)) == len(query_set) == part.events
        for user, history, (target,) in asked(query_set):
            assert sorted([*history, target]) == sorted(histories[user])
            assert history == train.items[train.offsets[user] : train.offsets[user + 1]].tolist()
