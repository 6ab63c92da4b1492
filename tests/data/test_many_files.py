"""Logs in several files, folders and archives, and a file a behaviour."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recdl.data.sources import Columns, CsvLog, FileLog, JsonLog, ParquetLog, Time
from tests.data.files import HEADER, events
from tests.data.forms import FORMS, SEVERAL, pairs, parquet_table, read


def packed(path: Path) -> Path:
    """Pack a file as gzip, as Zstandard and into a zip archive, beside it."""
    content = path.read_bytes()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    with pa.output_stream(str(path.with_name(f"{path.name}.zst")), compression="zstd") as opened:
        opened.write(content)
    with zipfile.ZipFile(path.with_name("all.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, f"folder/{path.name}")
    return path


@pytest.mark.parametrize("packing", ["log{}.gz", "log{}.zst", "all.zip/folder/log{}", "all.zip/*/log{}"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_packed_files_are_read(packing: str, form: str, tmp_path: Path) -> None:
    log = FORMS[form](SEVERAL[1], tmp_path)
    assert isinstance(log, FileLog)
    packed(tmp_path / f"log.{form}").unlink()
    moved = type(log)(name="log", path=str(tmp_path / packing.format(f".{form}")), time=log.time)
    assert pairs(read(moved, tmp_path)) == set(SEVERAL[1])


def parts(form: str, folder: Path) -> list[str]:
    """A file a part of `SEVERAL`, in folders of their own."""
    paths = []
    for number, rows in enumerate(SEVERAL):
        (folder / f"part{number}").mkdir()
        log = FORMS[form](rows, folder / f"part{number}")
        assert isinstance(log, FileLog)
        assert isinstance(log.path, str)
        paths.append(log.path)
    return paths


@pytest.mark.parametrize(
    ("form", "written"),
    [("csv", "reversed"), ("csv", "glob"), ("csv", "folder"), ("jsonl", "folder"), ("parquet", "glob")],
)
def test_several_files_are_one_log_whatever_their_order(
    form: str, written: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = parts(form, tmp_path)
    kind = {"csv": CsvLog, "jsonl": JsonLog, "parquet": ParquetLog}[form]
    path: Any = {
        "reversed": tuple(reversed(paths)),
        "glob": str(tmp_path / "part*" / "log.*"),
        "folder": str(tmp_path),
    }[written]
    root = tmp_path_factory.mktemp("prepared")
    log = read(kind(name="log", path=path, time=Time("s")), root)
    assert pairs(log) == {row for part in SEVERAL for row in part}
    assert read(kind(name="log", path=tuple(paths), time=Time("s")), root).folder == log.folder


def test_files_with_their_columns_in_another_order_are_one_log(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,timestamp\nann,x,1\n")
    (tmp_path / "b.csv").write_text("timestamp,extra,item_id,user_id\n2,?,y,bob\n")
    log = read(CsvLog(name="log", path=str(tmp_path / "*.csv"), time=Time("s")), tmp_path)
    assert pairs(log) == {("ann", "x"), ("bob", "y")}


def test_parquet_files_whose_ids_differ_in_type_keep_them_apart(tmp_path: Path) -> None:
    parquet_table(tmp_path, pa.table({"user_id": ["007"], "item_id": ["x"], "timestamp": [1]}), "a.parquet")
    parquet_table(tmp_path, pa.table({"user_id": [7], "item_id": ["x"], "timestamp": [2]}), "b.parquet")
    log = read(ParquetLog(name="log", path=str(tmp_path / "*.parquet"), time=Time("s")), tmp_path)
    assert pairs(log) == {("007", "x"), ("7", "x")}


def test_the_keys_of_a_partitioned_folder_are_columns_of_text(tmp_path: Path) -> None:
    for day, user in (("2020-01-01", "007"), ("2020-01-02", "7"), ("2020-01-02", "a%20b")):
        name = f"log/day={day}/user={user}/part.parquet"
        parquet_table(tmp_path, pa.table({"item": ["x"]}), name)
    (tmp_path / "log" / "_SUCCESS").touch()
    log = ParquetLog(name="log", path=str(tmp_path / "log"), columns=Columns("user", "item", "day"))
    assert [(user, time) for user, _, _, time in events(read(log, tmp_path))] == [
        ("007", 1_577_836_800_000_000),
        ("7", 1_577_923_200_000_000),
        ("a b", 1_577_923_200_000_000),
    ]


def test_a_partitioned_folder_is_known_by_its_keys_too(tmp_path: Path) -> None:
    columns_ = Columns("user_id", "item_id", "day")
    folders = []
    for day in ("2020-01-01", "2020-01-02"):
        log = parquet_table(tmp_path, pa.table({"user_id": ["a"], "item_id": ["x"]}), f"{day}/day={day}/p.parquet")
        folders.append(read(ParquetLog(name="log", path=log.path, columns=columns_), tmp_path).folder)
    assert folders[0] != folders[1]


def test_each_behavior_may_have_files_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "clicks.dat").write_text("1,2014-04-07T10:51:09.277Z,214,0\n1,2014-04-07T10:54:09.868Z,215,0\n")
    (tmp_path / "buys.dat").write_text("1,2014-04-07T10:59:00.000Z,215,1046,2\n")
    log = CsvLog(
        name="log",
        path={"view": str(tmp_path / "clicks.dat"), "purchase": str(tmp_path / "buys.dat")},
        header={"view": ("s", "t", "i", "category"), "purchase": ("s", "t", "i", "price", "quantity")},
        columns=Columns("s", "i", "t"),
        behavior_weights={"purchase": 4.0},
    )
    prepared = read(log, tmp_path)
    assert [(item, behavior) for _, item, behavior, _ in events(prepared)] == [
        ("214", "view"),
        ("215", "view"),
        ("215", "purchase"),
    ]
    assert prepared.interactions.behavior_names == ("view", "purchase")
    assert prepared.interactions.behavior_weights == (1.0, 4.0)


def test_swapping_the_files_of_two_behaviors_is_another_log(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(HEADER + f"{name},x,1\n")
    one, two = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    first = read(CsvLog(name="log", path={"view": one, "purchase": two}, time=Time("s")), tmp_path)
    second = read(CsvLog(name="log", path={"view": two, "purchase": one}, time=Time("s")), tmp_path)
    assert first.folder != second.folder
    assert first.fingerprint != second.fingerprint
