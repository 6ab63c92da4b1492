import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.queries import Candidates, Queries, QuerySet, ragged_positions
from tests.logs import log_of_events, log_of_items

LOG = log_of_events([(0, 10, 0, 4), (0, 20, 1, 2), (2, 5, 0, 2), (2, 6, 0, 3), (2, 7, 1, 3)], n_users=3, n_items=5)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=8))
def test_ragged_positions_are_the_ranges_one_after_the_other(ranges: list[tuple[int, int]]) -> None:
    starts = np.array([start for start, _ in ranges], np.int64)
    lengths = np.array([length for _, length in ranges], np.int64)
    expected = [start + step for start, length in ranges for step in range(length)]
    positions = ragged_positions(starts, starts + lengths)
    assert positions.tolist() == expected
    assert positions.dtype == np.int64


def test_asking_at_the_end_of_a_log_takes_each_users_whole_row_as_history() -> None:
    queries = Queries.at_end(LOG)
    assert queries.users.tolist() == [0, 1, 2]
    assert queries.lengths.tolist() == [2, 0, 3]
    rows, items = queries.history_items()
    assert (rows.tolist(), items.tolist()) == ([0, 0, 2, 2, 2], [4, 2, 2, 3, 3])


def test_asking_for_chosen_users_keeps_their_order_and_allows_one_twice() -> None:
    queries = Queries.at_end(LOG, np.array([2, 0, 2], np.int32))
    assert queries.users.tolist() == [2, 0, 2]
    assert queries.history_items()[1].tolist() == [2, 3, 3, 4, 2, 2, 3, 3]


def test_queries_share_the_arrays_of_the_log() -> None:
    queries = Queries.at_end(LOG)
    assert queries.items is LOG.items and queries[1:].timestamps is LOG.timestamps


@pytest.mark.parametrize(
    "rows", [slice(1, 3), np.array([1, 2]), np.array([False, True, True])], ids=["slice", "rows", "mask"]
)
def test_chosen_rows_keep_their_users_and_histories(rows: slice | np.ndarray) -> None:
    chosen = Queries.at_end(LOG)[rows]
    assert len(chosen) == 2
    assert chosen.users.tolist() == [1, 2]
    assert [part.tolist() for part in chosen.history_items()] == [[1, 1, 1], [2, 3, 3]]


def test_anonymous_queries_are_of_unknown_users_with_the_histories_given() -> None:
    queries = Queries.anonymous([[3, 1], [], [2]], behaviors=[[0, 1], [], [1]])
    assert queries.users.tolist() == [-1, -1, -1]
    assert [part.tolist() for part in queries.history_items()] == [[0, 0, 2], [3, 1, 2]]
    assert queries.behaviors.tolist() == [0, 1, 1]


def test_anonymous_events_are_of_the_first_behavior_unless_given() -> None:
    assert Queries.anonymous([[3, 1]]).behaviors.tolist() == [0, 0]


def test_there_may_be_no_queries() -> None:
    queries = Queries.anonymous([])
    assert len(queries) == 0
    assert [part.tolist() for part in queries.history_items()] == [[], []]


def test_an_unknown_user_has_no_history_in_the_log() -> None:
    with pytest.raises(AssertionError, match="an unknown user has no history in the log"):
        Queries.at_end(LOG, np.array([-1], np.int32))


@pytest.mark.parametrize(
    ("users", "starts", "ends", "message"),
    [
        ([0, 1], [0], [1], "differ in length"),
        ([-2], [0], [1], "a user index is below -1"),
        ([0], [2], [1], "a history ends before it starts"),
        ([0], [0], [6], "a history lies outside the events"),
        ([0], [-1], [1], "a history lies outside the events"),
    ],
)
def test_queries_that_make_no_sense_are_refused(
    users: list[int], starts: list[int], ends: list[int], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        Queries(
            np.array(users, np.int32),
            np.array(starts, np.int64),
            np.array(ends, np.int64),
            LOG.items,
            LOG.behaviors,
            LOG.timestamps,
        )


def test_a_query_set_counts_the_targets_of_each_query() -> None:
    queries = Queries.at_end(log_of_items([[0], [1]], n_items=4))
    query_set = QuerySet(queries, np.array([0, 2, 3]), np.array([1, 3, 0], np.int32))
    assert len(query_set) == 2
    assert query_set.target_counts.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("offsets", "targets", "message"),
    [
        ([0, 1], [1], "one range of targets a query"),
        ([0, 0, 1], [1], "a query without target"),
        ([0, 2, 3], [3, 1, 0], "distinct and rising"),
        ([0, 2, 3], [1, 1, 0], "distinct and rising"),
    ],
)
def test_a_query_set_that_makes_no_sense_is_refused(offsets: list[int], targets: list[int], message: str) -> None:
    queries = Queries.at_end(log_of_items([[0], [1]], n_items=4))
    with pytest.raises(AssertionError, match=message):
        QuerySet(queries, np.array(offsets), np.array(targets, np.int32))


def test_targets_that_the_offsets_do_not_span_are_refused() -> None:
    queries = Queries.at_end(log_of_items([[0]], n_items=4))
    with pytest.raises(AssertionError, match="span the targets"):
        QuerySet(queries, np.array([0, 1]), np.array([1, 2], np.int32))


def test_chosen_rows_keep_their_candidates() -> None:
    candidates = Candidates(np.array([0, 2, 2, 5]), np.array([1, 4, 0, 2, 3], np.int32))
    chosen = candidates.take(np.array([2, 1, 0]))
    assert chosen.offsets.tolist() == [0, 3, 3, 5]
    assert chosen.items.tolist() == [0, 2, 3, 1, 4]


@pytest.mark.parametrize(
    ("items", "message"),
    [([4, 1], "distinct, rising and known"), ([1, 1], "distinct, rising and known"), ([-1, 1], "known")],
)
def test_candidates_are_distinct_and_known(items: list[int], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        Candidates(np.array([0, 2]), np.array(items, np.int32))


def test_only_unknown_targets_may_be_repeated() -> None:
    queries, offsets = Queries.anonymous([[0]]), np.array([0, 3])
    assert QuerySet(queries, offsets, np.array([-1, -1, 2], np.int32)).target_counts.tolist() == [3]
    for wrong in ([-1, 2, 2], [2, -1, -1], [-2, -1, 2]):
        with pytest.raises(AssertionError, match=r"distinct and rising|below -1"):
            QuerySet(queries, offsets, np.array(wrong, np.int32))


def test_anonymous_histories_may_have_behaviors_and_times() -> None:
    queries = Queries.anonymous([[3], [], [1, 2]], [[1], [], [0, 1]], [[7], [], [8, 9]])
    assert queries.behaviors.tolist() == [1, 0, 1]
    assert queries.timestamps.tolist() == [7, 8, 9]
    assert not Queries.anonymous([[3]]).timestamps.any()
