from pathlib import Path

import numpy as np
import pytest

from recdl.data.interactions import Interactions
from recdl.data.matrix import history_matrix, sparse_rows, user_item_matrix
from recdl.data.queries import Queries
from recdl.errors import DataError
from tests.logs import log_of_items


def test_a_user_has_1_at_each_item_however_often_it_was_touched() -> None:
    matrix = user_item_matrix(log_of_items([[2, 0, 2], [], [1]], n_items=3))
    assert matrix.toarray().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert matrix.dtype == np.float32


def test_a_history_is_a_row_of_its_own() -> None:
    queries = Queries.anonymous([[1, 1], [], [0, 1]])
    assert history_matrix(queries, 2).toarray().tolist() == [[0, 1], [0, 0], [1, 1]]


def test_a_memory_mapped_log_is_left_as_it_was(tmp_path: Path) -> None:
    log_of_items([[2, 0, 2]], n_items=3).save(tmp_path)
    mapped = Interactions.load(tmp_path, n_items=3, behavior_names=("view",))
    user_item_matrix(mapped)
    assert mapped.items.tolist() == [2, 0, 2]


def test_a_log_without_events_is_refused() -> None:
    with pytest.raises(DataError, match="no event to learn from"):
        user_item_matrix(log_of_items([[]], n_items=3))


def test_a_history_item_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(DataError, match="item index 3, but the model was fitted on 3 items"):
        history_matrix(Queries.anonymous([[3]]), 3)


def test_a_matrix_has_int32_indices_though_its_offsets_are_int64() -> None:
    matrix = sparse_rows(np.ones(2, np.float32), np.array([1, 0]), np.array([0, 1, 2]), 3)
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    assert matrix.toarray().tolist() == [[0, 1, 0], [1, 0, 0]]
