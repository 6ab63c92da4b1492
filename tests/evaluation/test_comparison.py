import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from recdl.errors import DataError
from recdl.evaluation.comparison import best_by_validation, compare, validation_metric
from recdl.evaluation.identity import Ingredient
from recdl.evaluation.records import RunRecord
from recdl.evaluation.significance import holm, paired_test
from tests.evaluation.runs import PROTOCOL, write_run

LOW = {"hr@10": [0.0, 0.0, 1.0, 0.0] * 10, "ndcg@10": [0.0, 0.0, 0.5, 0.0] * 10}
HIGH = {"hr@10": [1.0, 1.0, 1.0, 0.0] * 10, "ndcg@10": [1.0, 0.5, 0.5, 0.0] * 10}
LIKE_LOW = {"hr@10": [0.0, 0.0, 0.0, 1.0] * 10, "ndcg@10": [0.0, 0.0, 0.0, 0.5] * 10}


@pytest.fixture
def three(tmp_path: Path) -> list[RunRecord]:
    """A weak reference, a clearly better run, and one that only wins other queries."""
    return [
        write_run(tmp_path / "low", "popularity", columns=LOW, validation=0.1),
        write_run(tmp_path / "high", "lstm", columns=HIGH, validation=0.3),
        write_run(tmp_path / "like", "item_knn", columns=LIKE_LOW, validation=0.2),
    ]


def test_differences_are_those_of_the_means_to_the_reference(three: list[RunRecord]) -> None:
    low, high, like = compare(three).runs
    assert (low.figures["ndcg@10"].value, high.figures["ndcg@10"].value) == (0.125, 0.5)
    assert high.figures["ndcg@10"].difference == pytest.approx(0.375)
    assert like.figures["ndcg@10"].difference == pytest.approx(0.0)
    assert low.figures["ndcg@10"].difference is None


def test_intervals_are_those_of_the_runs_themselves(three: list[RunRecord]) -> None:
    assert compare(three).runs[1].figures["hr@10"].interval == pytest.approx((0.74, 0.76))


def test_p_values_are_of_the_paired_test_and_corrected_for_all_the_tests(three: list[RunRecord]) -> None:
    users = np.arange(40)
    raw = [
        paired_test(np.array(run[name]), np.array(LOW[name]), users, seed=3, n_bootstrap=200).p_value
        for run in (HIGH, LIKE_LOW)
        for name in ("hr@10", "ndcg@10")
    ]
    comparison = compare(three, seed=3)
    figures = [run.figures[name] for run in comparison.runs[1:] for name in ("hr@10", "ndcg@10")]
    assert comparison.n_tests == 4
    assert [figure.p_value for figure in figures] == pytest.approx(raw)
    assert [figure.adjusted_p_value for figure in figures] == pytest.approx(holm(raw))


def test_only_a_difference_beyond_chance_is_significant(three: list[RunRecord]) -> None:
    low, high, like = compare(three).runs
    assert high.figures["ndcg@10"].significant
    assert not like.figures["ndcg@10"].significant
    assert not low.figures["ndcg@10"].significant


def test_the_highest_figure_is_the_best(three: list[RunRecord]) -> None:
    assert [run.figures["hr@10"].best for run in compare(three).runs] == [False, True, False]


def test_equal_figures_are_all_the_best(tmp_path: Path) -> None:
    records = [write_run(tmp_path / name, name, columns=HIGH) for name in ("a", "b")]
    assert [run.figures["hr@10"].best for run in compare(records).runs] == [True, True]


@pytest.mark.parametrize("how", ["label", "folder"])
def test_the_reference_is_named_by_label_or_folder(three: list[RunRecord], how: str) -> None:
    name = "lstm" if how == "label" else str(three[1].folder)
    comparison = compare(three, reference=name)
    assert comparison.reference == "lstm"
    assert comparison.runs[0].figures["ndcg@10"].difference == pytest.approx(-0.375)


def test_a_reference_that_fits_no_run_is_refused(three: list[RunRecord]) -> None:
    with pytest.raises(DataError, match="reference=bert fits no run; it may be popularity, lstm, item_knn"):
        compare(three, reference="bert")


def test_a_reference_that_fits_several_runs_is_refused(tmp_path: Path) -> None:
    records = [write_run(tmp_path / str(seed), "lstm", seed=seed) for seed in (0, 1)]
    with pytest.raises(DataError, match=r"reference=lstm fits several runs; it may be lstm \(seed=0\)"):
        compare(records, reference="lstm")


def test_one_run_alone_is_shown_without_tests(tmp_path: Path) -> None:
    comparison = compare([write_run(tmp_path / "run", columns=HIGH)])
    figure = comparison.runs[0].figures["ndcg@10"]
    assert comparison.n_tests == 0
    assert (figure.value, figure.best, figure.p_value) == (0.5, False, None)


def test_metrics_at_the_middle_cutoff_are_compared(tmp_path: Path) -> None:
    columns = {f"{metric}@{k}": [0.5, 0.5] for metric in ("hr", "ndcg") for k in (20, 5, 10)}
    comparison = compare([write_run(tmp_path / "run", columns=columns)])
    assert comparison.metrics == ("hr@10", "ndcg@10")
    assert comparison.primary == "ndcg@10"
    assert comparison.families == ["hr", "ndcg"]
    assert len(comparison.all_metrics) == 6


def test_the_metrics_asked_for_are_compared(three: list[RunRecord]) -> None:
    comparison = compare(three, metrics=["hr@10", "hr@10"])
    assert comparison.metrics == ("hr@10",)
    assert comparison.primary == "hr@10"
    assert comparison.n_tests == 2
    assert comparison.runs[1].figures["ndcg@10"].p_value is None


def test_a_metric_that_the_runs_do_not_share_is_refused(three: list[RunRecord]) -> None:
    with pytest.raises(DataError, match="do not share a metric 'ndgc@10' for each query, only hr@10, ndcg@10"):
        compare(three, metrics=["ndgc@10"])
    with pytest.raises(DataError, match="metrics is empty; name at least one of hr@10, ndcg@10"):
        compare(three, metrics=[])


def test_only_metrics_of_all_the_runs_are_compared(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", "a", columns={"hr@10": [1.0], "mrr@10": [1.0]}),
        write_run(tmp_path / "b", "b", columns={"hr@10": [1.0], "map@10": [1.0]}),
    ]
    assert compare(records).metrics == ("hr@10",)
    with pytest.raises(DataError, match="'mrr@10'"):
        compare(records, metrics=["mrr@10"])


def test_runs_without_a_common_metric_are_refused(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", "a", columns={"hr@10": [1.0]}),
        write_run(tmp_path / "b", "b", columns={"hr@20": [1.0]}),
    ]
    with pytest.raises(DataError, match="share no metric at a cutoff"):
        compare(records)


def test_queries_are_matched_by_their_row_not_by_their_order(tmp_path: Path) -> None:
    records = [write_run(tmp_path / name, name, columns=LOW) for name in ("a", "b")]
    path = tmp_path / "b" / "per_query" / "test.parquet"
    records[1].per_query("test").sort_values("query", ascending=False).to_parquet(path, index=False)
    assert compare(records).runs[1].figures["hr@10"].difference_interval == (0.0, 0.0)


def test_queries_of_other_users_are_refused(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", "a", users=[0, 1, 2, 3]),
        write_run(tmp_path / "b", "b", users=[0, 1, 3, 2]),
    ]
    with pytest.raises(DataError, match=r"b and .*a are not of the same queries: the column 'user' differs"):
        compare(records)


def test_users_are_counted_once_and_unknown_ones_each(tmp_path: Path) -> None:
    comparison = compare([write_run(tmp_path / "run", users=[4, 4, -1, -1])])
    assert (comparison.n_queries, comparison.n_users, comparison.n_targets) == (4, 3, 8)


def test_the_share_of_cold_targets_is_told(three: list[RunRecord]) -> None:
    comparison = compare(three)
    assert (comparison.cold_target_share, comparison.masked_target_share) == (0.25, None)


def test_a_comparison_is_complete_json(three: list[RunRecord]) -> None:
    told = json.loads(json.dumps(compare(three).to_json(), allow_nan=False))
    assert told["reference"] == "popularity"
    assert told["runs"][1]["figures"]["ndcg@10"]["difference"] == pytest.approx(0.375)
    assert told["runs"][1]["metrics"]["validation/ndcg@10"] == 0.3
    assert told["runs"][0]["folder"] == str(three[0].folder)
    assert told["data"]["fingerprint"] == "d" * 64
    assert (told["n_queries"], told["n_targets"], told["cold_target_share"]) == (40, 80, 0.25)


def test_the_same_seed_gives_the_same_comparison(three: list[RunRecord]) -> None:
    assert compare(three, seed=5) == compare(three, seed=5)


def test_no_run_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="there is no run to compare"):
        compare([])


def test_a_run_given_twice_is_refused(three: list[RunRecord]) -> None:
    with pytest.raises(DataError, match=r"low is the same run as .*low; give each run once"):
        compare([three[0], three[0]])


def test_a_copy_of_a_run_is_the_same_run(three: list[RunRecord], tmp_path: Path) -> None:
    shutil.copytree(three[0].folder, tmp_path / "copy")
    with pytest.raises(DataError, match=r"copy is the same run as .*low"):
        compare([three[0], RunRecord.open(tmp_path / "copy")])


def test_every_difference_is_named_run_by_run_with_both_values(tmp_path: Path) -> None:
    unseen = Ingredient("unseen", "a" * 64, {**PROTOCOL.settings, "exclude_history": True})
    records = [
        write_run(tmp_path / "first"),
        write_run(tmp_path / "second", protocol=unseen, data=Ingredient("tmall", "b" * 64, {"users": 9})),
        write_run(tmp_path / "third", metric_version=2, split=Ingredient("temporal", "c" * 64)),
    ]
    with pytest.raises(DataError) as refused:
        compare(records)
    assert str(refused.value).splitlines() == [
        f"these runs cannot be compared with {tmp_path / 'first'}, since their figures do not mean the same:",
        f"  {tmp_path / 'second'}: data is tmall (fingerprint bbbbbbbb, users=9), not shop (fingerprint dddddddd, "
        "users=100, items=50)",
        f"  {tmp_path / 'second'}: protocol is unseen (fingerprint aaaaaaaa, exclude_history=True), not full "
        "(fingerprint eeeeeeee, exclude_history=False)",
        f"  {tmp_path / 'third'}: split is temporal (fingerprint cccccccc), not temporal (fingerprint 55555555, "
        "test_fraction=0.1)",
        f"  {tmp_path / 'third'}: metric version is 2, not 1",
        "Train them on the same data and split, or evaluate them again under one protocol.",
    ]


def test_another_name_for_the_same_data_is_no_difference(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", "a", data=Ingredient("shop", "d" * 64)),
        write_run(tmp_path / "b", "b", data=Ingredient("csv", "d" * 64)),
    ]
    assert len(compare(records).runs) == 2


def test_the_best_is_chosen_by_validation_not_by_test(tmp_path: Path) -> None:
    good_on_test = write_run(tmp_path / "a", "lstm", columns=HIGH, validation=0.1, seed=0)
    good_on_validation = write_run(tmp_path / "b", "lstm", columns=LOW, validation=0.2, seed=1)
    for metric in ("ndcg@10", "validation/ndcg@10"):
        assert best_by_validation([good_on_test, good_on_validation], metric) is good_on_validation


def test_of_equals_the_first_is_the_best(tmp_path: Path) -> None:
    records = [write_run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    assert best_by_validation(records, "ndcg@10") is records[0]


def test_the_best_of_runs_that_may_not_be_compared_is_refused(tmp_path: Path) -> None:
    records = [write_run(tmp_path / "a"), write_run(tmp_path / "b", metric_version=2)]
    with pytest.raises(DataError, match="metric version is 2, not 1"):
        best_by_validation(records, "ndcg@10")


def test_a_validation_metric_that_a_run_lacks_is_named(tmp_path: Path) -> None:
    record = write_run(tmp_path / "run")
    with pytest.raises(DataError, match=r"run has no metric validation/hr@10; it has validation/ndcg@10"):
        validation_metric(record, "hr@10")


def test_a_difference_has_an_effect_size_and_what_could_have_been_seen(three: list[RunRecord]) -> None:
    figure = compare(three).runs[1].figures["ndcg@10"]
    differences = np.array(HIGH["ndcg@10"]) - np.array(LOW["ndcg@10"])
    assert figure.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert figure.detectable == pytest.approx((1.959964 + 0.841621) * differences.std(ddof=1) / 40**0.5)


def test_p_values_may_be_those_of_the_bootstrap_test(three: list[RunRecord]) -> None:
    comparison = compare(three, test="bootstrap", metrics=["ndcg@10"])
    expected = paired_test(
        np.array(HIGH["ndcg@10"]),
        np.array(LOW["ndcg@10"]),
        np.arange(40),
        seed=0,
        method="bootstrap",
        n_bootstrap=200,
    )
    assert comparison.test == "bootstrap"
    assert comparison.runs[1].figures["ndcg@10"].p_value == pytest.approx(expected.p_value)


def test_only_the_usual_metrics_are_tested_unless_others_are_asked_for(tmp_path: Path) -> None:
    columns = {**LOW, "rbp@10": LOW["hr@10"], "popularity@10": LOW["hr@10"]}
    runs = [write_run(tmp_path / name, name, columns=columns) for name in ("a", "b")]
    assert compare(runs).metrics == ("hr@10", "ndcg@10")
    assert compare(runs, metrics=["rbp@10"]).metrics == ("rbp@10",)


def test_the_best_is_the_lowest_where_less_is_better_and_nobody_where_neither_is(tmp_path: Path) -> None:
    names = ("ndcg@10", "miscalibration@10", "popularity@10")
    low, high = ({name: [value] * 4 for name in names} for value in (0.1, 0.9))
    runs = [write_run(tmp_path / name, name, columns=one) for name, one in (("a", low), ("b", high))]
    a, b = compare(runs, metrics=["ndcg@10"]).runs
    assert [(a.figures[name].best, b.figures[name].best) for name in names] == [
        (False, True),
        (True, False),
        (False, False),
    ]


def test_a_run_tells_how_many_settings_were_tried_and_an_untuned_one_tells_one(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, name) for name in ("tuned", "untuned")]
    runs[0].write_trials(20)
    assert [run.trials for run in compare(runs).runs] == [20, 1]


def test_auc_has_no_cutoff_and_is_compared_beside_a_metric_that_has_one(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, name, columns={**LOW, "auc": LOW["hr@10"]}) for name in ("a", "b")]
    comparison = compare(runs, metrics=["auc", "hr@10"])
    assert comparison.primary == "hr@10"
    assert comparison.runs[1].figures["auc"].difference == 0
    with pytest.raises(DataError, match="metrics: name at least one at a cutoff: hr@10, ndcg@10"):
        compare(runs, metrics=["auc"])


def test_where_less_is_better_the_lowest_comes_first(tmp_path: Path) -> None:
    low, high = ({"gini@10": [value] * 4} for value in (0.1, 0.9))
    runs = [write_run(tmp_path / name, name, columns=one) for name, one in (("high", high), ("low", low))]
    assert [run.label for run in compare(runs).sorted_runs] == ["low", "high"]
