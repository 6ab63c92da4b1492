import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data.queries import Candidates
from recdl.errors import DataError
from recdl.models.protocol import RankingTask
from recdl.models.ranking import Ranking, count_ranked, rank, recommend
from tests.models.ranked import Given, Table, query_set, task_of


def test_a_target_has_the_rank_of_its_score_among_all_candidates() -> None:
    ranking = rank(Table([[0.1, 0.9, 0.5, -2], [4, 3, 2, 1]]), task_of([[2, 3], [0]], 4), k=2)
    assert ranking.ranks.tolist() == [2, 4, 1]
    assert ranking.lists.tolist() == [[1, 2], [0, 1]]
    assert ranking.ranks.dtype == np.float64 and ranking.lists.dtype == np.int32


def _among(task: RankingTask, given: Sequence[Sequence[int]]) -> RankingTask:
    offsets = np.cumsum([0, *map(len, given)]).astype(np.int64)
    items = np.array([item for row in given for item in row], np.int32)
    return replace(task, query_set=replace(task.query_set, candidates=Candidates(offsets, items)))


def test_a_query_with_candidates_of_its_own_ranks_these_alone() -> None:
    scores = Table([[0.1, 0.9, 0.5, -2], [4, 3, 2, 1]])
    ranking = rank(scores, _among(task_of([[2], [3]], 4), [[0, 2], [1, 2, 3]]), k=3)
    assert ranking.ranks.tolist() == [1, 3]
    assert ranking.lists.tolist() == [[2, 0, -1], [1, 2, 3]]


def test_a_target_that_is_no_candidate_of_its_query_or_unknown_is_not_ranked() -> None:
    scores = Table([[4, 3, 2, 1], [4, 3, 2, 9]])
    ranking = rank(scores, _among(task_of([[0], [-1, 1]], 4), [[1, 2], [0, 1]]), k=1)
    assert ranking.ranks.tolist() == [math.inf, math.inf, 2]
    assert ranking.lists.tolist() == [[1], [0]]


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.sets(st.integers(0, 5), min_size=1))
    ),
    st.booleans(),
)
def test_ranks_among_candidates_are_those_of_a_catalogue_of_them_in_chunks_of_any_size(
    rows: list[tuple[list[int], set[int]]], small: bool
) -> None:
    rows = [*rows, ([0, 1, 2, 0, 1, 2], {0, 3})]
    given_items = [sorted(items) for _, items in rows]
    table, targets = [scores for scores, _ in rows], [[items[-1]] for items in given_items]
    task = _among(task_of(targets, 6), given_items)
    ranks = rank(Table(table), task, k=2, memory_budget=1 if small else 1 << 20).ranks
    for scores, items, (target,), found in zip(table, given_items, targets, ranks, strict=True):
        above = sum(scores[item] > scores[target] for item in items)
        equal = sum(scores[item] == scores[target] for item in items)
        assert found == above + (equal + 1) / 2


def test_a_target_tied_with_others_has_the_mean_of_the_places_they_share() -> None:
    # Item 1 is above; items 0, 2 and 3 share places 2, 3 and 4.
    assert rank(Table([[5, 9, 5, 5, 1]]), task_of([[2]], 5), k=1).ranks.tolist() == [3]


def test_targets_that_share_a_tie_have_their_expected_places_in_item_order() -> None:
    # Two targets among five equal items, one item above: 1 + j (5 + 1) / (2 + 1) = 3 and 5. Of all ways to put two
    # among five places, the first stands at 2 on average, the second at 4.
    ranking = rank(Table([[7, 7, 7, 8, 7, 7]]), task_of([[1, 4]], 6), k=1)
    assert ranking.ranks.tolist() == [3, 5]


def test_a_tie_made_of_targets_alone_costs_nothing() -> None:
    assert rank(Table([[1, 2, 2, 0]]), task_of([[1, 2]], 4), k=1).ranks.tolist() == [1, 2]


def test_scoring_all_items_alike_puts_a_target_in_the_middle() -> None:
    assert rank(Table(np.zeros((1, 101))), task_of([[7]], 101), k=10).ranks.tolist() == [51]


def test_zero_and_minus_zero_are_equal_scores() -> None:
    ranking = rank(Table([[-0.0, 0.0, -0.0, 0.0, -1]]), task_of([[0]], 5), k=3)
    assert ranking.ranks.tolist() == [2.5]
    assert ranking.lists.tolist() == [[0, 1, 2]]


def test_equal_scores_are_listed_by_rising_item_also_where_the_list_cuts_them_off() -> None:
    scores = np.zeros((1, 50))
    scores[0, [41, 17]] = 1
    assert rank(Table(scores), task_of([[3]], 50), k=4).lists.tolist() == [[17, 41, 0, 1]]


def test_negative_scores_are_listed_in_their_order_among_ties() -> None:
    scores = [[-3, -1, -2, -1, -2, -2]]
    assert rank(Table(scores), task_of([[3]], 6), k=4).lists.tolist() == [[1, 3, 2, 4]]
    assert rank(Table(scores), task_of([[3]], 6), k=6).lists.tolist() == [[1, 3, 2, 4, 5, 0]]


def test_a_target_that_is_no_candidate_is_a_miss_and_is_never_listed() -> None:
    ranking = rank(Table([[9, 8, 7, 6]]), task_of([[0, 2]], 4, no_candidates=[0]), k=4)
    assert ranking.ranks.tolist() == [np.inf, 2]
    assert ranking.lists.tolist() == [[1, 2, 3, -1]]


def test_an_excluded_history_makes_room_for_the_others_and_a_target_in_it_is_a_miss() -> None:
    histories = [[0, 1, 0], []]
    table = Table([[9, 8, 7, 6], [9, 8, 7, 6]])
    ranking = rank(table, task_of([[1, 2], [2]], 4, histories=histories, exclude_history=True), k=2)
    assert ranking.ranks.tolist() == [np.inf, 1, 3]
    assert ranking.lists.tolist() == [[2, 3], [0, 1]]


def test_a_history_that_is_not_excluded_changes_nothing() -> None:
    ranking = rank(Table([[9, 8, 7, 6]]), task_of([[2]], 4, histories=[[0, 1]]), k=2)
    assert ranking.ranks.tolist() == [3]
    assert ranking.lists.tolist() == [[0, 1]]


def test_lists_longer_than_the_catalogue_are_padded() -> None:
    ranking = rank(Table([[1, 3, 2]]), task_of([[0]], 3), k=5)
    assert ranking.lists.tolist() == [[1, 2, 0, -1, -1]]


def test_the_scores_a_model_keeps_are_not_written_to() -> None:
    row = np.broadcast_to(np.array([3, 2, 1], np.float32), (2, 3))
    task = task_of([[1], [2]], 3, histories=[[0], []], exclude_history=True)
    assert rank(Given(row), task, k=1).lists.tolist() == [[1], [0]]
    assert row[0].tolist() == [3, 2, 1]


@pytest.mark.parametrize("outside", [False, True])
def test_the_scores_a_model_keeps_are_what_they_were_once_it_has_been_ranked(outside: bool) -> None:
    kept = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    kept[0, 3] = -0.0
    before = kept.tobytes()
    histories = [[3, 7, 3, 3], [9, 50] if outside else [9, 4], [1]]
    task = task_of([[0], [1], [2]], 50, histories=histories, no_candidates=[3, 4, 20], exclude_history=True)
    if outside:
        with pytest.raises(DataError, match="a history holds item 50, but the catalogue has 50 items"):
            rank(Given(kept), task, k=4)
    else:
        rank(Given(kept), task, k=4)
    assert kept.tobytes() == before


def test_a_log_that_is_mapped_from_a_file_is_ranked(tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.array([0, 1], np.int32))
    task = task_of([[2]], 4, histories=[[0, 1]], exclude_history=True)
    queries = replace(task.query_set.queries, items=np.load(tmp_path / "items.npy", mmap_mode="r"))
    mapped = replace(task, query_set=replace(task.query_set, queries=queries))
    assert rank(Table([[9, 8, 7, 6]]), mapped, k=2).lists.tolist() == [[2, 3]]
    assert count_ranked(mapped).tolist() == [2]


def test_scores_that_are_a_view_with_falling_strides_are_ranked() -> None:
    table = np.array([[1, 2, 3]], np.float32)[:, ::-1]
    assert rank(Given(table), task_of([[0]], 3), k=3).lists.tolist() == [[0, 1, 2]]


class Case(NamedTuple):
    """A ranking task with many ties, masks and targets, and the scores to do it by."""

    scores: npt.NDArray[np.float32]
    task: RankingTask
    histories: list[list[int]]


def _case(seed: int, *, n_queries: int = 30, n_items: int = 130, n_levels: int = 9) -> Case:
    """Make a case in which some queries have so many targets that their rows are sorted, and most have few."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(-n_levels // 2, n_levels // 2 + 1, (n_queries, n_items)).astype(np.float32)
    sizes = np.where(generator.random(n_queries) < 0.2, generator.integers(30, 90, n_queries), 2)
    sizes = np.minimum(np.where(generator.random(n_queries) < 0.5, 1, sizes), n_items)
    targets = [np.sort(generator.choice(n_items, size, replace=False)).tolist() for size in sizes]
    histories = [generator.integers(0, n_items, generator.integers(0, 9)).tolist() for _ in range(n_queries)]
    out = generator.choice(n_items, n_items // 10, replace=False).tolist()
    exclude_history = bool(generator.integers(2))
    task = task_of(targets, n_items, histories=histories, no_candidates=out, exclude_history=exclude_history)
    return Case(scores, task, histories)


def _twin(case: Case, k: int) -> Ranking:
    """Rank by the definition: one query, one target, one item at a time."""
    n_items = case.scores.shape[1]
    offsets, items = case.task.query_set.target_offsets, case.task.query_set.target_items
    ranks, lists = [], []
    for query, row in enumerate(case.scores.tolist()):
        hidden = set(case.histories[query]) if case.task.exclude_history else set()
        allowed = [item for item in range(n_items) if case.task.candidates[item] and item not in hidden]
        order = sorted(allowed, key=lambda item, row=row: (-row[item], item))  # type: ignore[misc]
        lists.append((order + [-1] * k)[:k])
        targets = items[offsets[query] : offsets[query + 1]].tolist()
        for target in targets:
            if target not in allowed:
                ranks.append(math.inf)
                continue
            above = sum(row[item] > row[target] for item in allowed)
            equal = sum(row[item] == row[target] for item in allowed)
            tied = [other for other in targets if other in allowed and row[other] == row[target]]
            ranks.append(above + (tied.index(target) + 1) * (equal + 1) / (len(tied) + 1))
    return Ranking(np.array(ranks), np.array(lists, np.int32))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("k", [1, 10, 200])
def test_ranks_and_lists_equal_those_of_a_twin_that_sorts_explicitly(seed: int, k: int) -> None:
    case = _case(seed)
    expected = _twin(case, k)
    ranking = rank(Table(case.scores), case.task, k=k)
    assert ranking.ranks.tolist() == expected.ranks.tolist()
    assert ranking.lists.tolist() == expected.lists.tolist()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), memory_budget=st.integers(1, 200_000), n_levels=st.sampled_from([1, 3, 1000])
)
def test_a_chunk_of_any_size_gives_the_same_bits(seed: int, memory_budget: int, n_levels: int) -> None:
    case = _case(seed, n_levels=n_levels)
    whole = rank(Table(case.scores), case.task, k=7)
    parts = rank(Table(case.scores), case.task, k=7, memory_budget=memory_budget)
    assert parts.ranks.tobytes() == whole.ranks.tobytes()
    assert parts.lists.tobytes() == whole.lists.tobytes()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_renumbering_the_items_changes_the_rank_of_no_single_target(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 5, (6, 20)).astype(np.float32)
    targets = generator.integers(0, 20, 6)
    new = generator.permutation(20)
    renumbered = np.empty_like(scores)
    renumbered[:, new] = scores
    before = rank(Table(scores), task_of(targets[:, None].tolist(), 20), k=1).ranks
    after = rank(Table(renumbered), task_of(new[targets][:, None].tolist(), 20), k=1).ranks
    assert before.tolist() == after.tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("among", [False, True])
def test_a_query_ranks_as_many_items_as_its_candidates_without_its_history(seed: int, among: bool) -> None:
    case = _case(seed)
    task = replace(case.task, exclude_history=seed % 2 == 0)
    given_items = [list(range(query, 130, 3)) for query in range(30)]
    expected = [
        sum(
            bool(task.candidates[item]) and not (task.exclude_history and item in history)
            for item in (own if among else range(130))
        )
        for own, history in zip(given_items, case.histories, strict=True)
    ]
    assert count_ranked(_among(task, given_items) if among else task).tolist() == expected


def test_ties_are_ranked_as_breaking_them_at_random_does_on_average() -> None:
    scores = np.array([[2, 1, 1, 1, 1, 1, 0]], np.float32)
    ranks = rank(Table(scores), task_of([[1, 3, 5]], 7), k=1).ranks
    n = 4000
    noise = np.random.default_rng(0).random((n, 7), dtype=np.float32) / 2
    drawn = rank(Table(scores + noise), task_of([[1, 3, 5]] * n, 7), k=1).ranks.reshape(n, 3)
    means = np.sort(drawn, axis=1).mean(axis=0)
    # Places among five have a standard deviation below 2; five standard errors.
    np.testing.assert_allclose(means, ranks, atol=5 * 2 / math.sqrt(n))


def test_a_chunk_holds_no_more_queries_than_the_budget_allows() -> None:
    table = Table(np.zeros((40, 1000)))
    # Two float32 arrays a query, 8,000 bytes of scores, and 320 of a list and a target: five fit in 45,000 bytes.
    rank(table, task_of([[0]] * 40, 1000), k=3, memory_budget=45_000)
    assert table.asked == [5] * 8


def test_a_query_that_does_not_fit_the_budget_is_ranked_alone() -> None:
    table = Table(np.zeros((3, 1000)))
    rank(table, task_of([[0]] * 3, 1000), k=3, memory_budget=1)
    assert table.asked == [1, 1, 1]


def test_long_histories_count_against_the_budget_where_they_are_excluded() -> None:
    # 40 bytes an event: the first query takes 48,320 bytes, so that one other fits with it and not four.
    histories = [list(range(1000))] + [[]] * 4
    for exclude_history, asked in ((False, [5]), (True, [2, 3])):
        table = Table(np.zeros((5, 1000)))
        task = task_of([[0]] * 5, 1000, histories=histories, exclude_history=exclude_history)
        rank(table, task, k=3, memory_budget=60_000)
        assert table.asked == asked


def test_recommending_gives_the_lists_of_ranking_with_their_scores() -> None:
    case = _case(3)
    task = case.task
    items, scores = recommend(
        Table(case.scores),
        task.query_set.queries,
        k=140,
        candidates=task.candidates,
        exclude_history=task.exclude_history,
        memory_budget=20_000,
    )
    assert items.tolist() == rank(Table(case.scores), task, k=140).lists.tolist()
    assert items.dtype == np.int32 and scores.dtype == np.float32
    rows, places = np.nonzero(items >= 0)
    assert scores[rows, places].tolist() == case.scores[rows, items[rows, places]].tolist()
    assert np.isnan(scores[items < 0]).all()


def test_recommending_more_items_than_there_are_pads_items_and_scores() -> None:
    queries = query_set([[0]]).queries
    items, scores = recommend(
        Table([[1, 2]]), queries, k=3, candidates=np.array([False, True]), exclude_history=False
    )
    assert items.tolist() == [[1, -1, -1]]
    np.testing.assert_array_equal(scores, np.array([[2, np.nan, np.nan]], np.float32))
