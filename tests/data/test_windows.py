from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.sessions import sequences
from recdl.data.windows import N_GAPS, EventSpace, SequenceBatches, gap_bins
from recdl.errors import DataError
from tests.logs import log_of_events

SECOND = 10**6


def _log(rows: list[list[int]], n_items: int) -> Interactions:
    """Items a user, oldest first; the odd items were bought, the even ones viewed."""
    events = [(user, time, item % 2, item) for user, row in enumerate(rows) for time, item in enumerate(row)]
    return log_of_events(events, n_users=len(rows), n_items=n_items)


def _times(seconds: list[int]) -> Interactions:
    """Return a log of one user whose items come at the given times."""
    events = [(0, time * SECOND, 0, item) for item, time in enumerate(seconds)]
    return log_of_events(events, n_users=1, n_items=len(seconds))


def test_gaps_are_binned_by_doubling_seconds() -> None:
    seconds = np.array([0, 0.999999, 1, 2, 2.999999, 3, 6, 7, 86_400, 2.0**60])
    after = 1 + np.minimum(seconds * SECOND, 2.0**62).astype(np.int64)
    bins = gap_bins(np.ones(len(after), np.int64), after)
    assert bins.tolist() == [1, 1, 2, 2, 2, 3, 3, 4, 17, N_GAPS - 1]


def test_time_that_runs_backwards_is_no_time_passed_and_times_of_0_are_not_known() -> None:
    assert gap_bins(np.array([5 * SECOND, 0, 0]), np.array([SECOND, 0, SECOND])).tolist() == [1, 0, 2]


def test_an_event_brings_the_time_since_the_one_before_it_across_windows() -> None:
    log = _times([10, 10, 13, 20, 20])
    batches = SequenceBatches(log, batch_size=1, max_length=2, seed=0)
    found = {batch.items[0, 0].item(): batch.gaps[0].tolist() for batch in batches}
    assert found == {6: [0, 0], 1: [1, 3], 3: [4]}  # 6 is the start; a window begins with the event before it


def test_a_log_without_times_has_no_gaps() -> None:
    batches = SequenceBatches(replace(_times([1, 2, 5]), timed=False), batch_size=1, max_length=5, seed=0)
    assert not next(iter(batches)).gaps.any()


def test_the_latest_events_of_a_history_are_what_training_reads() -> None:
    log = _times([10, 10, 13, 20, 20])
    space, queries = EventSpace.of(log), Queries.at_end(log)
    whole, part = (space.latest(queries, np.array([length])) for length in (6, 2))
    assert whole.items.tolist() == [[6, 0, 1, 2, 3, 4]]
    assert whole.gaps.tolist() == [[0, 0, 1, 3, 4, 1]]
    assert [column.tolist() for column in part] == [[[3, 4]], [[0, 0]], [[4, 1]]]


def test_without_buckets_an_epoch_holds_the_same_windows() -> None:
    rows = [list(range(user % 9)) for user in range(70)]

    def windows(*, bucketed: bool) -> Counter[tuple[int, ...]]:
        batches = SequenceBatches(_log(rows, 9), batch_size=8, max_length=4, seed=0, bucketed=bucketed)
        pairs = [(row, mask) for batch in batches for row, mask in zip(batch.targets, batch.mask, strict=True)]
        return Counter(tuple(row[mask].tolist()) for row, mask in pairs)

    assert windows(bucketed=True) == windows(bucketed=False)


@given(
    lengths=st.lists(st.integers(0, 23), min_size=1, max_size=12).filter(lambda lengths: sum(lengths) > 0),
    max_length=st.integers(1, 7),
    batch_size=st.integers(1, 5),
)
def test_every_event_is_a_target_exactly_once_after_the_event_before_it(
    lengths: list[int], max_length: int, batch_size: int
) -> None:
    # Items are numbered through the log, so that an item names its position.
    firsts = np.cumsum([0, *lengths])
    rows = [list(range(firsts[user], firsts[user + 1])) for user in range(len(lengths))]
    n_items = int(firsts[-1])
    batches = SequenceBatches(_log(rows, n_items), batch_size=batch_size, max_length=max_length, seed=3)
    seen: Counter[int] = Counter()
    for batch in batches:
        assert batch.items.shape[1] <= max_length
        for before, behavior, target in zip(
            batch.items[batch.mask].tolist(),
            batch.behaviors[batch.mask].tolist(),
            batch.targets[batch.mask].tolist(),
            strict=True,
        ):
            opens = target in firsts
            assert before == (n_items + 1 if opens else target - 1)
            assert behavior == (2 if opens else before % 2)
            seen[target] += 1
        assert (batch.items[~batch.mask] == n_items).all()
        assert (batch.behaviors[~batch.mask] == 2).all()
    assert seen == Counter(range(n_items))


def test_a_session_begins_anew_whatever_its_user_did_before() -> None:
    log = sequences(_times([10, 20, 5000, 5010, 5020]), "1h").log
    batches = SequenceBatches(log, batch_size=1, max_length=9, seed=0)
    found = {batch.targets[0, 0].item(): (batch.items[0].tolist(), batch.gaps[0].tolist()) for batch in batches}
    assert found == {0: ([6, 0], [0, 0]), 2: ([6, 2, 3], [0, 0, 4])}  # 6 is the start


def test_windows_of_like_length_share_a_batch() -> None:
    rows = [[0] * (1 + user % 8) for user in range(64)]
    batches = SequenceBatches(_log(rows, 1), batch_size=8, max_length=10, seed=0)
    assert all(batch.mask.all() for batch in batches)


def test_sequence_batches_come_in_an_order_of_their_own_each_epoch() -> None:
    rows = [[user, user + 1] for user in range(60)]
    batches = SequenceBatches(_log(rows, 61), batch_size=8, max_length=10, seed=0)
    first = torch.cat([batch.targets for batch in batches])
    again = torch.cat([batch.targets for batch in batches])
    batches.epoch = 1
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.cat([batch.targets for batch in batches]))


def test_an_epoch_of_windows_that_is_gone_on_with_has_the_batches_that_it_would_have_had() -> None:
    batches = SequenceBatches(
        _log([[user, user + 1] for user in range(60)], 61), batch_size=8, max_length=10, seed=0, crop=0.5
    )
    batches.epoch = 2
    whole = list(batches)
    for first in range(len(whole) + 1):
        batches.first = first
        rest = [batch.items for batch in batches]
        assert len(rest) == len(whole) - first
        assert all(torch.equal(batch.items, items) for batch, items in zip(whole[first:], rest, strict=True))


def test_the_smaller_last_batch_of_windows_is_kept() -> None:
    batches = SequenceBatches(_log([[0], [0], [0]], 1), batch_size=2, max_length=10, seed=0)
    assert sorted(len(batch.items) for batch in batches) == [1, 2]
    assert len(batches) == 2


def test_a_log_without_events_is_refused() -> None:
    with pytest.raises(DataError, match="the train part has no event"):
        SequenceBatches(_log([[], []], 3), batch_size=2, max_length=10, seed=0)


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(lambda lengths: sum(lengths) > 0),
    crop=st.floats(0, 1),
)
def test_windows_that_are_cut_in_two_still_ask_for_every_event_once(lengths: list[int], crop: float) -> None:
    firsts = np.cumsum([0, *lengths])
    rows = [list(range(firsts[user], firsts[user + 1])) for user in range(len(lengths))]
    log = _log(rows, int(firsts[-1]))
    whole = SequenceBatches(log, batch_size=3, max_length=5, seed=0)
    batches = SequenceBatches(log, batch_size=3, max_length=5, seed=0, crop=crop)
    n_long = int((whole._windows.lengths > 1).sum())
    assert batches.n_windows == whole.n_windows + round(crop * n_long)
    for epoch in range(2):
        batches.epoch = epoch
        found = list(batches)
        assert len(found) == len(batches)
        assert sorted(item for batch in found for item in batch.targets[batch.mask].tolist()) == list(
            range(int(firsts[-1]))
        )


def test_the_second_part_of_a_window_that_is_cut_begins_with_the_event_before_it() -> None:
    batches = SequenceBatches(_times([1, 2, 3]), batch_size=1, max_length=3, seed=0, crop=1.0)
    parts: set[tuple[tuple[int, ...], ...]] = set()
    for epoch in range(20):
        batches.epoch = epoch
        parts.add(tuple(sorted(tuple(batch.items[0].tolist()) for batch in batches)))
    assert parts == {((0, 1), (4,)), ((1,), (4, 0))}
