import numpy as np
import pytest

from recdl.evaluation.exposure import popularity_bias
from tests.evaluation.backgrounds import background


def test_places_are_shared_among_groups_of_items() -> None:
    lists = {"a": np.array([[0, 1], [0, 3], [0, 5], [0, -1]], np.int32)}
    bias = popularity_bias(lists, 2, background())
    assert bias is not None
    assert bias.runs["a"].shares == pytest.approx({"unseen": 1 / 7, "head": 4 / 7, "middle": 1 / 7, "tail": 1 / 7})
    assert bias.log.shares == pytest.approx({"unseen": 0, "head": 0.5, "middle": 0.4, "tail": 0.1})
    assert bias.targets.shares == pytest.approx({"unseen": 0.2, "head": 0.2, "middle": 0.4, "tail": 0.2})
    assert (bias.runs["a"].n_items, bias.targets.n_items) == (4, 5)


def test_only_the_places_up_to_the_cutoff_count() -> None:
    bias = popularity_bias({"a": np.array([[0, 1], [0, 1]], np.int32)}, 1, background())
    assert bias is not None and bias.runs["a"].shares["head"] == 1


def test_the_curve_sums_the_places_of_the_most_popular_items() -> None:
    bias = popularity_bias({"a": np.array([[0, 1], [0, 3]], np.int32)}, 2, background())
    assert bias is not None
    heights = [y for _, y in bias.runs["a"].curve]
    assert heights == pytest.approx([0, 0.5, 0.75, 0.75, 1.0, 1.0, 1.0])
    assert [x for x, _ in bias.runs["a"].curve] == pytest.approx([n / 6 for n in range(7)])


def test_the_median_rank_is_where_half_of_the_places_are_taken() -> None:
    bias = popularity_bias({"a": np.array([[0], [1], [3]], np.int32)}, 1, background())
    assert bias is not None
    assert bias.runs["a"].median_rank == 2


def test_a_run_that_recommends_nothing_has_no_exposure() -> None:
    bias = popularity_bias({"a": np.full((4, 1), -1, np.int32)}, 1, background())
    assert bias is not None and bias.runs == {}
