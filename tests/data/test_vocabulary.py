"""Raw ids and their indices."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.vocabulary import UNKNOWN, Vocabulary
from recdl.errors import RecordError

AWKWARD = ["007", "7", "NA", "nan", "null", "None", " ", "a,b", '"', "9007199254740993", "müsli", "名", "a\nb"]


def test_every_id_has_its_position_as_index() -> None:
    assert Vocabulary(AWKWARD).indices(AWKWARD).tolist() == list(range(len(AWKWARD)))


def test_an_id_that_is_not_held_is_unknown() -> None:
    indices = Vocabulary(["a", "b"]).indices(["b", "c", "A", ""])
    assert indices.tolist() == [1, UNKNOWN, UNKNOWN, UNKNOWN]
    assert indices.dtype == np.int32


def test_indices_give_the_ids_back() -> None:
    assert Vocabulary(["a", "b", "c"]).ids(np.array([2, 0, 2])).tolist() == ["c", "a", "c"]


@pytest.mark.parametrize("index", [UNKNOWN, 2])
def test_an_index_outside_has_no_id(index: int) -> None:
    with pytest.raises(IndexError, match=r"outside \[0, 2\)"):
        Vocabulary(["a", "b"]).ids(np.array([index]))


def test_an_empty_vocabulary_knows_nothing() -> None:
    empty = Vocabulary([])
    assert len(empty) == 0
    assert empty.indices(["a"]).tolist() == [UNKNOWN]
    assert empty.ids(np.zeros(0, np.int32)).tolist() == []


def test_no_id_is_held_twice() -> None:
    with pytest.raises(AssertionError, match="each id once"):
        Vocabulary(["a", "a"]).indices(["a"])


def test_no_id_is_null() -> None:
    with pytest.raises(AssertionError, match="null"):
        Vocabulary(pa.array(["a", None]))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, max_size=20))
def test_any_text_comes_back_from_a_file(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.mktemp("vocabulary") / "ids.parquet"
    Vocabulary(ids).save(path)
    loaded = Vocabulary.load(path)
    assert loaded.to_arrow().to_pylist() == ids
    assert loaded.indices(ids).tolist() == list(range(len(ids)))


def test_a_missing_file_is_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"ids\.parquet is not a readable vocabulary"):
        Vocabulary.load(tmp_path / "ids.parquet")


def test_a_file_cut_short_is_no_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "ids.parquet"
    Vocabulary(AWKWARD).save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match="not a readable vocabulary"):
        Vocabulary.load(path)
