import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recdl.errors import DataError
from recdl.evaluation.significance import (
    TestMethod,
    bootstrap_intervals,
    detectable_difference,
    holm,
    paired_test,
    paired_tests,
    queries_needed,
    standard_error,
)


def _alone(n: int) -> npt.NDArray[np.int64]:
    return np.full(n, -1)


def _exact_p_value(differences: list[float]) -> float:
    """Try every combination of signs."""
    n = len(differences)
    sums = [abs(sum(d if code >> i & 1 else -d for i, d in enumerate(differences))) for code in range(2**n)]
    return sum(value >= abs(sum(differences)) - 1e-12 for value in sums) / 2**n


def test_an_interval_has_the_width_that_theory_gives_it() -> None:
    # 10,000 values of standard deviation 1/2: 95 % lie within 1.96 / (2 * 100) of the mean. An end, from 4,000
    # replicates, has a standard error of sqrt(0.025 * 0.975 / 4000) / density(1.96) = 0.042 standard deviations.
    values = np.tile([0.0, 1.0], 5000)[:, None]
    low, high = bootstrap_intervals(values, _alone(10_000), seed=0, n_bootstrap=4000)[0]
    sigma = 0.5 / 100
    assert abs(low - (0.5 - 1.96 * sigma)) < 5 * 0.042 * sigma
    assert abs(high - (0.5 + 1.96 * sigma)) < 5 * 0.042 * sigma


def test_every_column_has_an_interval_of_its_own_around_its_mean() -> None:
    values = np.random.default_rng(0).random((500, 3)) + np.array([0, 10, 20])
    intervals = bootstrap_intervals(values, _alone(500), seed=0)
    assert intervals.shape == (3, 2)
    means = values.mean(axis=0)
    assert (intervals[:, 0] < means).all() and (means < intervals[:, 1]).all()


def test_copies_of_a_users_query_make_a_figure_no_surer() -> None:
    values = np.random.default_rng(0).random(200)
    once = bootstrap_intervals(values[:, None], np.arange(200), seed=3)
    copied = bootstrap_intervals(np.repeat(values, 4)[:, None], np.repeat(np.arange(200), 4), seed=3)
    np.testing.assert_allclose(copied, once, rtol=1e-12)


def test_users_of_unequal_size_are_drawn_whole() -> None:
    # User 5 has 0, 0, 0, user 9 has 1: a replicate holds both (mean 1/4), or one of them twice (0 or 1).
    values = np.array([[0.0], [1.0], [0.0], [0.0]])
    users = np.array([5, 9, 5, 5])
    for confidence, expected in ((0.98, [0, 1]), (0.02, [0.25, 0.25])):
        assert bootstrap_intervals(values, users, seed=0, confidence=confidence).tolist() == [expected]


def test_unknown_visitors_are_drawn_one_by_one() -> None:
    values = np.random.default_rng(0).random((50, 1))
    unknown = bootstrap_intervals(values, _alone(50), seed=1)
    assert unknown.tolist() == bootstrap_intervals(values, np.arange(50), seed=1).tolist()


def test_one_user_alone_gives_an_interval_of_no_width() -> None:
    assert bootstrap_intervals(np.array([[1.0], [0.0]]), np.array([4, 4]), seed=0).tolist() == [[0.5, 0.5]]


def test_the_blocks_that_replicates_are_drawn_in_change_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((30, 2))
    at_once = bootstrap_intervals(values, _alone(30), seed=0, n_bootstrap=50)
    monkeypatch.setattr("recdl.evaluation.significance._BLOCK_BYTES", 8 * 30 * 7)
    in_parts = bootstrap_intervals(values, _alone(30), seed=0, n_bootstrap=50)
    np.testing.assert_allclose(in_parts, at_once, rtol=1e-13)


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    n_trials, n_users = 400, 60
    covered = 0
    for seed in range(n_trials):
        # Three queries a user, alike but for noise, around a mean of 0.
        users = np.repeat(np.arange(n_users), 3)
        values = generator.standard_normal(n_users)[users] + generator.standard_normal(3 * n_users) / 2
        low, high = bootstrap_intervals(values[:, None], users, seed=seed, n_bootstrap=200, confidence=0.9)[0]
        covered += bool(low <= 0 <= high)
    # Four standard errors (0.06), and 0.02 for the percentile interval's known shortness in small samples.
    assert abs(covered / n_trials - 0.9) < 4 * math.sqrt(0.9 * 0.1 / n_trials) + 0.02


def test_the_same_seed_gives_the_same_interval_and_p_value() -> None:
    a, b = np.random.default_rng(0).random((2, 100))
    assert paired_test(a, b, _alone(100), seed=0) == paired_test(a, b, _alone(100), seed=0)
    assert paired_test(a, b, _alone(100), seed=0) != paired_test(a, b, _alone(100), seed=1)


def test_a_paired_test_gives_the_mean_difference_and_an_interval_around_it() -> None:
    b = np.random.default_rng(0).random(400)
    result = paired_test(b + np.tile([0.1, 0.3], 200), b, _alone(400), seed=0)
    assert result.difference == pytest.approx(0.2)
    # Differences have a standard deviation of 0.1: 1.96 * 0.1 / sqrt(400) = 0.0098
    assert result.interval == pytest.approx((0.2 - 0.0098, 0.2 + 0.0098), abs=0.002)


def test_a_p_value_is_the_share_of_all_signs_that_go_as_far() -> None:
    differences = [0.5, -0.2, 0.3, 0.4, 0.1, 0.6, -0.1, 0.2]
    exact = _exact_p_value(differences)
    result = paired_test(np.array(differences), np.zeros(8), _alone(8), seed=0)
    # Five standard errors of a share of 10,000.
    assert abs(result.p_value - exact) < 5 * math.sqrt(exact * (1 - exact) / 10_000)


def test_a_p_value_does_not_depend_on_which_run_comes_first() -> None:
    a, b = np.random.default_rng(0).random((2, 40))
    assert paired_test(a, b, _alone(40), seed=0).p_value == paired_test(b, a, _alone(40), seed=0).p_value


def test_equal_runs_have_a_p_value_of_one() -> None:
    values = np.random.default_rng(0).random(20)
    result = paired_test(values, values, _alone(20), seed=0)
    assert (result.difference, result.interval, result.p_value) == (0, (0, 0), 1)


def test_signs_are_given_to_users_not_to_queries() -> None:
    # Ten queries of one user prove no more than one: every sign goes as far.
    ones, zeros = np.ones(10), np.zeros(10)
    assert paired_test(ones, zeros, np.zeros(10, np.int64), seed=0).p_value == 1
    # Ten users with as many queries: only 2 of 1,024 combinations of signs go as far.
    assert paired_test(ones, zeros, np.arange(10), seed=0).p_value == pytest.approx(2 / 1024, abs=0.0023)


def test_a_p_value_is_never_zero() -> None:
    result = paired_test(np.ones(200), np.zeros(200), _alone(200), seed=0, n_permutations=99)
    assert result.p_value == 1 / 100


def test_p_values_are_uniform_where_there_is_no_difference() -> None:
    generator = np.random.default_rng(0)
    n_trials = 300
    p_values = []
    for seed in range(n_trials):
        users = np.repeat(np.arange(25), 2)
        a, b = generator.standard_normal((2, 50)) + generator.standard_normal((2, 25))[:, users]
        p_values.append(paired_test(a, b, users, seed=seed, n_permutations=199, n_bootstrap=1).p_value)
    # Kolmogorov's distance exceeds this once in a million times.
    bound = stats.kstwo.isf(1e-6, n_trials)
    assert stats.ks_1samp(p_values, stats.uniform.cdf).statistic < bound


def test_a_paired_test_of_runs_of_unequal_length_is_an_error() -> None:
    with pytest.raises(DataError, match="one run has 3 queries, the other 2"):
        paired_test(np.zeros(3), np.zeros(2), _alone(3), seed=0)


def test_a_paired_test_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no query to draw conclusions from"):
        paired_test(np.zeros(0), np.zeros(0), _alone(0), seed=0)


def test_an_interval_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no query to draw conclusions from"):
        bootstrap_intervals(np.zeros((0, 2)), _alone(0), seed=0)


def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_the_next_by_one_less() -> None:
    # Sorted: 0.005 * 4 = 0.02; 0.01 * 3 = 0.03; 0.03 * 2 = 0.06; 0.04 * 1 = 0.04, raised to 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one() -> None:
    assert holm([0.6, 0.9]).tolist() == [1, 1]


def test_holm_leaves_a_single_p_value_and_none_as_they_are() -> None:
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values: list[float], alpha: float) -> None:
    rejected: set[int] = set()
    for step, test in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[test] * (len(p_values) - step) > alpha:
            break
        rejected.add(test)
    assert set(np.flatnonzero(holm(p_values) <= alpha).tolist()) == rejected


def test_a_bootstrap_test_agrees_with_the_normal_approximation_on_many_queries() -> None:
    # Differences of mean 0.02 and standard deviation 0.2 on 400 queries: z = 2, p = 0.0455.
    differences = np.tile([0.22, -0.18], 200)
    result = paired_test(differences, np.zeros(400), _alone(400), seed=0, method="bootstrap")
    assert result.p_value == pytest.approx(0.0455, abs=5 * math.sqrt(0.0455 / 10_000))


def test_p_values_of_the_bootstrap_test_are_uniform_where_there_is_no_difference() -> None:
    generator = np.random.default_rng(1)
    n_trials = 300
    p_values = []
    for seed in range(n_trials):
        users = np.repeat(np.arange(60), 2)
        a, b = generator.standard_normal((2, 120)) + generator.standard_normal((2, 60))[:, users]
        result = paired_test(a, b, users, seed=seed, method="bootstrap", n_permutations=199, n_bootstrap=1)
        p_values.append(result.p_value)
    assert stats.ks_1samp(p_values, stats.uniform.cdf).statistic < stats.kstwo.isf(1e-6, n_trials)


def test_equal_runs_have_a_bootstrap_p_value_of_one() -> None:
    values = np.random.default_rng(0).random(20)
    assert paired_test(values, values, _alone(20), seed=0, method="bootstrap").p_value == 1


def test_the_standard_error_of_independent_queries_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).random(50)
    assert standard_error(values, _alone(50)) == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_copies_of_a_users_query_make_no_smaller_standard_error() -> None:
    values = np.random.default_rng(0).random(30)
    copied = standard_error(np.repeat(values, 4), np.repeat(np.arange(30), 4))
    assert copied == pytest.approx(standard_error(values, _alone(30)))


def test_one_user_alone_has_no_standard_error() -> None:
    assert standard_error(np.array([1.0, 0.0]), np.array([4, 4])) == 0


def test_the_effect_size_is_the_difference_in_standard_deviations_of_the_differences() -> None:
    result = paired_test(np.array([0.4, 0.2, 0.6]), np.array([0.2, 0.2, 0.2]), _alone(3), seed=0)
    assert result.effect_size == pytest.approx(0.2 / 0.2)  # differences 0.2, 0 and 0.4


def test_differences_that_do_not_vary_have_no_effect_size() -> None:
    assert paired_test(np.ones(3), np.zeros(3), _alone(3), seed=0).effect_size is None


def test_the_queries_needed_are_those_of_the_textbook() -> None:
    # With standard deviation 1, a difference of 0.5, alpha 0.05 and power 0.8: (1.96 + 0.8416)^2 / 0.25 = 31.4.
    assert queries_needed(0.5, detectable_difference(1 / math.sqrt(100)), 100) == 32
    assert detectable_difference(1 / math.sqrt(32)) == pytest.approx(0.4953, abs=1e-4)


def test_a_difference_of_the_detectable_size_is_seen_four_times_out_of_five() -> None:
    generator = np.random.default_rng(0)
    n, n_trials = 200, 400
    size = detectable_difference(1 / math.sqrt(n))
    seen = 0
    for seed in range(n_trials):
        values = generator.standard_normal(n) + size
        test = paired_test(values, np.zeros(n), _alone(n), seed=seed, n_permutations=199, n_bootstrap=1)
        seen += test.p_value <= 0.05
    assert abs(seen / n_trials - 0.8) < 4 * math.sqrt(0.8 * 0.2 / n_trials)


def test_no_number_of_queries_shows_no_difference() -> None:
    with pytest.raises(ValueError, match=r"must be above 0, not 0.0"):
        queries_needed(0.0, 0.1, 100)


@pytest.mark.parametrize("method", ["permutation", "bootstrap"])
def test_many_tests_at_once_are_the_tests_one_by_one(method: TestMethod) -> None:
    generator = np.random.default_rng(3)
    differences = generator.normal(size=(60, 3)) + np.array([0.0, 0.3, -1.0])
    clusters = np.repeat(np.arange(20), 3)
    together = paired_tests(differences, clusters, seed=5, method=method, n_permutations=500)
    for column, result in zip(differences.T, together, strict=True):
        alone = paired_test(column, np.zeros(60), clusters, seed=5, method=method, n_permutations=500)
        assert result.p_value == alone.p_value
        assert (result.difference, *result.interval) == pytest.approx((alone.difference, *alone.interval))
        assert (result.standard_error, result.effect_size) == (alone.standard_error, alone.effect_size)


def test_a_run_that_differs_nowhere_is_tested_beside_one_that_does() -> None:
    differences = np.column_stack([np.zeros(12), np.ones(12)])
    same, better = paired_tests(differences, np.arange(12), seed=0)
    assert same.p_value == 1.0
    assert better.p_value < 0.01
