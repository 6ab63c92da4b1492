"""Scores and queries that cannot be ranked; progress."""

import numpy as np
import pytest

from recdl.data.queries import Queries, QuerySet
from recdl.errors import DataError
from recdl.models.protocol import RankingTask
from recdl.models.ranking import rank, recommend
from tests.models.ranked import Given, Table, task_of


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error_that_names_the_model(wrong: float) -> None:
    scores = np.zeros((3, 4), np.float32)
    scores[1, 2] = wrong
    with pytest.raises(DataError, match="Table gave NaN or infinite scores for 1 of 3 queries"):
        rank(Table(scores), task_of([[0], [1], [2]], 4), k=2)


def test_scores_of_the_wrong_shape_are_an_error_that_names_the_model() -> None:
    with pytest.raises(DataError, match=r"Given gave float32 scores of shape \(2, 3\) for 2 queries.*\(2, 4\)"):
        rank(Given(np.zeros((2, 3), np.float32)), task_of([[0], [1]], 4), k=2)


def test_scores_of_the_wrong_type_are_an_error_that_names_the_model() -> None:
    with pytest.raises(DataError, match=r"Given gave float64 scores of shape .* must give float32"):
        rank(Given(np.zeros((1, 4))), task_of([[0]], 4), k=2)


def test_ranking_for_nobody_is_an_error() -> None:
    nobody = QuerySet(Queries.anonymous([]), np.zeros(1, np.int64), np.zeros(0, np.int32))
    with pytest.raises(DataError, match="there is no query to rank for"):
        rank(Table(np.zeros((0, 4))), RankingTask(nobody, np.ones(4, np.bool_), False), k=2)


def test_recommending_to_nobody_is_an_error() -> None:
    with pytest.raises(DataError, match="there is no query to rank for"):
        recommend(
            Table(np.zeros((0, 4))),
            Queries.anonymous([]),
            k=2,
            candidates=np.ones(4, np.bool_),
            exclude_history=False,
        )


def test_ranking_among_no_candidates_is_an_error() -> None:
    with pytest.raises(DataError, match="no item may be recommended"):
        rank(Table(np.zeros((1, 2))), task_of([[0]], 2, no_candidates=[0, 1]), k=2)


def test_a_target_outside_the_catalogue_is_an_error() -> None:
    with pytest.raises(DataError, match="a target is item 4, but the catalogue has 4 items"):
        rank(Table(np.zeros((1, 4))), task_of([[4]], 4), k=2)


def test_an_excluded_history_outside_the_catalogue_is_an_error() -> None:
    with pytest.raises(DataError, match="a history holds item 5, but the catalogue has 4 items"):
        rank(Table(np.zeros((1, 4))), task_of([[0]], 4, histories=[[5]], exclude_history=True), k=2)


def test_a_list_of_no_items_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        rank(Table(np.zeros((1, 4))), task_of([[0]], 4), k=0)


@pytest.mark.parametrize(
    ("terminal", "progress", "shown"), [("1", True, True), ("1", False, False), ("", True, False)]
)
def test_progress_is_shown_on_a_terminal_where_it_is_asked_for(
    terminal: str, progress: bool, shown: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setenv("TERM", "xterm")
    rank(Table(np.zeros((1, 4))), task_of([[0]], 4), k=1, progress=progress)
    output = capfd.readouterr()
    assert ("ranking with Table" in output.err) == shown
    assert shown or not output.err
    assert not output.out
