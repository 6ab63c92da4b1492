"""Whole or absent: what an exception in the middle leaves behind."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from recdl.storage import file_fingerprint, fingerprint, whole_file, whole_folder, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_under_its_name_when_the_block_ends(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a" / "x.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a" / "x.txt").exists()
    assert (tmp_path / "a" / "x.txt").read_text() == "new"
    assert names(tmp_path / "a") == ["x.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "x.txt").write_text("old")
    with pytest.raises(error), whole_file(tmp_path / "x.txt") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert (tmp_path / "x.txt").read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_a_folder_appears_under_its_name_when_the_block_ends(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "log") as temporary:
        (temporary / "x").write_text("1")
        assert not (tmp_path / "log").exists()
    assert names(tmp_path) == ["log"]
    assert names(tmp_path / "log") == ["x"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_folder_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), whole_folder(tmp_path / "log") as temporary:  # noqa: PT012
        (temporary / "x").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_of_two_that_fill_one_folder_the_first_stays(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "log") as temporary:
        (temporary / "x").write_text("second")
        (tmp_path / "log").mkdir()
        (tmp_path / "log" / "x").write_text("first")
    assert (tmp_path / "log" / "x").read_text() == "first"
    assert names(tmp_path) == ["log"]


def test_a_folder_does_not_take_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(OSError, match="log"), whole_folder(tmp_path / "log"):
        pass
    assert (tmp_path / "log").read_text() == "a file"


def test_json_is_written_as_utf_8(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"müsli": [1, None]})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"müsli": [1, None]}
    assert "müsli" in (tmp_path / "x.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_has_no_nan_and_no_infinity(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"metric": value})
    assert names(tmp_path) == []


def test_the_fingerprint_of_a_file_is_its_sha_256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert (
        file_fingerprint(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # the example of FIPS 180


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_a_memory_mapped_array_has_the_fingerprint_of_its_copy(tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.int32)
    np.save(tmp_path / "x.npy", array)
    assert fingerprint(np.load(tmp_path / "x.npy", mmap_mode="r")) == fingerprint(array)


def test_fingerprints_tell_dtype_shape_and_parting_apart() -> None:
    array = np.zeros(4, np.int32)
    different = [
        fingerprint(array),
        fingerprint(array.astype(np.int64)),
        fingerprint(array.reshape(2, 2)),
        fingerprint(array, array),
        fingerprint(np.zeros(8, np.int32)),
        fingerprint([0, 0, 0, 0]),
        fingerprint("a", "b"),
        fingerprint("ab"),
    ]
    assert len(set(different)) == len(different)
