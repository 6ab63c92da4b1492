from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recdl.data.queries import Candidates, Queries, QuerySet
from recdl.errors import ConfigError
from recdl.evaluation.protocol import SampledCandidates
from recdl.evaluation.sampling import sample_candidates, sampled_warning


def _query_set(targets: list[list[int]], histories: list[list[int]]) -> QuerySet:
    offsets = np.cumsum([0, *map(len, targets)]).astype(np.int64)
    items = np.array([item for row in targets for item in row], np.int32)
    return QuerySet(Queries.anonymous(histories), offsets, items)


def _drawn(query_set: QuerySet, sampled: SampledCandidates, **changes: Any) -> list[list[int]]:
    n_items = 20
    known = {
        "candidates": np.ones(n_items, np.bool_),
        "item_events": np.arange(n_items, dtype=np.int64),
        "exclude_history": False,
    }
    found = sample_candidates(query_set, sampled, **(known | changes))
    return [found.take(np.array([row])).items.tolist() for row in range(len(query_set))]


@settings(deadline=None)
@given(st.integers(1, 25), st.sampled_from(["uniform", "popularity"]), st.integers(0, 99), st.booleans())
def test_a_query_ranks_its_targets_and_n_others_that_may_be_recommended_each_once(
    n: int, by: str, seed: int, exclude_history: bool
) -> None:
    candidates = np.ones(20, np.bool_)
    candidates[[4, 5]] = False
    query_set = _query_set([[0, 7], [-1, 4]], [[1, 2, 1], [3]])
    drawn = _drawn(
        query_set,
        SampledCandidates(n, by, seed),  # type: ignore[arg-type]
        candidates=candidates,
        exclude_history=exclude_history,
    )
    for items, own, history in zip(drawn, [{0, 7}, {4}], [{1, 2}, {3}], strict=True):
        others = set(items) - own
        assert items == sorted(set(items)) and own <= set(items)
        allowed = set(range(20)) - {4, 5} - own - (history if exclude_history else set())
        assert others <= allowed
        assert len(others) == min(n, len(allowed))


def test_an_even_draw_takes_every_item_as_often() -> None:
    n_queries = 2000
    drawn = _drawn(_query_set([[0]] * n_queries, [[]] * n_queries), SampledCandidates(4))
    counts = np.bincount([item for row in drawn for item in row], minlength=20)[1:]
    # Without replacement the counts vary less than the test expects, never more.
    assert stats.chisquare(counts).pvalue > 1e-6


def test_a_draw_by_popularity_takes_items_by_their_events() -> None:
    n_queries = 4000
    drawn = _drawn(_query_set([[0]] * n_queries, [[]] * n_queries), SampledCandidates(1, "popularity"))
    counts = np.bincount([item for row in drawn for item in row], minlength=20)[1:]
    expected = np.arange(1, 20) / np.arange(1, 20).sum() * n_queries
    assert stats.chisquare(counts, expected).pvalue > 1e-6


def test_the_seed_decides_the_draw() -> None:
    query_set = _query_set([[0]], [[]])
    once, again, other = (_drawn(query_set, SampledCandidates(5, seed=seed)) for seed in (0, 0, 1))
    assert once == again != other


def test_candidates_from_a_file_are_not_drawn_again() -> None:
    given_ones = Candidates(np.array([0, 1]), np.array([0], np.int32))
    query_set = replace(_query_set([[0]], [[]]), candidates=given_ones)
    with pytest.raises(ConfigError, match="the split gives each query its candidates in a file"):
        _drawn(query_set, SampledCandidates(5))


@pytest.mark.parametrize(("by", "words"), [("uniform", "drawn evenly"), ("popularity", "drawn by popularity")])
def test_the_warning_says_how_many_are_drawn_and_how_and_that_it_matters(by: Any, words: str) -> None:
    warning = sampled_warning(SampledCandidates(99, by))
    assert f"among 99 items {words}" in warning and "order models differently (Krichene" in warning
