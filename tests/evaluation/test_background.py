import numpy as np
import pyarrow as pa
import pytest

from recdl.data.interactions import Interactions
from recdl.data.vocabulary import Vocabulary
from recdl.errors import ConfigError
from recdl.evaluation.background import background, item_names
from tests.evaluation.backgrounds import background as known


def test_items_are_called_by_their_name_and_id_where_the_log_names_them() -> None:
    assert known(names=True).names(np.array([1, 2])) == ["Bee (b)", "c"]
    assert known().names(np.array([1, 2])) == ["b", "c"]


def test_long_names_are_cut() -> None:
    table = pa.table({"name": ["x" * 100] * 6})
    named = background_of(table).names(np.array([0]))[0]
    assert named == f"{'x' * 59}… (a)"


def test_the_column_of_names_is_found_by_what_it_is_called() -> None:
    table = pa.table({"price": [1.0], "Description": ["mug"], "TITLE": ["Mug"]})
    found = item_names(table, None)
    assert found is not None and found.to_pylist() == ["Mug"]
    chosen = item_names(table, "Description")
    assert chosen is not None and chosen.to_pylist() == ["mug"]


@pytest.mark.parametrize("table", [None, pa.table({"price": [1.0]})])
def test_a_log_without_names_has_none(table: pa.Table | None) -> None:
    assert item_names(table, None) is None
    with pytest.raises(ConfigError, match=r"item_name=name: the log's table of items has no such column"):
        item_names(table, "name")


def test_events_are_counted_in_what_was_learned_from() -> None:
    found = background_of(None)
    assert found.item_events.tolist() == [2, 0, 1, 0, 0, 0]
    assert found.user_events.tolist() == [2, 1]


def background_of(table: pa.Table | None):  # type: ignore[no-untyped-def]
    log = Interactions(
        offsets=np.array([0, 2, 3], np.int64),
        items=np.array([0, 2, 0], np.int32),
        behaviors=np.zeros(3, np.int8),
        timestamps=np.arange(3, dtype=np.int64),
        n_items=6,
        behavior_names=("view",),
        item_table=table,
    )
    return background(known().query_set, log, Vocabulary(list("abcdef")))
