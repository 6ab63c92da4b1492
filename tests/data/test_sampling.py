import numpy as np
import pytest
from scipy import stats

from recdl.data.sampling import Negatives, NegativeSampler, NegativeSource, Pairs, Positives
from recdl.errors import ConfigError, DataError
from tests.logs import log_of_events, log_of_items


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


def test_negatives_by_popularity_are_drawn_in_proportion_to_it() -> None:
    log = log_of_items([[0, 1, 2, 3], [3, 2], [3, 1], [3]], n_items=6)
    popularity = np.bincount(log.items, minlength=6)
    sampler = Negatives(source="popularity", popularity_exponent=2.0, exclude_positives=False).sampler(
        Pairs.of(log), popularity
    )
    drawn = sampler.sample(np.zeros(6_000, np.int32), 4, np.random.default_rng(0))
    shares = popularity**2 / (popularity**2).sum()
    counts = np.bincount(drawn.ravel(), minlength=6)
    assert counts[4:].tolist() == [0, 0]
    assert stats.chisquare(counts[:4], shares[:4] * counts.sum()).pvalue > 0.001
    np.testing.assert_allclose(np.exp(sampler.log_probabilities), shares, rtol=1e-5)


def test_what_is_drawn_by_popularity_is_not_among_what_the_user_has() -> None:
    log = log_of_items([[0, 1, 2], [3, 2], [3, 1], [3]], n_items=4)
    sampler = Negatives(source="popularity").sampler(Pairs.of(log), np.bincount(log.items, minlength=4))
    assert (sampler.sample(np.zeros(50, np.int32), 4, np.random.default_rng(0)) == 3).all()


@pytest.mark.parametrize(("n_items", "source"), [(320, "uniform"), (321, "popularity")])
def test_auto_draws_by_popularity_for_a_softmax_over_more_than_32_times_the_draw(
    n_items: int, source: NegativeSource
) -> None:
    assert Negatives(n=10).for_softmax(n_items) == Negatives(n=10, source=source)


def test_a_source_that_is_named_is_taken_for_a_softmax_of_any_size() -> None:
    assert Negatives(n=1, source="uniform").for_softmax(10**6).source == "uniform"


def test_auto_is_uniform_where_nothing_corrects_for_the_draw() -> None:
    log = log_of_items([[0, 1, 2], [1, 2], [2], [3]], n_items=4)
    sampler = Negatives(n=1).sampler(Pairs.of(log), np.bincount(log.items, minlength=4))
    np.testing.assert_allclose(np.exp(sampler.log_probabilities), 0.25)


def test_a_pool_replaces_the_catalogue() -> None:
    drawn = _sampler([[0, 1], [2]], 50).sample(
        np.zeros(40, np.int32), 3, np.random.default_rng(0), pool=np.array([0, 1, 7, 9], np.int32)
    )
    assert set(drawn.ravel().tolist()) == {7, 9}


def test_a_user_who_has_the_whole_catalogue_is_left_out_of_the_positives() -> None:
    positives = Positives.of(log_of_items([[0, 1], [0]], n_items=2))
    assert (positives.users.tolist(), positives.items.tolist()) == ([1], [0])


def test_positives_without_anybody_to_learn_from_are_refused() -> None:
    with pytest.raises(DataError, match="no user is left to learn from"):
        Positives.of(log_of_items([[0, 1]], n_items=2))


def test_a_pair_of_weight_zero_is_neither_positive_nor_negative() -> None:
    log = log_of_events([(0, 0, 0, 1), (0, 1, 1, 2), (1, 0, 1, 3)], n_users=2, n_items=6)
    unwanted, wanted = log.behavior_names[:2]
    positives = Positives.of(log, {unwanted: 0.0, wanted: 1.0})
    assert positives.items.tolist() == [2, 3]
    sampler = Negatives().sampler(positives.known, positives.popularity)
    assert set(sampler.sample(np.zeros(30, np.int32), 2, np.random.default_rng(0)).ravel().tolist()) == {3}


def test_a_weight_for_a_behaviour_that_is_not_in_the_log_is_refused() -> None:
    with pytest.raises(DataError, match="no behavior 'sold'"):
        Positives.of(log_of_items([[0], [1]], n_items=3), {"sold": 2.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, r"negatives\.n must be at least 1, not 0"),
        ({"source": "popular"}, "one of auto, uniform, popularity, batch, not 'popular'"),
        ({"popularity_exponent": -1.0}, "must be at least 0, not -1"),
    ],
)
def test_settings_of_negatives_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Negatives(**settings)  # type: ignore[arg-type]
