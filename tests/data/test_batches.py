from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.batches import PairBatches, SequenceBatches
from recdl.data.interactions import Interactions
from recdl.errors import DataError
from tests.logs import log_of_events


def _log(rows: list[list[int]], n_items: int) -> Interactions:
    """Items a user, oldest first; the odd items were bought, the even ones viewed."""
    events = [(user, time, item % 2, item) for user, row in enumerate(rows) for time, item in enumerate(row)]
    return log_of_events(events, n_users=len(rows), n_items=n_items)


def _pairs(batches: PairBatches) -> list[tuple[int, int]]:
    return [
        (user, item)
        for batch in batches
        for user, item in zip(batch.users.tolist(), batch.items[:, 0].tolist(), strict=True)
    ]


def test_an_epoch_holds_every_pair_once_and_keeps_its_smaller_last_batch() -> None:
    batches = PairBatches(_log([[0, 1, 1], [2], [3, 0]], 5), batch_size=2, n_negatives=1, seed=0)
    assert [len(batch.users) for batch in batches] == [2, 2, 1]
    assert len(batches) == 3
    assert sorted(_pairs(batches)) == [(0, 0), (0, 1), (1, 2), (2, 0), (2, 3)]


def test_each_epoch_has_its_own_order_and_negatives_and_repeats_them_when_asked_again() -> None:
    rows = [[user % 20, (user + 3) % 20] for user in range(200)]
    batches = PairBatches(_log(rows, 20), batch_size=64, n_negatives=3, seed=5)
    first = torch.cat([batch.items for batch in batches])
    again = torch.cat([batch.items for batch in batches])
    batches.epoch = 1
    second = torch.cat([batch.items for batch in batches])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_negative_is_never_the_positive_nor_another_item_of_the_user() -> None:
    rows = [[0, 1, 2], [3, 4], [0, 4]]
    for batch in PairBatches(_log(rows, 5), batch_size=2, n_negatives=8, seed=0):
        for user, items in zip(batch.users.tolist(), batch.items.tolist(), strict=True):
            assert items[0] in rows[user]
            assert not set(items[1:]) & set(rows[user])


def test_negatives_come_from_the_items_of_the_train_part() -> None:
    batches = PairBatches(_log([[0], [2]], 50), batch_size=2, n_negatives=4, seed=0)
    drawn = {item for batch in batches for item in batch.items.ravel().tolist()}
    assert drawn == {0, 2}


def test_a_user_who_has_the_whole_catalogue_is_left_out_of_the_pairs() -> None:
    batches = PairBatches(_log([[0, 1], [0]], 2), batch_size=4, n_negatives=1, seed=0)
    assert _pairs(batches) == [(1, 0)]


def test_pairs_without_anybody_to_learn_from_are_refused() -> None:
    with pytest.raises(DataError, match="no user is left to learn from"):
        PairBatches(_log([[0, 1]], 2), batch_size=4, n_negatives=1, seed=0)


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


def test_the_smaller_last_batch_of_windows_is_kept() -> None:
    batches = SequenceBatches(_log([[0], [0], [0]], 1), batch_size=2, max_length=10, seed=0)
    assert sorted(len(batch.items) for batch in batches) == [1, 2]
    assert len(batches) == 2


def test_a_log_without_events_is_refused() -> None:
    with pytest.raises(DataError, match="the train part has no event"):
        SequenceBatches(_log([[], []], 3), batch_size=2, max_length=10, seed=0)
