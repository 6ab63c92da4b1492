"""Folds, new users, random and session splits by hand, and what each promises of any log."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.interactions import Interactions
from recdl.data.sessions import latest_sessions, sequences
from recdl.data.splits import LeaveLastOut, NewUsersSplit, RandomSplit, RollingSplit, TemporalSplit
from recdl.errors import ConfigError, DataError
from tests.data.test_splits import (
    ANY,
    DAY,
    EVENTS,
    NEW_USERS,
    ROLLING,
    cut,
    cut_or_discard,
    histories,
    log_of,
    targets,
)
from tests.logs import Event, log_of_events

SPREAD = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=20
).map(
    lambda drawn: sorted(
        {(user, 3 * user, 0, 0) for user in range(8)}
        | {(user, 3 * user + 1, 1, 1) for user in range(8)}
        | {(2 * user, 6 * user + time, behavior, item) for user, time, behavior, item in drawn}
    )
)
"""Eight users, each of whom begins later than the one before it and has two events or more."""


def days(n: int = 10) -> Interactions:
    """One user, an item a day."""
    return log_of_events([(0, day * DAY, 0, day) for day in range(n)], n_users=1, n_items=n)


def pairs(log: Interactions) -> Counter[tuple[int, int]]:
    """User and item of each event."""
    return Counter(zip(log.users.tolist(), log.items.tolist(), strict=True))


def two_sessions() -> Interactions:
    """User 0 has two sessions, a day apart; user 1 has none; user 2 one."""
    events = [(0, 0, 0, 0), (0, 1, 0, 1), (0, DAY, 0, 2), (0, DAY + 1, 0, 3), (2, 5, 0, 4), (2, 6, 0, 0)]
    return log_of_events(events, n_users=3, n_items=5)


def test_the_test_part_may_begin_a_duration_before_the_end_or_at_a_date() -> None:
    for test_from in ("2d", "1970-01-08"):
        split = cut(TemporalSplit(test_from=test_from, validation_from="1d"), days())
        assert split.report["cuts"] == {"validation": "1970-01-06T00:00:00Z", "test": "1970-01-08T00:00:00Z"}
        assert targets(split.test) == [[7, 8, 9]]


def test_what_lies_in_the_gap_is_left_out_of_train_but_not_of_histories() -> None:
    split = cut(TemporalSplit(test_from="2d", validation_from="1d", gap="2d"), days())
    assert split.train.items.tolist() == [0, 1, 2]
    assert histories(split.validation) == [[0, 1, 2, 3, 4]]
    assert split.report["left_out"] == {"events": 2}


def test_a_gap_that_leaves_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match=r"no event to learn from.*shorten split\.gap"):
        cut(TemporalSplit(gap="30d"), days())


@pytest.mark.parametrize("test_from", ["1960-01-01", "2030-01-01", "90d"])
def test_a_cut_outside_the_log_is_refused(test_from: str) -> None:
    with pytest.raises(DataError, match=r"split\.test_from=.* runs from 1970-01-01T00:00:00Z"):
        cut(TemporalSplit(test_from=test_from), days())


def test_the_test_window_of_a_fold_is_the_validation_window_of_the_next() -> None:
    first, second = (cut(RollingSplit(fold=fold, n_folds=2, window="2d"), days()) for fold in (0, 1))
    assert targets(first.validation) == [[4, 5]]
    assert targets(first.test) == targets(second.validation) == [[6, 7]]
    assert targets(second.test) == [[8, 9]]
    assert first.train.items.tolist() == [0, 1, 2, 3]
    assert first.report["left_out"] == {"events": 2}
    assert first.fingerprint != second.fingerprint


def test_windows_that_do_not_fit_into_the_log_are_refused() -> None:
    with pytest.raises(DataError, match="something would be empty; choose other windows, or fewer folds"):
        cut(RollingSplit(n_folds=3, window="4d"), days())


def test_the_last_n_events_are_asked_for_at_once() -> None:
    split = cut(LeaveLastOut(n=2), days(6))
    assert (histories(split.test), targets(split.test)) == ([[0, 1, 2, 3]], [[4, 5]])
    assert (histories(split.validation), targets(split.validation)) == ([[0, 1]], [[2, 3]])


def test_leaving_out_more_than_anyone_has_is_refused() -> None:
    with pytest.raises(DataError, match="no user has 12 events of any behavior"):
        cut(LeaveLastOut(n=6), days(10))


def test_new_users_are_asked_about_from_their_own_beginning() -> None:
    events = [(user, user * DAY + step, 0, step) for user in range(4) for step in range(3)]
    events.append((0, 3 * DAY, 0, 4))  # after the cuts: neither learned from nor asked for
    split = cut(NewUsersSplit(0.25, 0.3), log_of(events))
    assert split.test.queries.users.tolist() == [3, 3]
    assert (histories(split.test), targets(split.test)) == ([[0], [0, 1]], [[1], [2]])
    assert np.diff(split.train.offsets).tolist() == [3, 3, 0, 0]
    assert split.report["left_out"] == {"events": 1}
    assert split.report["leak"]["statement"].startswith("Nothing")


def test_a_random_split_warns_of_its_leak() -> None:
    split = cut(RandomSplit(0.3, 0.3), days())
    assert len(split.report["warnings"]) == 1
    assert "held out at random" in split.report["leak"]["statement"]
    assert histories(split.test) == [sorted(set(range(10)) - set(targets(split.test)[0]))]
    assert split.fingerprint != cut(RandomSplit(0.3, 0.3, seed=1), days()).fingerprint


def test_a_gap_ends_a_session_and_copies_no_event() -> None:
    log = two_sessions()
    found = sequences(log, "1h")
    assert found.log.offsets.tolist() == [0, 2, 4, 6]
    assert found.owners is not None and found.owners.tolist() == [0, 0, 2]
    assert found.log.items is log.items


def test_sessions_are_cut_like_users_and_clustered_by_user() -> None:
    split = cut(LeaveLastOut(sessions="1h"), log_of([(0, d * DAY + s, 0, s) for d in range(2) for s in range(3)]))
    assert histories(split.test) == [[0, 1], [0, 1]]
    assert split.test.queries.users.tolist() == [0, 1]
    assert split.test.people.tolist() == [0, 0]
    assert split.test.take(np.array([1])).people.tolist() == [0]


def test_known_users_ask_with_their_latest_session_as_visitors() -> None:
    queries = latest_sessions(two_sessions(), np.array([2, 0, 1], np.int32), "1h")
    assert queries.users.tolist() == [-1, -1, -1]
    assert [queries.items[a:b].tolist() for a, b in zip(queries.starts, queries.ends, strict=True)] == [
        [4, 0],
        [2, 3],
        [],
    ]


@given(EVENTS, ANY)
def test_every_event_is_in_one_part_or_counted_as_left_out(events: list[Event], splitter: TemporalSplit) -> None:
    report = cut_or_discard(splitter, log_of(events)).report
    parts = ("train", "validation", "test", "left_out")
    assert sum(report[part]["events"] for part in parts) == len(events)
    assert report["left_out"]["events"] >= 0


@given(EVENTS, ANY)
def test_what_is_known_before_test_is_train_with_validation_and_nothing_of_test(
    events: list[Event], splitter: TemporalSplit
) -> None:
    split = cut_or_discard(splitter, log_of(events))
    assert split.known is not None
    known = split.known()
    held = [split.report[part]["events"] for part in ("validation", "test")]
    if isinstance(
        splitter, NewUsersSplit
    ):  # what train's users do in the window of validation is left out of train
        assert known.n_events >= split.train.n_events + held[0]
    else:
        assert known.n_events == split.train.n_events + held[0]
    assert known.n_events + held[1] <= len(events)
    assert not pairs(split.train) - pairs(known)


def test_a_gap_is_kept_before_test_too_when_validation_is_learned_from() -> None:
    split = cut(TemporalSplit(test_from="2d", validation_from="3d", gap="1d"), days())
    assert split.train.items.tolist() == [0, 1]
    assert split.known is not None
    assert split.known().items.tolist() == [0, 1, 2, 3, 4, 5]


@given(SPREAD, ROLLING | NEW_USERS)
def test_nothing_in_train_is_later_than_a_test_target(
    events: list[Event], splitter: RollingSplit | NewUsersSplit
) -> None:
    split = cut_or_discard(splitter, log_of_events(events, n_users=8, n_items=4))
    assert split.report["leak"]["train_events_after_first_test_target"] == 0


@given(SPREAD, NEW_USERS)
def test_new_users_have_no_event_in_train_and_a_history(events: list[Event], splitter: NewUsersSplit) -> None:
    split = cut_or_discard(splitter, log_of_events(events, n_users=8, n_items=4))
    for query_set in (split.validation, split.test):
        assert (np.diff(split.train.offsets)[query_set.queries.users] == 0).all()
        assert (query_set.queries.lengths > 0).all()


@pytest.mark.parametrize(
    ("splitter", "settings", "message"),
    [
        (TemporalSplit, {"test_from": "soon"}, r"split\.test_from: 'soon' is neither an ISO date"),
        (TemporalSplit, {"gap": "7"}, r"split\.gap: '7' is no duration"),
        (TemporalSplit, {"sessions": "0m"}, r"split\.sessions: '0m' is no duration"),
        (RollingSplit, {"fold": 3}, r"split\.fold must lie in 0 \.\.\. 2"),
        (RollingSplit, {"n_folds": 0}, r"split\.n_folds must be at least 1"),
        (RollingSplit, {"window": 0.3}, r"must lie between 0 and 1"),
        (LeaveLastOut, {"n": 0}, r"split\.n must be at least 1"),
        (RandomSplit, {"seed": -1}, r"split\.seed must be 0 or more"),
        (NewUsersSplit, {"test_fraction": 1.0}, r"split\.test_fraction must lie between 0 and 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(
    splitter: type, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        splitter(**settings)
