from pathlib import Path

import numpy as np
import pytest

from recdl.errors import RecordError
from recdl.evaluation.lists import read_lists, write_lists
from tests.evaluation.runs import write_run


def test_lists_come_back_as_they_were_written(tmp_path: Path) -> None:
    lists = np.array([[3, 1, -1], [0, 2, 7]], np.int32)
    write_lists(tmp_path, "test", lists)
    read = read_lists(tmp_path)
    assert read is not None and read.dtype == np.int32
    assert read.tolist() == lists.tolist()


def test_a_run_keeps_the_lists_of_each_part(tmp_path: Path) -> None:
    record = write_run(tmp_path / "run", columns={"hr@1": [0.0, 1.0, 0.0]})
    for part, n_queries in (("test", 3), ("validation", 2)):
        read = read_lists(record.folder, part)
        assert read is not None and read.shape == (n_queries, 1)


def test_a_run_of_an_earlier_version_has_no_lists(tmp_path: Path) -> None:
    assert read_lists(tmp_path) is None


def test_damaged_lists_are_refused(tmp_path: Path) -> None:
    write_lists(tmp_path, "test", np.zeros((1, 1), np.int32))
    (tmp_path / "lists/test.parquet").write_bytes(b"not Parquet")
    with pytest.raises(RecordError, match=r"test\.parquet is damaged"):
        read_lists(tmp_path)
