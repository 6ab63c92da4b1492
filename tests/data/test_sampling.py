import numpy as np
import pytest
from scipy import stats

from recdl.data.sampling import NegativeSampler, Pairs
from recdl.errors import DataError
from tests.logs import log_of_items


def _sampler(rows: list[list[int]], n_items: int, **options: bool) -> NegativeSampler:
    return NegativeSampler(
        Pairs.of(log_of_items(rows, n_items=n_items)), np.arange(n_items, dtype=np.int32), **options
    )


def test_pairs_are_distinct_and_sorted() -> None:
    pairs = Pairs.of(log_of_items([[2, 0, 2], [], [1]], n_items=3))
    assert pairs.users.tolist() == [0, 0, 2]
    assert pairs.items.tolist() == [0, 2, 1]


@pytest.mark.parametrize("exact", [True, False])
def test_negatives_are_uniform_over_what_the_user_does_not_have(exact: bool) -> None:
    sampler = _sampler([[0, 1, 2], [7]], 10, exact=exact)
    drawn = sampler.sample(np.zeros(5_000, np.int32), 4, np.random.default_rng(0))
    counts = np.bincount(drawn.ravel(), minlength=10)
    assert counts[:3].tolist() == [0, 0, 0]
    assert stats.chisquare(counts[3:]).pvalue > 0.001


@pytest.mark.parametrize("exact", [True, False])
def test_no_negative_is_among_the_items_of_its_user(exact: bool) -> None:
    generator = np.random.default_rng(1)
    rows = [generator.choice(300, 100, replace=False).tolist() for _ in range(50)]
    users = generator.integers(0, 50, 2_000).astype(np.int32)
    drawn = _sampler(rows, 300, exact=exact).sample(users, 5, generator)
    assert drawn.shape == (2_000, 5)
    assert not any(set(rows[user]) & set(row.tolist()) for user, row in zip(users, drawn, strict=True))


def test_the_exact_and_the_hashed_table_draw_the_same() -> None:
    rows = [[0, 5], [1, 2, 3], [9]]
    users = np.array([0, 1, 2, 1, 0] * 50, np.int32)
    exact = _sampler(rows, 10, exact=True).sample(users, 3, np.random.default_rng(2))
    hashed = _sampler(rows, 10, exact=False).sample(users, 3, np.random.default_rng(2))
    assert np.array_equal(exact, hashed)


def test_a_user_who_has_all_but_one_item_gets_that_one() -> None:
    n_items = 2_000
    sampler = _sampler([[item for item in range(n_items) if item != 1_234]], n_items)
    drawn = sampler.sample(np.zeros(3, np.int32), 2, np.random.default_rng(0))
    assert (drawn == 1_234).all()


def test_a_user_who_has_everything_is_refused() -> None:
    with pytest.raises(DataError, match="1 users have interacted with all 3 items"):
        _sampler([[0, 1, 2], [0]], 3)


def test_without_exclusion_the_whole_catalogue_is_drawn_from() -> None:
    drawn = _sampler([[0, 1, 2]], 3, exclude_pairs=False).sample(
        np.zeros(100, np.int32), 2, np.random.default_rng(0)
    )
    assert set(drawn.ravel().tolist()) == {0, 1, 2}


def test_only_items_of_the_catalogue_are_drawn() -> None:
    sampler = NegativeSampler(Pairs.of(log_of_items([[0], [4]], n_items=6)), np.array([0, 3, 4], np.int32))
    drawn = sampler.sample(np.array([0, 1] * 50, np.int32), 2, np.random.default_rng(0))
    assert set(drawn[::2].ravel().tolist()) == {3, 4}
    assert set(drawn[1::2].ravel().tolist()) == {0, 3}
