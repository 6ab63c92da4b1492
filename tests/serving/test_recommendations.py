from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recdl.data.vocabulary import Vocabulary
from recdl.errors import DataError
from recdl.serving.recommendations import (
    check_recommendations_path,
    recommendation_table,
    write_recommendations,
)

IDS = [
    "007",
    "7",
    "NA",
    "null",
    "a,b",
    'say "hi"',
    "two\nlines",
    "old\rmac",
    " padded ",
    "日本",
    "=1+1",
    "'",
    "1e5",
]


def awkward_table() -> pd.DataFrame:
    ids = np.array(IDS, dtype=object)
    items = np.arange(len(IDS), dtype=np.int32)[::-1, None]
    return recommendation_table(ids, items, np.full(items.shape, 0.1, np.float32), Vocabulary(IDS))


def read_csv(path: Path) -> pd.DataFrame:
    text = {"user_id": str, "item_id": str}
    with path.open(encoding="utf-8", newline="") as opened:
        return pd.read_csv(opened, dtype=text, keep_default_na=False)


def test_lists_become_one_row_an_item_with_ranks_from_one() -> None:
    items = np.array([[2, 0], [1, -1], [-1, -1]], np.int32)
    scores = np.array([[0.5, 0.25], [2.0, np.nan], [np.nan, np.nan]], np.float32)
    table = recommendation_table(np.array(["u", "v", "w"], object), items, scores, Vocabulary(["a", "b", "c"]))
    assert list(table.columns) == ["user_id", "rank", "item_id", "score"]
    assert table.to_numpy().tolist() == [["u", 1, "c", 0.5], ["u", 2, "a", 0.25], ["v", 1, "b", 2.0]]
    assert table["rank"].dtype == np.int32
    assert table["score"].dtype == np.float32


@pytest.mark.parametrize("name", ["recommendations.csv", "recommendations.PARQUET"])
def test_ids_come_out_exactly_as_they_went_in(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / name
    write_recommendations(awkward_table(), path)
    read = read_csv(path) if path.suffix == ".csv" else pq.read_table(path).to_pandas()
    assert read["user_id"].tolist() == IDS
    assert read["item_id"].tolist() == IDS[::-1]
    assert read["score"].astype(np.float32).tolist() == awkward_table()["score"].tolist()


@settings(max_examples=50, deadline=None)
@given(raw=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_survives_a_csv(raw: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "one.csv"
    lists = np.zeros((1, 1), np.int32)
    table = recommendation_table(np.array([raw], object), lists, lists.astype(np.float32), Vocabulary([raw]))
    write_recommendations(table, path)
    assert read_csv(path)["item_id"].tolist() == [raw]


def test_the_csv_is_plain_utf8_with_text_quoted(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    write_recommendations(awkward_table().head(1), path)
    assert path.read_bytes() == b'"user_id","rank","item_id","score"\n"007",1,"1e5",0.1\n'


def test_no_recommendation_at_all_makes_a_table_of_no_rows(tmp_path: Path) -> None:
    empty = recommendation_table(
        np.array(["u"], object), np.full((1, 2), -1, np.int32), np.zeros((1, 2), np.float32), Vocabulary(["a"])
    )
    write_recommendations(empty, tmp_path / "r.parquet")
    assert pq.read_table(tmp_path / "r.parquet").schema.names == ["user_id", "rank", "item_id", "score"]
    assert len(empty) == 0


@pytest.mark.parametrize("name", ["r.xlsx", "r", "r.csv.gz"])
def test_another_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"recommendations are written to a \.csv or \.parquet file"):
        write_recommendations(awkward_table(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "r.csv").mkdir()
    with pytest.raises(DataError, match="is a folder; give the name of a file"):
        check_recommendations_path(tmp_path / "r.csv")


@pytest.mark.parametrize("name", ["r.csv", "r.parquet"])
def test_a_failure_half_way_leaves_the_earlier_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    (tmp_path / name).write_bytes(b"earlier")
    monkeypatch.setattr("pyarrow.csv.write_csv", full)
    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(OSError, match="No space left"):
        write_recommendations(awkward_table(), tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 1
