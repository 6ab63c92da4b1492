from collections import Counter

import numpy as np
import pytest
import torch

from recdl.data.batches import PairBatches, RowBatches
from recdl.data.interactions import Interactions
from recdl.data.sampling import Negatives, NegativeSource, Positives
from tests.logs import log_of_events


def _log(rows: list[list[int]], n_items: int) -> Interactions:
    """Items a user, oldest first; the odd items were bought, the even ones viewed."""
    events = [(user, time, item % 2, item) for user, row in enumerate(rows) for time, item in enumerate(row)]
    return log_of_events(events, n_users=len(rows), n_items=n_items)


def _pair_batches(
    rows: list[list[int]], n_items: int, *, n: int, batch_size: int = 2, seed: int = 0
) -> PairBatches:
    return PairBatches(Positives.of(_log(rows, n_items)), Negatives(n=n), batch_size=batch_size, seed=seed)


def _pairs(batches: PairBatches) -> list[tuple[int, int]]:
    return [
        (user, item)
        for batch in batches
        for user, item in zip(batch.users.tolist(), batch.items[:, 0].tolist(), strict=True)
    ]


def test_an_epoch_holds_every_pair_once_and_keeps_its_smaller_last_batch() -> None:
    rows = [[user % 7, 7] for user in range(10)]
    batches = _pair_batches(rows, 9, n=1)
    assert [len(batch.users) for batch in batches] == [16, 4]
    assert (len(batches), batches.n_steps) == (2, 10)
    assert sorted(_pairs(batches)) == sorted((user, item) for user in range(10) for item in rows[user])


def test_each_epoch_has_its_own_order_and_negatives_and_repeats_them_when_asked_again() -> None:
    rows = [[user % 20, (user + 3) % 20] for user in range(200)]
    batches = _pair_batches(rows, 20, n=3, batch_size=64, seed=5)
    first = torch.cat([batch.items for batch in batches])
    again = torch.cat([batch.items for batch in batches])
    batches.epoch = 1
    second = torch.cat([batch.items for batch in batches])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("source", ["uniform", "batch"])
def test_an_epoch_that_is_gone_on_with_has_the_batches_that_it_would_have_had(source: NegativeSource) -> None:
    rows = [[user % 20, (user + 3) % 20] for user in range(200)]
    positives, negatives = Positives.of(_log(rows, 20)), Negatives(n=3, source=source)
    pairs = PairBatches(positives, negatives, batch_size=2, seed=5)
    users = RowBatches(positives, negatives, batch_size=8, seed=5)
    assert (len(pairs), len(users)) == (25, 25)
    for batches in (pairs, users):
        batches.epoch = 3
        batches.first = 0
        whole = list(batches)
        for first in (1, 7, 8, 9, 24, 25):
            batches.first = first
            rest = list(batches)
            assert len(rest) == 25 - first
            for expected, found in zip(whole[first:], rest, strict=True):
                assert all(torch.equal(*both) for both in zip(expected, found, strict=True))


def test_the_negatives_of_a_first_batch_do_not_repeat_what_the_shuffle_has_drawn() -> None:
    # A seed of (0, 1) is numpy's seed of (0, 1, 0) too.
    rows = [[0], *([user] for user in range(1, 200))]
    batches = PairBatches(Positives.of(_log(rows, 200)), Negatives(n=1), batch_size=200, seed=0)
    batches.epoch = 1
    catalogue = np.arange(200, dtype=np.int32)
    same = catalogue[np.random.default_rng((0, 1)).integers(0, 200, 200, dtype=np.int32)]
    assert (next(iter(batches)).items[:, 1].numpy() == same).mean() < 0.1


def test_a_negative_is_never_the_positive_nor_another_item_of_the_user() -> None:
    rows = [[0, 1, 2], [3, 4], [0, 4]]
    for batch in _pair_batches(rows, 5, n=8):
        for user, items in zip(batch.users.tolist(), batch.items.tolist(), strict=True):
            assert items[0] in rows[user]
            assert not set(items[1:]) & set(rows[user])


def test_negatives_come_from_the_items_of_the_train_part() -> None:
    drawn = {item for batch in _pair_batches([[0], [2]], 50, n=4) for item in batch.items.ravel().tolist()}
    assert drawn == {0, 2}


def test_negatives_from_the_batch_are_items_of_its_positives() -> None:
    rows = [[user] for user in range(40)]
    batches = PairBatches(Positives.of(_log(rows, 40)), Negatives(n=6, source="batch"), batch_size=4, seed=0)
    for batch in batches:
        for users, items in zip(batch.users.split(4), batch.items.split(4), strict=True):
            assert set(items[:, 1:].ravel().tolist()) <= set(items[:, 0].tolist())
            assert not (items[:, 1:] == items[:, :1]).any()
            assert items[:, 0].tolist() == users.tolist()


def test_a_pair_brings_the_weight_of_its_weightiest_behaviour() -> None:
    log = log_of_events([(0, 0, 0, 1), (0, 1, 1, 1), (0, 2, 0, 2), (1, 0, 0, 3)], n_users=2, n_items=6)
    names = dict(zip(log.behavior_names, [0.25, 2.0], strict=False))
    batches = PairBatches(Positives.of(log, names), Negatives(n=1), batch_size=4, seed=0)
    (batch,) = batches
    found = dict(zip(batch.items[:, 0].tolist(), batch.weights.tolist(), strict=True))
    assert found == {1: 2.0, 2: 0.25, 3: 0.25}


def _row_batches(
    rows: list[list[int]], n_items: int, negatives: Negatives | None, *, batch_size: int
) -> RowBatches:
    return RowBatches(Positives.of(_log(rows, n_items)), negatives, batch_size=batch_size, seed=0)


def test_a_row_batch_holds_users_with_all_that_they_have() -> None:
    rows = [[0, 1], [2], [], [3, 0, 1], [4]]
    batches = _row_batches(rows, 6, None, batch_size=3)
    found = {}
    for batch in batches:
        assert batch.negatives is None
        for place, user in enumerate(batch.users.tolist()):
            found[user] = sorted(batch.items[batch.rows == place].tolist())
    assert found == {0: [0, 1], 1: [2], 3: [0, 1, 3], 4: [4]}
    assert len(batches) == 2


def test_the_draws_of_a_row_batch_say_who_has_them_and_how_often_they_were_to_be_expected() -> None:
    rows = [[0, 1], [2], [3, 0, 1], [4, 0]]
    negatives = Negatives(n=50, source="popularity", popularity_exponent=1.0)
    events = Counter(item for row in rows for item in row)
    for batch in _row_batches(rows, 6, negatives, batch_size=2):
        assert batch.negatives is not None and batch.held is not None and batch.log_expected_count is not None
        drawn = batch.negatives.tolist()
        assert set(drawn) <= set(events)
        expected = np.log([50 * events[item] / 8 for item in drawn])
        np.testing.assert_allclose(batch.log_expected_count.numpy(), expected, rtol=1e-5)
        for user, held in zip(batch.users.tolist(), batch.held.tolist(), strict=True):
            assert held == [item in rows[user] for item in drawn]


def test_the_draws_of_a_row_batch_that_are_few_for_the_catalogue_are_by_popularity() -> None:
    rows = [[0, *range(1, 20)], [0, *range(20, 40)], [0, 40]]
    events = Counter(item for row in rows for item in row)
    for batch in _row_batches(rows, 41, Negatives(n=1, popularity_exponent=1.0), batch_size=3):
        assert batch.negatives is not None and batch.log_expected_count is not None
        share = events[batch.negatives.item()] / events.total()
        np.testing.assert_allclose(batch.log_expected_count.exp().numpy(), share, rtol=1e-5)


def test_the_draws_of_a_row_batch_can_be_its_own_items() -> None:
    rows = [[user, user + 1] for user in range(9)]
    for batch in _row_batches(rows, 12, Negatives(n=30, source="batch"), batch_size=3):
        assert batch.negatives is not None and batch.log_expected_count is not None
        pool = Counter(batch.items.tolist())
        assert set(batch.negatives.tolist()) <= set(pool)
        expected = np.log([30 * pool[item] / pool.total() for item in batch.negatives.tolist()])
        np.testing.assert_allclose(batch.log_expected_count.numpy(), expected, rtol=1e-5)
