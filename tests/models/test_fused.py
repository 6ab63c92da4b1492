"""Ranks and lists of models that give the factors of their scores, beside those of their dense scores."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recdl.data.matrix import Sparse
from recdl.data.queries import Candidates, Queries, QuerySet
from recdl.errors import DataError
from recdl.models.ease import EASE
from recdl.models.neighbors import ItemKNN, UserKNN
from recdl.models.protocol import Factored, RankingTask
from recdl.models.ranking import rank, recommend
from recdl.models.walks import RP3Beta
from tests.logs import log_of_items

MODELS = (
    lambda: ItemKNN(k=5),
    lambda: ItemKNN(k=400, similarity="dot"),
    lambda: UserKNN(k=3),
    lambda: RP3Beta(k=4),
    lambda: EASE(l2=0.5, max_neighbors=6),
    lambda: EASE(l2=0.5),
)


class Product:
    """Gives two factors, and their product as its scores."""

    def __init__(self, left: Any, right: Any) -> None:
        self.left = csr_array(np.asarray(left, np.float32))
        dense = np.asarray(right, np.float32)
        self.right: Any = dense

    def factors(self, queries: Queries) -> tuple[Sparse, Any]:
        rows: Any = self.left[queries.users]
        return rows, self.right

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        left, right = self.factors(queries)
        dense = right if isinstance(right, np.ndarray) else right.toarray()
        return np.asarray(left.toarray() @ dense, np.float32)


class SparseProduct(Product):
    """The same, the second one sparse."""

    def __init__(self, left: Any, right: Any) -> None:
        super().__init__(left, right)
        self.right = csr_array(self.right)


class Dense:
    """Hides the factors of another."""

    def __init__(self, model: Any) -> None:
        self.score = model.score


def _case(seed: int, n_items: int) -> tuple[Any, RankingTask]:
    """Return a log of small and large histories, and a task of all its users with masks of both kinds."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(0, 12, 30)
    histories = [generator.zipf(1.5, size) % n_items for size in sizes]
    log = log_of_items([history.tolist() for history in histories], n_items=n_items)
    targets = [np.unique(generator.integers(0, n_items, generator.integers(1, 9))) for _ in sizes]
    offsets = np.cumsum([0, *map(len, targets)]).astype(np.int64)
    query_set = QuerySet(Queries.at_end(log), offsets, np.concatenate(targets).astype(np.int32))
    candidates = generator.random(n_items) < 0.9
    candidates[0] = True
    return log, RankingTask(query_set, candidates, bool(generator.integers(2)))


def _assert_like_dense(model: Any, task: RankingTask, k: int, memory_budget: int = 1 << 20) -> None:
    assert isinstance(model, Factored)
    fused, dense = (rank(one, task, k=k, memory_budget=memory_budget) for one in (model, Dense(model)))
    assert fused.ranks.tobytes() == dense.ranks.tobytes()
    assert fused.lists.tobytes() == dense.lists.tobytes()
    fused_best, dense_best = (
        recommend(
            one,
            task.query_set.queries,
            k=k,
            candidates=task.candidates,
            exclude_history=task.exclude_history,
            memory_budget=memory_budget,
        )
        for one in (model, Dense(model))
    )
    assert fused_best[0].tobytes() == dense_best[0].tobytes()
    np.testing.assert_array_equal(fused_best[1], dense_best[1])


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("n_items", [20, 300])
def test_every_factored_model_is_ranked_as_by_its_dense_scores(make: Any, n_items: int) -> None:
    for seed in range(4):
        log, task = _case(seed, n_items)
        model = make().fit(log)
        for k in (1, 7, 20, 400):
            _assert_like_dense(model, task, k)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.sampled_from([1, 5, 60]),
    density=st.sampled_from([0.01, 0.1, 0.9]),
    memory_budget=st.sampled_from([1, 5_000, 1 << 20]),
)
def test_negative_scores_zeros_and_ties_are_ranked_as_by_dense_scores(
    seed: int, k: int, density: float, memory_budget: int
) -> None:
    _, task = _case(seed, 50)
    generator = np.random.default_rng(seed)
    left = generator.integers(-2, 3, (30, 6)) * (generator.random((30, 6)) < 0.5)
    right = generator.integers(-2, 3, (6, 50)) * (generator.random((6, 50)) < density)
    for kind in (Product, SparseProduct):
        _assert_like_dense(kind(left, right), task, k, memory_budget)


def test_entries_that_cancel_leave_a_score_of_zero_that_is_listed_once() -> None:
    model = SparseProduct([[1, -1, 1]], np.zeros((3, 40)))
    ones = (np.ones(3, np.float32), np.full(3, 7, np.int32), np.arange(4))
    model.right = csr_array(ones, shape=(3, 40))  # item 7 goes to 1, to 0, and to 1 again
    queries = Queries.anonymous([[]])
    queries = Queries(np.zeros(1, np.int32), *(getattr(queries, name) for name in _FIELDS))
    items, scores = recommend(model, queries, k=3, candidates=np.ones(40, np.bool_), exclude_history=False)  # type: ignore[arg-type]
    assert items.tolist() == [[7, 0, 1]]
    assert scores.tolist() == [[1, 0, 0]]


_FIELDS = ("starts", "ends", "items", "behaviors", "timestamps")


@pytest.mark.parametrize("kind", [Product, SparseProduct])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("n_items", [4, 400])
def test_scores_that_are_not_finite_are_an_error_that_names_the_model(
    kind: Any, wrong: float, n_items: int
) -> None:
    log, task = _case(0, n_items)
    right = np.zeros((2, n_items))
    right[1, 2] = wrong
    left = np.zeros((log.n_users, 2))
    left[3, 1] = 1
    with pytest.raises(DataError, match=f"{kind.__name__} gave NaN or infinite scores for 1 of 30 queries"):
        rank(kind(left, right), task, k=2)


def test_factors_of_the_wrong_shape_are_an_error_that_names_the_model() -> None:
    _, task = _case(0, 9)
    with pytest.raises(DataError, match=re.escape("Product gave scores of shape (30, 8) for 30 queries")):
        rank(Product(np.zeros((30, 2)), np.zeros((2, 8))), task, k=2)  # type: ignore[arg-type]


def test_a_history_outside_the_catalogue_is_an_error_where_it_is_excluded() -> None:
    model = Product(np.zeros((1, 2)), np.zeros((2, 4)))
    queries = Queries.anonymous([[5]])
    queries = Queries(np.zeros(1, np.int32), *(getattr(queries, name) for name in _FIELDS))
    with pytest.raises(DataError, match="a history holds item 5, but the catalogue has 4 items"):
        recommend(model, queries, k=2, candidates=np.ones(4, np.bool_), exclude_history=True)  # type: ignore[arg-type]


def test_candidates_that_are_given_and_unknown_targets_are_ranked_as_by_dense_scores() -> None:
    model = SparseProduct(np.eye(2), [[3, 2, 2, 0, 0], [1, 0, 0, 0, 5]])
    queries = Queries.anonymous([[], []])
    queries = Queries(np.arange(2, dtype=np.int32), *(getattr(queries, name) for name in _FIELDS))
    everything = np.ones(5, np.bool_)
    for only in (None, Candidates(np.array([0, 3, 5]), np.array([1, 2, 3, 0, 1], np.int32))):
        targets = (np.array([0, 2, 4]), np.array([-1, 2, -1, 1], np.int32))
        query_set = QuerySet(queries, *targets, candidates=only)
        _assert_like_dense(model, RankingTask(query_set, everything, False), k=3)
