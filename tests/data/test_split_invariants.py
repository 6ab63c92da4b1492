"""What every way to cut a log promises, told by logs in which each event has an item of its own."""

import random as randomness
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recdl.data.interactions import Interactions
from recdl.data.queries import QuerySet
from recdl.data.sessions import sequences
from recdl.data.splits import (
    GivenSplit,
    LeaveLastOut,
    NewUsersSplit,
    RandomSplit,
    RollingSplit,
    Split,
    Splitter,
    TemporalSplit,
    Vocabularies,
)
from recdl.data.vocabulary import Vocabulary
from recdl.errors import DataError
from tests.logs import log_of_events

N_USERS = 4
Row = tuple[int, int, int]
"""User, time (microseconds), behaviour."""

ROWS = st.lists(
    st.tuples(st.integers(0, N_USERS - 1), st.integers(0, 20), st.integers(0, 1)),
    min_size=6,
    max_size=40,
    unique=True,
).map(sorted)
FRACTION = st.floats(0.05, 0.5)
SHARED: dict[str, Any] = {
    "target_behaviors": st.sampled_from([None, ("purchase",)]),
    "sessions": st.sampled_from([None, "column", "0.000002s"]),
}
ASKED: dict[str, Any] = SHARED | {"queries": st.sampled_from(["per_user", "per_event"])}
CUTS: dict[str, Any] = {
    "test_from": st.sampled_from([None, "0.000004s"]),
    "validation_from": st.sampled_from([None, "0.000003s"]),
}
IN_TIME = (
    st.builds(TemporalSplit, FRACTION, FRACTION, gap=st.sampled_from([None, "0.000002s"]), **CUTS, **ASKED)
    | st.builds(
        RollingSplit,
        fold=st.integers(0, 1),
        n_folds=st.just(2),
        window=st.floats(0.05, 0.3) | st.just("0.000004s"),
        **ASKED,
    )
    | st.builds(NewUsersSplit, FRACTION, FRACTION, **CUTS, **SHARED)
)
LAST = st.builds(LeaveLastOut, n=st.integers(1, 2), **SHARED)
AT_RANDOM = st.builds(RandomSplit, FRACTION, FRACTION, seed=st.integers(0, 9), **SHARED)
ANY = IN_TIME | LAST | AT_RANDOM


def log_of(rows: list[Row], order: list[int] | None = None) -> Interactions:
    """Event n of the sorted rows is of item n; sessions interleave; `order` is that of the input."""
    events = [(*row, item) for item, row in enumerate(rows)]
    sessions = [time // 2 % 3 - 1 for _, time, _ in rows]
    given = events if order is None else [events[place] for place in order]
    return log_of_events(given, n_users=N_USERS, n_items=len(rows), sessions=sessions)


def cut(splitter: Splitter, log: Interactions) -> Split:
    try:
        return splitter.split(log, data_fingerprint="data")
    except DataError:
        assume(False)
        raise


def asked(query_set: QuerySet) -> Iterator[tuple[int, list[int], list[int]]]:
    """Give the user, the history and the targets of each query: items, which are rows of the log."""
    queries, bounds = query_set.queries, query_set.target_offsets
    for place, (user, start, end) in enumerate(zip(queries.users, queries.starts, queries.ends, strict=True)):
        targets = query_set.target_items[bounds[place] : bounds[place + 1]]
        yield int(user), queries.items[start:end].tolist(), targets.tolist()


def all_targets(query_set: QuerySet) -> list[int]:
    return query_set.target_items.tolist()


@given(ROWS, ANY)
@settings(max_examples=50)
def test_an_event_is_learned_from_or_a_target_of_one_part_and_all_are_counted(
    rows: list[Row], splitter: Splitter
) -> None:
    split = cut(splitter, log_of(rows))
    train = split.train.items.tolist()
    validation, test = all_targets(split.validation), all_targets(split.test)
    assert len({*train, *validation, *test}) == len(train) + len(validation) + len(test)
    parts = ("train", "validation", "test", "left_out")
    assert sum(split.report[part]["events"] for part in parts) == len(rows)
    assert split.report["validation"]["events"] >= len(validation)
    assert split.report["test"]["events"] >= len(test)


@given(ROWS, ANY)
@settings(max_examples=50)
def test_a_history_is_of_the_targets_own_user_and_never_holds_a_target(rows: list[Row], splitter: Any) -> None:
    log = log_of(rows)
    split = cut(splitter, log)
    grouped = sequences(log, splitter.sessions).log
    unit = dict(zip(grouped.items.tolist(), grouped.users.tolist(), strict=True))
    for query_set in (split.validation, split.test):
        for user, history, targets in asked(query_set):
            assert {unit[item] for item in (*history, *targets)} == {user}
            assert not {*history} & {*targets}
            assert history == [item for item in grouped.items.tolist() if item in history]  # in the log's order


@given(ROWS, IN_TIME | LAST)
@settings(max_examples=50)
def test_a_history_holds_nothing_later_than_a_target(rows: list[Row], splitter: Any) -> None:
    split = cut(splitter, log_of(rows))
    together = isinstance(splitter, LeaveLastOut)  # which parts events of one moment, and counts them
    for query_set in (split.validation, split.test):
        for _, history, targets in asked(query_set):
            latest = max((rows[item][1] for item in history), default=-1)
            assert all(latest < rows[item][1] or (together and latest == rows[item][1]) for item in targets)


@given(ROWS, IN_TIME)
@settings(max_examples=50)
def test_nothing_in_train_is_as_late_as_a_target_where_the_cut_is_a_moment(
    rows: list[Row], splitter: Splitter
) -> None:
    split = cut(splitter, log_of(rows))
    latest = int(split.train.timestamps.max())
    assert latest < min(rows[item][1] for item in all_targets(split.validation))
    assert latest < min(rows[item][1] for item in all_targets(split.test))
    assert split.report["leak"]["train_events_after_first_test_target"] == 0


@given(ROWS, ANY)
@settings(max_examples=50)
def test_what_is_known_before_test_holds_train_and_no_test_target(rows: list[Row], splitter: Splitter) -> None:
    split = cut(splitter, log_of(rows))
    assert split.known is not None
    known = set(split.known().items.tolist())
    assert known >= set(split.train.items.tolist())
    assert not known & set(all_targets(split.test))


@given(ROWS, ANY)
@settings(max_examples=50)
def test_every_split_says_what_it_leaks_and_whom_it_leaves_cold(rows: list[Row], splitter: Splitter) -> None:
    split = cut(splitter, log_of(rows))
    first = min(rows[item][1] for item in all_targets(split.test))
    leaked = np.mean([time > first for time in split.train.timestamps.tolist()])
    assert np.isclose(split.report["leak"]["train_events_after_first_test_target"], leaked)
    assert split.report["leak"]["statement"].startswith("Nothing") == (leaked == 0)
    has_events = np.diff(split.train.offsets) > 0
    for name, query_set in (("validation", split.validation), ("test", split.test)):
        queries = list(asked(query_set))
        assert np.isclose(
            split.report[name]["cold_user_share"], np.mean([not has_events[user] for user, *_ in queries])
        )
        assert np.isclose(
            split.report[name]["no_history_share"], np.mean([not history for _, history, _ in queries])
        )
        assert split.report[name]["cold_target_share"] == 1  # nobody else's event has a target's item
        assert split.report[name]["repeat_share"] == 0


@given(ROWS, ANY, st.integers(0, 99))
@settings(max_examples=50)
def test_the_order_of_the_rows_is_nothing(rows: list[Row], splitter: Splitter, seed: int) -> None:
    split = cut(splitter, log_of(rows))
    again = cut(splitter, log_of(rows, randomness.Random(seed).sample(range(len(rows)), len(rows))))
    assert again.report == split.report
    assert again.train.items.tolist() == split.train.items.tolist()
    for one, other in ((split.validation, again.validation), (split.test, again.test)):
        assert list(asked(one)) == list(asked(other))


@given(ROWS, st.sampled_from(["last", "latest_users"]))
@settings(max_examples=25)
def test_a_given_part_is_asked_as_it_is_and_the_log_is_learned_from_or_validation(
    rows: list[Row], rule: Any
) -> None:
    log = log_of(rows)
    names = [f"i{item}" for item in range(len(rows))]
    vocabularies = Vocabularies(
        Vocabulary(pa.array([f"u{user}" for user in range(N_USERS)])), Vocabulary(pa.array(sorted(names)))
    )
    with TemporaryDirectory() as folder:
        path = Path(folder, "test.tsv")
        path.write_text(
            "user_id\titem_id\n" + "".join(f"u{user}\ti-new{user}\n" for user in {user for user, *_ in rows})
        )
        splitter = GivenSplit(test=str(path), validation_rule=rule, unknown_items="miss", validation_fraction=0.5)
        try:
            split = splitter.split(log, data_fingerprint="data", vocabularies=vocabularies)
        except DataError:
            assume(False)
            raise
    train, validation = split.train.items.tolist(), all_targets(split.validation)
    assert not {*train} & {*validation}
    assert split.known is not None
    assert sorted(split.known().items.tolist()) == list(range(len(rows)))
    for user, history, targets in asked(split.test):
        assert history == [item for item, row in enumerate(rows) if row[0] == user]
        assert targets == [-1]
    for user, history, targets in asked(split.validation):
        assert {rows[item][0] for item in (*history, *targets)} == {user}
        assert max(history) < min(targets)
    assert split.report["leak"]["statement"].startswith("It cannot be said")
