import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.queries import Candidates, Queries, QuerySet
from recdl.errors import RecordError
from recdl.models.given import GivenLists, state_of
from recdl.models.protocol import Listed, ListedItems, RankingTask, Recommender
from recdl.models.ranking import rank, recommend
from tests.evaluation.backgrounds import background

N_ITEMS = 6
ALL = np.ones(N_ITEMS, np.bool_)


def lists_of(*lists: list[tuple[int, int]]) -> GivenLists:
    """Users 0, 1, ... with lists of (item, place)."""
    flat = [entry for one in lists for entry in one]
    offsets = np.cumsum([0, *map(len, lists)])
    items, places = (np.array([entry[part] for entry in flat], np.int32) for part in (0, 1))
    users = np.arange(len(lists), dtype=np.int32)
    return GivenLists().set_state(state_of(users, ListedItems(offsets, items, places), N_ITEMS))


def asked(targets: list[list[int]], histories: list[list[int]] | None = None) -> QuerySet:
    visitors = Queries.anonymous(histories or [[] for _ in targets])
    queries = Queries(
        np.arange(len(targets), dtype=np.int32),
        visitors.starts,
        visitors.ends,
        visitors.items,
        visitors.behaviors,
        visitors.timestamps,
    )
    offsets = np.cumsum([0, *map(len, targets)])
    return QuerySet(queries, offsets, np.array([item for one in targets for item in one], np.int32))


def test_given_lists_are_a_recommender_that_lists() -> None:
    model = lists_of([(0, 0)])
    assert isinstance(model, Recommender) and isinstance(model, Listed)


def test_targets_rank_as_listed_and_others_are_misses() -> None:
    model = lists_of([(3, 0), (1, 1), (0, 2)], [(5, 0)])
    ranking = rank(model, RankingTask(asked([[0, 3], [2]]), ALL, False), k=4)
    assert ranking.ranks.tolist() == [3, 1, np.inf]
    assert ranking.lists.tolist() == [[3, 1, 0, -1], [5, -1, -1, -1]]


def test_a_user_without_a_list_gets_nothing() -> None:
    ranking = rank(lists_of([(3, 0)]), RankingTask(asked([[3], [3]]), ALL, False), k=2)
    assert ranking.ranks.tolist() == [1, np.inf]
    assert ranking.lists[1].tolist() == [-1, -1]


def test_ties_get_their_expected_rank() -> None:
    model = lists_of([(3, 0), (1, 1), (0, 1), (4, 1), (2, 2)])
    ranking = rank(model, RankingTask(asked([[0, 2]]), ALL, False), k=5)
    assert ranking.ranks.tolist() == [3, 5]  # one of three at the ranks 2, 3 and 4
    assert ranking.lists.tolist() == [[3, 0, 1, 4, 2]]


def test_what_is_in_the_history_is_taken_out_and_the_rest_moves_up() -> None:
    model = lists_of([(3, 0), (1, 1), (0, 2)])
    ranking = rank(model, RankingTask(asked([[0, 3]], [[3, 5]]), ALL, True), k=3)
    assert ranking.ranks.tolist() == [2, np.inf]
    assert ranking.lists.tolist() == [[1, 0, -1]]


def test_what_is_no_candidate_or_unknown_keeps_its_place_and_is_a_miss() -> None:
    model = lists_of([(-1, 0), (3, 1), (-1, 2), (0, 3)])
    allowed = ALL.copy()
    allowed[3] = False
    ranking = rank(model, RankingTask(asked([[0, 3]]), allowed, False), k=4)
    assert ranking.ranks.tolist() == [4, np.inf]
    assert ranking.lists.tolist() == [[-1, -1, -1, 0]]


def test_among_given_candidates_only_these_are_ranked() -> None:
    model = lists_of([(3, 0), (1, 1), (-1, 2), (0, 3)])
    query_set = asked([[0]])
    given_items = Candidates(np.array([0, 2], np.int64), np.array([0, 3], np.int32))
    query_set = QuerySet(
        query_set.queries, query_set.target_offsets, query_set.target_items, candidates=given_items
    )
    ranking = rank(model, RankingTask(query_set, ALL, False), k=2)
    assert ranking.ranks.tolist() == [2]
    assert ranking.lists.tolist() == [[3, 0]]


def test_lists_are_recommended_as_they_are() -> None:
    model = lists_of([(3, 0), (1, 1)])
    items, scores = recommend(model, asked([[0]]).queries, k=3, candidates=ALL, exclude_history=False)
    assert items.tolist() == [[3, 1, -1]]
    assert scores[0, :2].tolist() == [0, -1] and np.isnan(scores[0, 2])


def test_scores_put_what_is_listed_first_in_its_order() -> None:
    scores = lists_of([(3, 0), (1, 1), (-1, 2)], []).score(asked([[0], [0]]).queries)
    assert scores.dtype == np.float32 and scores.shape == (2, N_ITEMS)
    assert np.argsort(-scores[0], kind="stable")[:2].tolist() == [3, 1]
    assert len(set(scores[1])) == 1


def test_a_state_that_lacks_an_array_is_refused() -> None:
    state = dict(lists_of([(3, 0)]).get_state())
    del state["places"]
    with pytest.raises(RecordError, match="no array 'places'"):
        GivenLists().set_state(state)


@given(
    scores=st.lists(st.lists(st.integers(0, 3), min_size=N_ITEMS, max_size=N_ITEMS), min_size=1, max_size=4),
    exclude=st.booleans(),
)
def test_a_list_of_all_items_is_ranked_as_their_scores_are(scores: list[list[int]], exclude: bool) -> None:
    class Scorer:
        def score(self, queries: Queries) -> npt.NDArray[np.float32]:
            return np.array(scores, np.float32)[queries.users]

    listed = lists_of(*[sorted(enumerate(-s for s in row), key=lambda one: one[1]) for row in scores])
    shifted = listed.lists_._replace(places=listed.lists_.places - listed.lists_.places.min())
    listed = GivenLists().set_state(state_of(listed.users_, shifted, N_ITEMS))
    task = RankingTask(asked([[0, 4]] * len(scores), [[4, 2]] * len(scores)), ALL, exclude)
    one, other = rank(listed, task, k=3), rank(Scorer(), task, k=3)  # type: ignore[arg-type]
    assert one.ranks.tolist() == other.ranks.tolist()
    assert one.lists.tolist() == other.lists.tolist()


def test_the_queries_of_a_user_all_get_the_users_list() -> None:
    known = background().query_set
    model = lists_of([(0, 0)])
    twice = known.take(np.array([0, 0, 3]))
    offsets, items, _ = model.lists(twice.queries)
    assert (offsets.tolist(), items.tolist()) == ([0, 1, 2, 2], [0, 0])
