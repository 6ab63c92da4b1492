"""Every measure and weighting against values worked by hand and brute-force twins on dense arrays."""

from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recdl.data.queries import Queries
from recdl.errors import ConfigError
from recdl.models.neighbors import ItemKNN, UserKNN, Votes
from recdl.models.similarity import Corpus, Measure, Similarity, Weighting
from tests.logs import log_of_items

Array = npt.NDArray[np.float64]
MEASURES: tuple[Measure, ...] = get_args(Measure)
WEIGHTS = st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.0]), min_size=20, max_size=20)


def similar(
    a: Array, b: Array, means: Array, measure: Measure, *, alpha: float = 0.5, shrinkage: float = 0.0
) -> float:
    """The definition, entry by entry, on dense vectors."""
    if not (a * b).any():
        return 0.0
    if measure == "dot":
        return float(a @ b)
    if measure == "jaccard":
        return float(a @ b / (a @ a + b @ b - a @ b + shrinkage))
    if measure == "pearson":
        a, b = a - a.mean(), b - b.mean()
    if measure == "adjusted_cosine":
        a, b = a - means, b - means
    below = (a @ a) ** alpha * (b @ b) ** (1 - alpha)
    return max(float(a @ b / (below + shrinkage)), 0.0) if below > 1e-6 else 0.0


def sparse(rows: Array) -> Any:
    return csr_array(rows.astype(np.float32))


def similarities(rows: Array, measure: Measure, *, alpha: float = 0.5, shrinkage: float = 0.0) -> Array:
    """All similarities between the rows, those with themselves included."""
    chosen = Similarity(measure, shrinkage, alpha)
    corpus, weighted = Corpus.of(sparse(rows), Weighting())
    terms = [chosen.terms(weighted, corpus, exponent=exponent) for exponent in (alpha, 1 - alpha)]
    nobody = np.full(len(rows), -1)
    found = chosen.nearest(weighted, weighted.T.tocsr(), *terms, left_out=nobody, k=len(rows))
    return found.toarray().astype(np.float64)


@pytest.mark.parametrize("measure", MEASURES)
@given(WEIGHTS, st.sampled_from([0.0, 3.0]), st.sampled_from([0.3, 0.5, 1.0]))
def test_a_measure_equals_its_definition(
    measure: Measure, weights: list[float], shrinkage: float, alpha: float
) -> None:
    shrinkage = 0.0 if measure == "dot" else shrinkage
    alpha = 0.5 if measure in ("dot", "jaccard") else alpha
    rows = np.array(weights).reshape(5, 4)
    means = rows.mean(axis=0)
    twin = [[similar(a, b, means, measure, alpha=alpha, shrinkage=shrinkage) for b in rows] for a in rows]
    np.testing.assert_allclose(similarities(rows, measure, alpha=alpha, shrinkage=shrinkage), twin, atol=2e-6)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("cosine", 1 / 2),
        ("pearson", 0.0),  # one of two and one of two: what chance gives
        ("adjusted_cosine", 0.0),  # one is the negative of the other
        ("jaccard", 1 / 3),
        ("dot", 1.0),
    ],
)
def test_similarities_worked_by_hand(measure: Measure, expected: float) -> None:
    rows = np.array([[1.0, 1, 0, 0], [0, 1, 1, 0]])
    # Column means are 1/2, 1, 1/2, 0: the rows less these are (1/2, 0, -1/2, 0) and its negative.
    assert similarities(rows, measure)[0, 1] == pytest.approx(expected)


def test_the_adjusted_cosine_worked_by_hand() -> None:
    rows = np.array([[1.0, 1, 0], [1, 1, 0], [0, 1, 1]])
    # Column means 2/3, 1, 1/3: rows (1/3, 0, -1/3) twice and (-2/3, 0, 2/3).
    np.testing.assert_allclose(similarities(rows, "adjusted_cosine"), [[1, 1, 0], [1, 1, 0], [0, 0, 1]], atol=1e-6)


def test_a_constant_row_has_no_correlation_rather_than_0_over_0() -> None:
    rows = np.array([[1.0, 1, 1], [1, 1, 0], [0.1, 0.1, 0.1]])
    for shrinkage in (0.0, 2.0):
        found = similarities(rows, "pearson", shrinkage=shrinkage)
        assert found[0].tolist() == found[2].tolist() == [0, 0, 0]
        assert found[1, 1] > 0


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_chooses_whose_size_counts(alpha: float) -> None:
    rows = np.array([[1.0, 1, 1, 1], [1, 0, 0, 0]])
    assert similarities(rows, "cosine", alpha=alpha)[0, 1] == (0.25 if alpha else 1.0)


def test_tf_idf_worked_by_hand() -> None:
    rows = np.array([[4.0, 1], [0, 1], [0, 1], [0, 0]])
    corpus, weighted = Corpus.of(sparse(rows), Weighting("tf_idf"))
    # sqrt(4) log(4 / (1 + 1)); the second column has log(4 / (1 + 3)) = 0 and falls away.
    np.testing.assert_allclose(weighted.toarray(), [[2 * np.log(2), 0], [0, 0], [0, 0], [0, 0]], rtol=1e-6)
    assert corpus.column_means.tolist() == [pytest.approx(2 * np.log(2) / 4), 0]


def test_bm25_worked_by_hand() -> None:
    rows = np.array([[3.0, 1], [0, 0], [0, 0], [0, 0]])
    _, weighted = Corpus.of(sparse(rows), Weighting("bm25", bm25_k1=2.0, bm25_b=0.5))
    # The row's length is 4 times the mean of 1: a saturation of 2 (0.5 + 0.5 * 4) = 5.
    idf = np.log(4 / 2)
    np.testing.assert_allclose(weighted.toarray()[0], [idf * 3 * 3 / (3 + 5), idf * 1 * 3 / (1 + 5)], rtol=1e-6)


def test_weighting_leaves_the_rows_it_was_given_alone() -> None:
    rows = sparse(np.array([[4.0, 1], [0, 1]]))
    before = rows.toarray()
    Corpus.of(rows, Weighting("tf_idf"))
    np.testing.assert_array_equal(rows.toarray(), before)


HISTORIES = [[0, 1, 2], [0, 1], [1, 2, 3], [3, 4], [0, 4], [5], []]


@pytest.mark.parametrize("kind", ["none", "tf_idf", "bm25"])
@pytest.mark.parametrize("measure", MEASURES)
def test_models_score_finitely_with_every_measure_and_weighting(measure: Measure, kind: Any) -> None:
    log = log_of_items(HISTORIES, n_items=7)
    queries = Queries.anonymous([*HISTORIES, [6], [0, 1, 2, 3, 4, 5, 6]])
    for model in (
        ItemKNN(k=1000, similarity=measure, weighting=Weighting(kind)),
        UserKNN(k=1000, similarity=measure, weighting=Weighting(kind)),
    ):
        scores = model.fit(log).score(queries)
        assert np.isfinite(scores).all()
        assert (scores >= 0).all()
        assert (scores[6] == 0).all()  # an empty history
        assert (scores[7] == 0).all()  # an item without events
        assert (scores[:, 6] == 0).all()
        assert (scores > 0).any()


def test_neighbors_of_candidates_are_those_of_histories_the_other_way_round() -> None:
    log = log_of_items(HISTORIES, n_items=7)
    forward = ItemKNN(k=2, alpha=0.3).fit(log).similarity_.toarray()
    backward = ItemKNN(k=2, alpha=0.7, neighbors_of="candidate").fit(log).similarity_.toarray()
    np.testing.assert_array_equal(backward, forward.T)


def test_alpha_is_that_of_the_historys_item_whosever_neighbors_count() -> None:
    log = log_of_items(HISTORIES, n_items=7)
    one = ItemKNN(k=100, alpha=0.3).fit(log).similarity_.toarray()
    other = ItemKNN(k=100, alpha=0.3, neighbors_of="candidate").fit(log).similarity_.toarray()
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_votes_are_amplified_and_divided_by_popularity() -> None:
    log = log_of_items([[0, 1], [0, 1, 2, 3]], n_items=4)
    scores = (
        UserKNN(votes=Votes(amplification=2.0, popularity_exponent=1.0)).fit(log).score(Queries.anonymous([[0]]))
    )
    # Cosines 1/sqrt(2) and 1/2, squared; items 0 and 1 have two users, 2 and 3 one.
    np.testing.assert_allclose(scores, [[3 / 8, 3 / 8, 1 / 4, 1 / 4]], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, r"model\.alpha must lie between 0 and 1, but is 1\.5"),
        (
            {"similarity": "jaccard", "alpha": 0.4},
            r"model\.alpha=0\.4 has no meaning with model\.similarity=jaccard",
        ),
        (
            {"similarity": "dot", "shrinkage": 2.0},
            r"model\.shrinkage=2\.0 has no meaning with model\.similarity=dot",
        ),
    ],
)
def test_settings_that_have_no_meaning_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ItemKNN(**settings)


def test_weightings_and_votes_that_have_no_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="bm25_k1 must be 0 or more, and finite, but is -1"):
        Weighting("bm25", bm25_k1=-1)
    with pytest.raises(ConfigError, match="bm25_b must lie between 0 and 1, but is 2"):
        Weighting("bm25", bm25_b=2)
    with pytest.raises(ConfigError, match="amplification must be above 0, and finite, but is 0"):
        Votes(amplification=0)
    with pytest.raises(ConfigError, match="popularity_exponent must be 0 or more, and finite, but is -1"):
        Votes(popularity_exponent=-1)


@pytest.mark.filterwarnings("ignore")
def test_the_neighbors_are_those_of_implicit() -> None:
    peer = pytest.importorskip("implicit.nearest_neighbours", reason="implicit is not installed")
    rng = np.random.default_rng(0)
    log = log_of_items([rng.choice(30, 8, replace=False).tolist() for _ in range(60)], n_items=30)
    matrix = csr_array((np.ones(log.n_events), log.items, log.offsets), shape=(60, 30))
    others = peer.CosineRecommender(K=31)
    from scipy.sparse import csr_matrix

    others.fit(csr_matrix(matrix), show_progress=False)
    theirs = others.similarity.toarray()
    np.fill_diagonal(theirs, 0)
    np.testing.assert_allclose(ItemKNN(k=31).fit(log).similarity_.toarray(), theirs, rtol=1e-5, atol=1e-7)
