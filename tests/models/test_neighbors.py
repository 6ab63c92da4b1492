"""Item and user neighbours against worked examples and brute-force twins."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.neighbors import ItemKNN, UserKNN
from recdl.models.protocol import RankingTask
from tests.logs import log_of_items

N_ITEMS = 7
HISTORIES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=8), min_size=1, max_size=9).filter(any)


@pytest.fixture
def three_users() -> Interactions:
    """R = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]: users 1 and 3 are equal, user 2 shares nothing with them."""
    return log_of_items([[1], [0, 2], [1]], n_items=3)


def binary(histories: list[list[int]]) -> npt.NDArray[np.float64]:
    matrix = np.zeros((len(histories), N_ITEMS))
    for row, items in enumerate(histories):
        matrix[row, items] = 1
    return matrix


def cosine(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], shrinkage: float) -> float:
    shared = float(a @ b)
    return shared / (np.sqrt(a.sum() * b.sum()) + shrinkage) if shared else 0.0


def k_best(similarities: list[float], k: int, left_out: int) -> npt.NDArray[np.float64]:
    """Keep the k highest, the first of equals; the twin of the packed keys."""
    order = sorted(range(len(similarities)), key=lambda index: (-np.float32(similarities[index]), index))
    kept = [index for index in order if index != left_out and similarities[index] > 0][:k]
    row = np.zeros(len(similarities))
    row[kept] = np.float32([similarities[index] for index in kept])
    return row


def test_users_who_share_nothing_have_cosine_0_and_equal_users_1(three_users: Interactions) -> None:
    similarities = UserKNN(k=3).fit(three_users).similarities(Queries.at_end(three_users)).toarray()
    assert similarities.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_a_user_gets_no_score_for_the_items_of_a_user_who_shares_nothing(three_users: Interactions) -> None:
    scores = UserKNN(k=3).fit(three_users).score(Queries.at_end(three_users))
    # Users 1 and 3 get item 2 from each other and nothing from user 2. Sorting users by similarity and printing
    # them as items, as a much-copied tutorial does, would put item 3 first for user 1.
    assert scores.tolist() == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_a_score_is_the_sum_of_the_similarities_of_the_neighbors_who_touched_the_item() -> None:
    log = log_of_items([[0, 1], [0, 2], [0, 1, 2, 3]], n_items=4)
    scores = UserKNN(k=2).fit(log).score(Queries.at_end(log)[:1])
    half, root = 1 / 2, 2 / np.sqrt(8)  # cosines of user 0 with users 1 and 2
    np.testing.assert_allclose(scores, [[half + root, root, half + root, root]], rtol=1e-6)


@given(HISTORIES, HISTORIES, st.integers(1, 4), st.sampled_from([0.0, 1.5]))
def test_user_scores_equal_a_brute_force_twin(
    train: list[list[int]], asked: list[list[int]], k: int, shrinkage: float
) -> None:
    model = UserKNN(k=k, shrinkage=shrinkage).fit(log_of_items(train, n_items=N_ITEMS))
    R, Q = binary(train), binary(asked)
    similarity = np.array([k_best([cosine(q, r, shrinkage) for r in R], k, left_out=-1) for q in Q])
    np.testing.assert_allclose(model.score(Queries.anonymous(asked)), similarity @ R, rtol=1e-6)


def test_the_querying_user_is_no_neighbor_of_itself_even_with_a_longer_history() -> None:
    log = log_of_items([[0, 1], [2]], n_items=3)
    model = UserKNN(k=1).fit(log)
    later = log_of_items([[0, 1, 2], [2]], n_items=3)
    assert model.score(Queries.at_end(later)[:1]).tolist() == [[0, 0, pytest.approx(1 / np.sqrt(3))]]


def test_an_unknown_visitor_with_a_known_users_history_has_that_user_as_neighbor() -> None:
    log = log_of_items([[0, 1], [2]], n_items=3)
    assert UserKNN(k=1).fit(log).score(Queries.anonymous([[0, 1]])).tolist() == [[1, 1, 0]]


def test_of_equally_similar_users_the_first_are_neighbors() -> None:
    log = log_of_items([[0, 1], [0, 2], [0, 3]], n_items=4)
    similarities = UserKNN(k=2).fit(log).similarities(Queries.anonymous([[0]]))
    assert similarities.indices.tolist() == [0, 1]


def test_leaving_the_user_out_does_not_cost_a_neighbor() -> None:
    log = log_of_items([[0], [0], [0, 1]], n_items=2)
    similarities = UserKNN(k=2).fit(log).similarities(Queries.at_end(log)[:1])
    assert similarities.indices.tolist() == [1, 2]


@given(HISTORIES, HISTORIES, st.integers(1, 4), st.sampled_from([0.0, 1.5]))
def test_item_scores_equal_a_brute_force_twin(
    train: list[list[int]], asked: list[list[int]], k: int, shrinkage: float
) -> None:
    model = ItemKNN(k=k, shrinkage=shrinkage).fit(log_of_items(train, n_items=N_ITEMS))
    columns = binary(train).T
    similarity = np.array(
        [k_best([cosine(a, b, shrinkage) for b in columns], k, left_out=j) for j, a in enumerate(columns)]
    )
    np.testing.assert_allclose(model.similarity_.toarray(), similarity, rtol=1e-6)
    np.testing.assert_allclose(model.score(Queries.anonymous(asked)), binary(asked) @ similarity, rtol=1e-6)


def test_item_similarity_is_the_cosine_of_the_users_worked_by_hand() -> None:
    log = log_of_items([[0, 1], [0, 1], [0, 2], [2]], n_items=3)
    similarity = ItemKNN(k=2).fit(log).similarity_.toarray()
    a, b = 2 / np.sqrt(3 * 2), 1 / np.sqrt(3 * 2)
    np.testing.assert_allclose(similarity, [[0, a, b], [a, 0, 0], [b, 0, 0]], rtol=1e-6)


def test_shrinkage_is_added_to_the_denominator() -> None:
    log = log_of_items([[0, 1], [0, 1]], n_items=2)
    assert ItemKNN(shrinkage=2.0).fit(log).similarity_.toarray().tolist() == [[0, 0.5], [0.5, 0]]


def test_an_item_is_no_neighbor_of_itself() -> None:
    log = log_of_items([[0, 1], [0]], n_items=2)
    assert ItemKNN(k=2).fit(log).similarity_.diagonal().tolist() == [0, 0]


def test_an_item_that_comes_twice_in_a_history_counts_once() -> None:
    model = ItemKNN().fit(log_of_items([[0, 1], [0, 1]], n_items=2))
    assert model.score(Queries.anonymous([[0, 0]])).tolist() == [[0, 1]]


def test_items_of_an_empty_history_score_0() -> None:
    model = ItemKNN().fit(log_of_items([[0, 1]], n_items=2))
    assert model.score(Queries.anonymous([[]])).tolist() == [[0, 0]]


@pytest.mark.parametrize("model_class", [ItemKNN, UserKNN])
def test_neighbors_know_two_tastes_apart(
    model_class: type[ItemKNN | UserKNN], two_tastes: tuple[Interactions, RankingTask]
) -> None:
    train, task = two_tastes
    scores = model_class(k=100).fit(train).score(task.query_set.queries)
    own = np.arange(16) // 8 == (np.arange(40) % 2)[:, None]
    assert (scores[own] > 0).all()
    assert (scores[~own] == 0).all()


@pytest.mark.parametrize("model_class", [ItemKNN, UserKNN])
def test_results_do_not_depend_on_the_number_of_threads(
    model_class: type[ItemKNN | UserKNN], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    log = log_of_items([rng.integers(0, 20, 6).tolist() for _ in range(30)], n_items=20)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    whole = model_class(k=3).fit(log).score(Queries.at_end(log))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    np.testing.assert_array_equal(model_class(k=3).fit(log).score(Queries.at_end(log)), whole)


@pytest.mark.parametrize("model_class", [ItemKNN, UserKNN])
def test_no_queries_get_no_scores(model_class: type[ItemKNN | UserKNN]) -> None:
    model = model_class().fit(log_of_items([[0, 1]], n_items=2))
    assert model.score(Queries.anonymous([])).shape == (0, 2)


@pytest.mark.parametrize("model_class", [ItemKNN, UserKNN])
def test_a_model_that_found_no_neighbors_can_be_restored(model_class: type[ItemKNN | UserKNN]) -> None:
    model = model_class().fit(log_of_items([[0], [1]], n_items=2))
    restored = model_class().set_state(model.get_state())
    assert restored.score(Queries.anonymous([[0]])).shape == (1, 2)


@pytest.mark.parametrize("model_class", [ItemKNN, UserKNN])
def test_a_history_item_outside_the_catalogue_is_refused(model_class: type[ItemKNN | UserKNN]) -> None:
    model = model_class().fit(log_of_items([[0, 1]], n_items=2))
    with pytest.raises(DataError, match="item index 5, but the model was fitted on 2 items"):
        model.score(Queries.anonymous([[5]]))


@pytest.mark.parametrize("model_class", [ItemKNN, UserKNN])
def test_settings_that_make_no_neighborhood_are_refused(model_class: type[ItemKNN | UserKNN]) -> None:
    with pytest.raises(ConfigError, match=r"model\.k must be at least 1, but is 0"):
        model_class(k=0)
    with pytest.raises(ConfigError, match=r"model\.shrinkage must be 0 or more, and finite, but is -1"):
        model_class(shrinkage=-1)


@pytest.mark.parametrize("model_class", [ItemKNN, UserKNN])
def test_a_state_without_its_arrays_is_refused(model_class: type[ItemKNN | UserKNN]) -> None:
    with pytest.raises(RecordError, match="flat array 'offsets'"):
        model_class().set_state({})


@pytest.mark.parametrize("model_class", [ItemKNN, UserKNN])
@pytest.mark.parametrize(
    ("offsets", "indices"), [([0, 5], [0, 1]), ([0, 2], [0, 9]), ([1, 2], [0, 1]), ([0, 3, 2], [0, 1]), ([], [0])]
)
def test_a_state_whose_arrays_do_not_fit_each_other_is_refused(
    model_class: type[ItemKNN | UserKNN], offsets: list[int], indices: list[int]
) -> None:
    state = {
        "offsets": np.array(offsets, np.int32),
        "indices": np.array(indices, np.int32),
        "similarities": np.ones(2, np.float32),
        "weights": np.ones(2, np.float32),
        "behavior_weights": np.ones(1),
        "n_items": np.array([2]),
    }
    with pytest.raises(RecordError, match="do not fit each other"):
        model_class().set_state(state)


def test_a_user_state_without_the_number_of_items_is_refused() -> None:
    state = {name: np.empty(0, np.int64) for name in ("offsets", "indices", "n_items")}
    with pytest.raises(RecordError, match="empty 'n_items'"):
        UserKNN().set_state(state)
