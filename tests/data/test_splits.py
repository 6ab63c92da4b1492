"""Splits against cuts worked by hand, and what must hold of any log."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recdl.data.interactions import Interactions
from recdl.data.queries import QuerySet
from recdl.data.splits import (
    LeaveLastOut,
    NewUsersSplit,
    RandomSplit,
    RollingSplit,
    Split,
    Splitter,
    TemporalSplit,
    report,
)
from recdl.errors import DataError
from tests.logs import Event, log_of_events, log_of_items

N_USERS, N_ITEMS = 4, 5
VIEW, PURCHASE = 0, 1
DAY = 86_400_000_000

EVENTS = st.lists(
    st.tuples(st.integers(0, N_USERS - 1), st.integers(0, 12), st.integers(0, 1), st.integers(0, N_ITEMS - 1)),
    min_size=1,
    max_size=40,
    unique=True,
)
TARGETS = st.sampled_from([None, ("purchase",)])
TEMPORAL = st.builds(
    TemporalSplit,
    test_fraction=st.floats(0.05, 0.6),
    validation_fraction=st.floats(0.05, 0.6),
    target_behaviors=TARGETS,
    queries=st.sampled_from(["per_user", "per_event"]),
)

ROLLING = st.builds(
    RollingSplit,
    fold=st.integers(0, 1),
    n_folds=st.just(2),
    window=st.floats(0.05, 0.3),
    target_behaviors=TARGETS,
    queries=st.sampled_from(["per_user", "per_event"]),
)
NEW_USERS = st.builds(NewUsersSplit, st.floats(0.1, 0.5), st.floats(0.1, 0.5), target_behaviors=TARGETS)
SESSIONS = st.builds(TemporalSplit, st.floats(0.1, 0.5), st.floats(0.1, 0.5), sessions=st.just("0.000001s"))
AT_RANDOM = st.builds(RandomSplit, st.floats(0.1, 0.5), st.floats(0.1, 0.5), target_behaviors=TARGETS)
ANY = TEMPORAL | ROLLING | NEW_USERS | SESSIONS | AT_RANDOM | st.builds(LeaveLastOut, TARGETS, st.integers(1, 2))


def log_of(events: list[Event]) -> Interactions:
    return log_of_events(events, n_users=N_USERS, n_items=N_ITEMS)


def cut(splitter: Splitter, log: Interactions) -> Split:
    return splitter.split(log, data_fingerprint="data")


def cut_or_discard(splitter: Splitter, log: Interactions) -> Split:
    try:
        return cut(splitter, log)
    except DataError:
        assume(False)
        raise


def histories(query_set: QuerySet) -> list[list[int]]:
    queries = query_set.queries
    return [queries.items[start:end].tolist() for start, end in zip(queries.starts, queries.ends, strict=True)]


def targets(query_set: QuerySet) -> list[list[int]]:
    return [part.tolist() for part in np.split(query_set.target_items, query_set.target_offsets[1:-1])]


def moments(report: dict[str, Any]) -> tuple[int, int]:
    """The cuts of a log whose times are a few microseconds."""
    return tuple(  # type: ignore[return-value]
        int(np.datetime64(report["cuts"][name].rstrip("Z"), "us").astype(np.int64))
        for name in ("validation", "test")
    )


@pytest.fixture
def ten_days() -> Interactions:
    """User 0 touches item 0 to 4 on the even days, user 1 item 4 to 0 on the odd ones."""
    events = [(day % 2, day * DAY, VIEW, day // 2 if day % 2 == 0 else 4 - day // 2) for day in range(10)]
    return log_of_events(events, n_users=3, n_items=5)


def test_a_temporal_cut_leaves_the_asked_share_at_or_after_it(ten_days: Interactions) -> None:
    split = cut(TemporalSplit(test_fraction=0.2, validation_fraction=0.25), ten_days)
    assert split.report["cuts"] == {"validation": "1970-01-07T00:00:00Z", "test": "1970-01-09T00:00:00Z"}
    assert [split.report[part]["events"] for part in ("train", "validation", "test")] == [6, 2, 2]


def test_one_query_a_user_has_all_before_the_cut_as_history_and_all_after_it_as_targets(
    ten_days: Interactions,
) -> None:
    split = cut(TemporalSplit(test_fraction=0.4, validation_fraction=0.3), ten_days)
    assert split.test.queries.users.tolist() == [0, 1]
    assert histories(split.test) == [[0, 1, 2], [4, 3, 2]]
    assert targets(split.test) == [[3, 4], [0, 1]]
    assert histories(split.validation) == [[0, 1], [4, 3]]
    assert targets(split.validation) == [[2], [2]]
    assert split.train.items.tolist() == [0, 1, 4, 3]


def test_one_query_an_event_has_all_strictly_earlier_as_history() -> None:
    log = log_of([(0, 0, VIEW, 0), (0, 1, VIEW, 1), (0, 2, VIEW, 2), (0, 2, VIEW, 3), (0, 3, VIEW, 4)])
    split = cut(TemporalSplit(test_fraction=0.6, validation_fraction=0.5, queries="per_event"), log)
    assert histories(split.test) == [[0, 1], [0, 1], [0, 1, 2, 3]]
    assert targets(split.test) == [[2], [3], [4]]


def test_a_target_touched_twice_after_the_cut_is_one_target() -> None:
    log = log_of([(0, 0, VIEW, 0), (0, 1, VIEW, 1), (0, 2, VIEW, 3), (0, 3, VIEW, 2), (0, 4, VIEW, 3)])
    split = cut(TemporalSplit(test_fraction=0.6, validation_fraction=0.5), log)
    assert targets(split.test) == [[2, 3]]


@pytest.mark.parametrize(
    ("splitter", "expected"),
    [
        (TemporalSplit(test_fraction=0.6, validation_fraction=0.5), [VIEW, PURCHASE]),
        (TemporalSplit(test_fraction=0.6, validation_fraction=0.5, queries="per_event"), [PURCHASE, VIEW, VIEW]),
    ],
)
def test_a_target_has_the_behavior_of_its_event_of_several_the_furthest_along_the_funnel(
    splitter: TemporalSplit, expected: list[int]
) -> None:
    log = log_of([(0, 0, VIEW, 0), (0, 1, VIEW, 1), (0, 2, PURCHASE, 3), (0, 3, VIEW, 2), (0, 4, VIEW, 3)])
    codes = cut(splitter, log).test.target_behaviors
    assert codes is not None and codes.tolist() == expected


def test_purchases_are_predicted_from_everything_that_came_before() -> None:
    log = log_of(
        [
            (0, 0, VIEW, 0),
            (0, 1, PURCHASE, 1),
            (0, 2, VIEW, 2),
            (0, 3, PURCHASE, 2),
            (1, 0, VIEW, 4),
            (1, 2, VIEW, 3),
        ]
    )
    split = cut(TemporalSplit(0.2, 0.6, target_behaviors=("purchase",)), log)
    assert split.test.queries.users.tolist() == [0]
    assert histories(split.test) == [[0, 1, 2]]
    assert targets(split.test) == [[2]]


@pytest.mark.parametrize(("fraction", "n_test"), [(0.2, 1), (0.4, 1), (0.45, 4), (0.7, 4)])
def test_events_of_one_moment_are_never_parted_and_the_closer_moment_is_taken(
    fraction: float, n_test: int
) -> None:
    times = [0, 1, 2, 2, 2, 3]  # either the last event or the last four are in test
    log = log_of([(0, time, VIEW, item % N_ITEMS) for item, time in enumerate(times)])
    split = cut(TemporalSplit(test_fraction=fraction, validation_fraction=0.5), log)
    assert split.report["test"]["events"] == n_test
    assert split.report["test"]["ties_at_cut"] == (1 if n_test == 1 else 3)


@given(EVENTS, TEMPORAL)
def test_no_target_precedes_anything_in_train(events: list[Event], splitter: TemporalSplit) -> None:
    log = log_of(events)
    split = cut_or_discard(splitter, log)
    validation_cut, test_cut = moments(split.report)
    assert split.train.timestamps.max() < validation_cut < test_cut
    names = splitter.target_behaviors or log.behavior_names
    wanted = log.behavior_codes(names)
    for query_set, first, last in ((split.validation, validation_cut, test_cut), (split.test, test_cut, 13)):
        window = (log.timestamps >= first) & (log.timestamps < last) & np.isin(log.behaviors, wanted)
        asked = {
            (int(user), item)
            for user, items in zip(query_set.queries.users, targets(query_set), strict=True)
            for item in items
        }
        assert asked == set(zip(log.users[window].tolist(), log.items[window].tolist(), strict=True))


@given(EVENTS, TEMPORAL)
def test_no_history_holds_anything_at_its_moment_or_later(events: list[Event], splitter: TemporalSplit) -> None:
    log = log_of(events)
    split = cut_or_discard(splitter, log)
    for query_set, moment in zip((split.validation, split.test), moments(split.report), strict=True):
        queries = query_set.queries
        for row, (user, start, end) in enumerate(zip(queries.users, queries.starts, queries.ends, strict=True)):
            assert start == log.offsets[user]
            own = log.timestamps[start : log.offsets[user + 1]]
            if splitter.queries == "per_user":
                assert end - start == (own < moment).sum()
            else:
                item = query_set.target_items[row]
                asked_at = {time for time in own if time >= moment and end - start == (own < time).sum()}
                touched = own[log.items[start : log.offsets[user + 1]] == item]
                assert asked_at & set(touched)


@given(EVENTS, TEMPORAL | st.builds(LeaveLastOut, TARGETS))
def test_every_event_is_in_exactly_one_part(events: list[Event], splitter: Splitter) -> None:
    log = log_of(events)
    split = cut_or_discard(splitter, log)
    assert sum(split.report[part]["events"] for part in ("train", "validation", "test")) == log.n_events
    assert split.train.n_events == split.report["train"]["events"]
    for user in range(N_USERS):  # train is the beginning of what each user did
        kept = slice(*split.train.offsets[user : user + 2])
        start = log.offsets[user]
        end = start + kept.stop - kept.start
        assert (split.train.items[kept] == log.items[start:end]).all()
        assert (split.train.timestamps[kept] == log.timestamps[start:end]).all()


@given(EVENTS, ANY, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(events: list[Event], splitter: Splitter, random: Any) -> None:
    split = cut_or_discard(splitter, log_of(events))
    random.shuffle(events)
    again = cut(splitter, log_of(events))
    assert again.report == split.report
    for one, other in ((split.validation, again.validation), (split.test, again.test)):
        assert (histories(one), targets(one)) == (histories(other), targets(other))


@given(EVENTS, TARGETS)
def test_leave_last_out_equals_a_brute_force_twin(
    events: list[Event], target_behaviors: tuple[str, ...] | None
) -> None:
    log = log_of(events)
    split = cut_or_discard(LeaveLastOut(target_behaviors), log)
    train, validation, test = [], [], []
    for user in range(N_USERS):
        own = sorted(event for event in events if event[0] == user)
        items = [event[3] for event in own]
        wanted = [row for row, event in enumerate(own) if target_behaviors is None or event[2] == PURCHASE]
        if len(wanted) < 2 or wanted[-2] == 0:
            train += items
            continue
        train += items[: wanted[-2]]
        validation.append((user, items[: wanted[-2]], [items[wanted[-2]]]))
        test.append((user, items[: wanted[-1]], [items[wanted[-1]]]))
    assert split.train.items.tolist() == train
    for query_set, expected in ((split.validation, validation), (split.test, test)):
        users = query_set.queries.users.tolist()
        assert list(zip(users, histories(query_set), targets(query_set), strict=True)) == expected


@given(EVENTS, ANY, st.integers(1, 5))
def test_the_report_counts_cold_targets_and_repeats_like_a_brute_force_twin(
    events: list[Event], splitter: Splitter, block: int
) -> None:
    log = log_of(events)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_BLOCK", block)
        split = cut_or_discard(splitter, log)
    known = set(split.train.items.tolist())
    for name, query_set in (("validation", split.validation), ("test", split.test)):
        pairs = [
            (item not in known, item in history)
            for history, items in zip(histories(query_set), targets(query_set), strict=True)
            for item in items
        ]
        cold, repeats = np.mean(pairs, axis=0)
        part = split.report[name]
        assert part["cold_target_share"] == pytest.approx(cold)
        assert part["repeat_share"] == pytest.approx(repeats)
        assert part["no_history_share"] == pytest.approx(np.mean([not h for h in histories(query_set)]))


def test_the_report_says_whom_a_split_leaves_cold() -> None:
    log = log_of([(0, 0, VIEW, 0), (0, 1, VIEW, 1), (1, 2, VIEW, 2), (1, 3, VIEW, 0)])
    report = cut(TemporalSplit(test_fraction=0.25, validation_fraction=0.3), log).report
    assert report["test"] == {
        "events": 1,
        "users": 1,
        "ties_at_cut": 1,
        "queries": 1,
        "targets": 1,
        "cold_target_share": 0.0,
        "cold_user_share": 1.0,
        "no_history_share": 0.0,
        "repeat_share": 0.0,
    }
    assert report["validation"]["cold_target_share"] == 1.0
    assert report["validation"]["no_history_share"] == 1.0


def test_items_that_train_never_saw_stay_targets() -> None:
    log = log_of_items([[0, 1, 2, 3]], n_items=4)
    split = cut(LeaveLastOut(), log)
    assert targets(split.test) == [[3]]
    assert split.report["test"]["cold_target_share"] == 1.0


def test_leave_last_out_states_what_it_leaks_through_time() -> None:
    first = [(0, time, VIEW, time) for time in range(3)]
    later = [(1, 10 + time, VIEW, time) for time in range(5)]
    report = cut(LeaveLastOut(), log_of(first + later)).report
    assert report["leak"]["train_events_after_first_test_target"] == 0.75
    assert report["leak"]["statement"].startswith("75.0% of the train events are later")


def test_a_temporal_split_leaks_nothing_and_says_so(ten_days: Interactions) -> None:
    leak = cut(TemporalSplit(), ten_days).report["leak"]
    assert leak["train_events_after_first_test_target"] == 0
    assert leak["statement"].startswith("Nothing")


def test_leave_last_out_counts_targets_that_share_their_moment_with_the_event_before() -> None:
    log = log_of(
        [(0, 0, VIEW, 0), (0, 1, VIEW, 1), (0, 1, VIEW, 2), (1, 0, VIEW, 0), (1, 1, VIEW, 1), (1, 2, VIEW, 2)]
    )
    report = cut(LeaveLastOut(), log).report
    assert (report["validation"]["ties_at_cut"], report["test"]["ties_at_cut"]) == (0, 1)


@pytest.mark.parametrize("splitter", [TemporalSplit(), LeaveLastOut(("view",))])
def test_the_report_can_be_read_back_from_json(splitter: Splitter, ten_days: Interactions) -> None:
    report = cut(splitter, ten_days).report
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_queries_share_the_arrays_of_the_log(ten_days: Interactions) -> None:
    split = cut(TemporalSplit(), ten_days)
    assert split.test.queries.items is ten_days.items


def test_the_fingerprint_changes_with_every_setting_and_with_the_data(ten_days: Interactions) -> None:
    splitters: list[Splitter] = [
        TemporalSplit(),
        TemporalSplit(test_fraction=0.2),
        TemporalSplit(validation_fraction=0.2),
        TemporalSplit(queries="per_event"),
        TemporalSplit(target_behaviors=("view",)),
        LeaveLastOut(),
        LeaveLastOut(("view",)),
    ]
    found = {cut(splitter, ten_days).fingerprint for splitter in splitters}
    found.add(TemporalSplit().split(ten_days, data_fingerprint="other data").fingerprint)
    assert len(found) == len(splitters) + 1


def test_the_fingerprint_does_not_know_where_the_log_lies(ten_days: Interactions, tmp_path: Path) -> None:
    ten_days.save(tmp_path)
    mapped = Interactions.load(tmp_path, n_items=5, behavior_names=ten_days.behavior_names)
    assert cut(TemporalSplit(), mapped).fingerprint == cut(TemporalSplit(), ten_days).fingerprint


def test_a_single_user_can_be_split_both_ways() -> None:
    log = log_of_items([[0, 1, 2, 3]], n_items=4)
    for splitter in (TemporalSplit(0.25, 0.3), LeaveLastOut()):
        split = cut(splitter, log)
        assert histories(split.test) == [[0, 1, 2]]
        assert split.train.items.tolist() == [0, 1]


def test_a_user_with_one_event_goes_wholly_to_train_when_the_last_are_left_out() -> None:
    split = cut(LeaveLastOut(), log_of_items([[0], [0, 1, 2], [1, 2]], n_items=3))
    assert split.test.queries.users.tolist() == [1]
    assert np.diff(split.train.offsets).tolist() == [1, 1, 2]
