import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from recdl.commands.points import note_trials
from recdl.errors import DataError
from recdl.evaluation.records import RunRecord
from recdl.evaluation.seed_words import finding, one_seed, seeds_table
from recdl.evaluation.seeds import by_seed, compare_seeds, seed_test
from recdl.evaluation.significance import holm, paired_test
from tests.evaluation.runs import write_run

N = 40


def _run(folder: Path, model: str, seed: int, share: float, **settings: float) -> RunRecord:
    """A run in which the first `share` of 40 queries are hits."""
    hits = [1.0 if query < share * N else 0.0 for query in range(N)]
    name = f"{model}-{seed}-{len(list(folder.glob('*')))}"
    return write_run(folder / name, model, columns={"ndcg@10": hits}, seed=seed, settings=settings)


def test_runs_that_differ_in_their_seed_alone_are_one_group(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "lstm", seed, 0.5, size=size) for size in (32.0, 64.0) for seed in (0, 1)]
    runs.append(_run(tmp_path, "popularity", 0, 0.1))
    groups = by_seed(runs)
    assert groups == [runs[:2], runs[2:4], runs[4:]]


def test_runs_of_one_seed_each_are_no_groups(tmp_path: Path) -> None:
    assert by_seed([_run(tmp_path, "lstm", 0, 0.5), _run(tmp_path, "gru", 1, 0.5)]) is None


def test_a_group_has_the_mean_and_the_deviation_of_its_seeds(tmp_path: Path) -> None:
    shares = {("popularity", 0): 0.1, ("lstm", 0): 0.4, ("lstm", 1): 0.5, ("lstm", 2): 0.6}
    groups = by_seed([_run(tmp_path, model, seed, share) for (model, seed), share in shares.items()])
    assert groups is not None
    comparison = compare_seeds(groups)
    popularity, lstm = comparison.groups
    assert comparison.reference == popularity.label == "popularity" and lstm.label == "lstm"
    assert (popularity.figures["ndcg@10"].deviation, popularity.seeds) == (None, (0,))
    figure = lstm.figures["ndcg@10"]
    assert (figure.mean, figure.deviation, figure.difference) == pytest.approx((0.5, 0.1, 0.4))
    assert figure.by_seed == (0.4, 0.5, 0.6) and lstm.seeds == (0, 1, 2)
    assert seeds_table(comparison).row_count == 2
    assert comparison.to_json()["groups"][1]["figures"]["ndcg@10"]["mean"] == pytest.approx(0.5)


def test_what_came_out_is_said_of_the_best_mean_and_not_of_the_luckiest_seed(tmp_path: Path) -> None:
    shares = {("ease", 0): 0.5, ("lstm", 0): 0.1, ("lstm", 1): 0.7, ("popularity", 0): 0.0}
    runs = [_run(tmp_path, model, seed, share) for (model, seed), share in shares.items()]
    groups = by_seed(runs)
    assert groups is not None
    said = finding(compare_seeds(groups, reference="popularity"), "ndcg@10")
    assert said == (
        "ease has the highest NDCG@10, 0.5000: significantly more than the reference, popularity "
        "(+0.5000, p < 0.001)."
    )
    of_reference = finding(compare_seeds(groups, reference="ease"), "ndcg@10")
    assert of_reference.endswith("; it is the reference, and 1 of the 2 others are significantly worse.")
    ahead = finding(compare_seeds(groups[1:], reference="popularity"), "ndcg@10")
    assert ahead == (
        "lstm has the highest NDCG@10, 0.4000 ± 0.4243 over 2 seeds, but the difference to the reference,"
        " popularity, may be chance."
    )
    assert finding(compare_seeds(groups[1:2]), "ndcg@10").endswith("There is no other model to compare it with.")


def test_it_is_said_of_which_models_one_seed_is_shown(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "popularity", 0, 0.1), *(_run(tmp_path, "lstm", seed, 0.5) for seed in (3, 4))]
    groups = by_seed(runs)
    assert groups is not None
    assert one_seed(compare_seeds(groups)) == "Of lstm one run stands here and below: seed 3."


def test_p_values_are_of_the_seed_test_and_corrected_for_all_the_tests(tmp_path: Path) -> None:
    shares = {"a": (0.1, 0.2), "b": (0.3, 0.5), "c": (0.4, 0.6)}
    groups = by_seed(
        [_run(tmp_path, model, seed, pair[seed]) for model, pair in shares.items() for seed in (0, 1)]
    )
    assert groups is not None
    comparison = compare_seeds(groups, reference="b")

    def hits(model: str) -> npt.NDArray[np.float64]:
        return np.stack([(np.arange(N) < share * N).astype(np.float64) for share in shares[model]])

    raw = [seed_test(hits(model), hits("b"), np.arange(N)).p_value for model in ("a", "c")]
    figures = [comparison.groups[row].figures["ndcg@10"] for row in (0, 2)]
    assert [figure.p_value for figure in figures] == pytest.approx(raw)
    assert [figure.adjusted_p_value for figure in figures] == pytest.approx(holm(raw).tolist())
    assert comparison.n_tests == 2


def test_the_reference_may_be_the_folder_of_any_of_its_seeds(tmp_path: Path) -> None:
    runs = [_run(tmp_path, model, seed, 0.5) for model in ("a", "b") for seed in (0, 1)]
    groups = by_seed(runs)
    assert groups is not None
    assert compare_seeds(groups, reference=str(runs[3].folder)).reference == "b"


def test_a_seed_that_is_given_twice_is_an_error(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "a", seed, 0.5) for seed in (0, 1, 1)]
    groups = by_seed(runs)
    assert groups is not None
    with pytest.raises(DataError, match="a has a seed twice: 0, 1, 1"):
        compare_seeds(groups)


def test_the_variance_of_the_seeds_is_added_to_that_of_the_users() -> None:
    # Differences to 0 are alike for all users: 0.1 and 0.3 by seed. v / n = 0.02 / 2, one degree of freedom.
    a = np.repeat([[0.1], [0.3]], 50, axis=1)
    result = seed_test(a, np.zeros((1, 50)), np.full(50, -1))
    assert result.difference == pytest.approx(0.2)
    assert result.p_value == pytest.approx(2 * stats.t.sf(0.2 / 0.1, 1))
    width = stats.t.ppf(0.975, 1) * 0.1
    assert result.interval == pytest.approx((0.2 - width, 0.2 + width))


def test_with_one_seed_a_side_it_is_the_paired_t_test() -> None:
    a, b = np.random.default_rng(0).random((2, 30))
    result = seed_test(a[None], b[None], np.full(30, -1))
    assert result.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_where_nothing_varies_a_difference_is_certain_and_none_is_none() -> None:
    same, clusters = np.ones((2, 5)), np.full(5, -1)
    assert seed_test(same, same, clusters).p_value == 1
    assert seed_test(same, same - 0.5, clusters).p_value == 0


def test_models_on_other_queries_are_not_compared() -> None:
    with pytest.raises(DataError, match="one model has 5 queries, the other 4"):
        seed_test(np.ones((2, 5)), np.ones((2, 4)), np.full(5, -1))


def _simulated(generator: np.random.Generator, n_seeds: int, n_queries: int) -> npt.NDArray[np.float64]:
    """A model whose seeds differ, with a mean of 0, on queries with noise of their own."""
    return generator.standard_normal((n_seeds, 1)) * 0.3 + generator.standard_normal((n_seeds, n_queries))


def test_where_seeds_matter_p_values_hold_their_level_and_those_of_queries_alone_do_not() -> None:
    generator = np.random.default_rng(0)
    n_trials, n_queries, clusters = 400, 400, np.full(400, -1)
    wrong = np.zeros(2)
    covered = 0
    for seed in range(n_trials):
        a, b = (_simulated(generator, 5, n_queries) for _ in range(2))
        test = seed_test(a, b, clusters)
        covered += test.interval[0] <= 0 <= test.interval[1]
        naive = paired_test(a[0], b[0], clusters, seed=seed, n_permutations=99, n_bootstrap=1)
        wrong += [test.p_value < 0.05, naive.p_value < 0.05]
    error = 4 * math.sqrt(0.05 * 0.95 / n_trials)
    assert abs(wrong[0] / n_trials - 0.05) < error
    assert abs(covered / n_trials - 0.95) < error
    assert wrong[1] / n_trials > 0.5


def test_p_values_over_seeds_are_uniform_where_there_is_no_difference() -> None:
    generator = np.random.default_rng(2)
    n_trials, clusters = 300, np.full(300, -1)
    p_values = [
        seed_test(_simulated(generator, 6, 300), _simulated(generator, 6, 300), clusters).p_value
        for _ in range(n_trials)
    ]
    assert stats.ks_1samp(p_values, stats.uniform.cdf).statistic < stats.kstwo.isf(1e-6, n_trials)


def test_a_sweep_notes_in_each_run_how_many_settings_of_its_model_were_tried(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "lstm", seed, 0.5, size=size) for size in (1.0, 2.0, 3.0) for seed in (0, 1)]
    runs.append(_run(tmp_path, "popularity", 0, 0.1))
    assert [run.trials for run in runs] == [1] * 7
    note_trials(runs)
    assert [RunRecord.open(run.folder).trials for run in runs] == [3] * 6 + [1]
