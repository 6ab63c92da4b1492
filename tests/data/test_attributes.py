"""Tables of users and items: encoded along the vocabulary, counted, and part of what a log is."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recdl.data.inputs import AttributeTable, Dialect
from recdl.data.prepared import PreparedLog
from recdl.data.tables import table_parts
from recdl.errors import ConfigError, DataError, RecordError
from recdl.storage import fingerprint
from tests.data.files import HEADER, prepared

LOG = HEADER + "ann,x,1\nann,007,2\nbob,y,3\n"
ITEMS = 'sku,category,price,name\ny,shoes,10.5,Boot\nx,hats,,"Cap, red"\nz,hats,3,Fez\n,hats,1,?\n'


def with_items(tmp_path: Path, text: str | bytes = ITEMS, name: str = "items.csv", **settings: Any) -> PreparedLog:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    table = AttributeTable(**({"path": str(tmp_path / name), "id": "sku"} | settings))
    return prepared(tmp_path, LOG, item_table=table)


def test_row_i_is_what_is_known_of_index_i_and_null_where_nothing_is(tmp_path: Path) -> None:
    log = with_items(tmp_path, numbers=("price",))
    assert log.items.to_arrow().to_pylist() == ["007", "x", "y"]
    assert log.item_table is not None
    assert log.item_table.to_pylist() == [
        {"category": None, "price": None, "name": None},
        {"category": "hats", "price": None, "name": "Cap, red"},
        {"category": "shoes", "price": 10.5, "name": "Boot"},
    ]
    assert log.user_table is None


def test_what_is_missing_is_counted_and_shown(tmp_path: Path) -> None:
    log = with_items(tmp_path, numbers=("price",))
    assert log.manifest["tables"]["item_table"] == {
        "rows_read": 4,
        "without_id": 1,
        "not_in_the_log": 1,
        "missing": 1,
        "nulls": {"category": 1, "price": 2, "name": 1},
    }
    shown = [str(cell) for column in log.summary().columns for cell in column.cells]
    assert "items that the table of items lacks" in shown
    assert "  price: missing" in shown


def test_users_may_have_a_table_too_and_only_the_columns_asked_for_are_kept(tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_text(
        '{"user_id":"bob","age":31,"name":"Bob"}\n{"user_id":"ann","age":null}\n'
    )
    table = AttributeTable(path=str(tmp_path / "users.jsonl"), id="user_id", columns=("age",), numbers=("age",))
    log = prepared(tmp_path, LOG, user_table=table)
    assert log.user_table is not None
    assert log.user_table.to_pydict() == {"age": [None, 31.0]}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    columns = {
        "sku": pa.array(["x", "y"]),
        "n": pa.array([2**53 + 1, None]),
        "tags": pa.array([["a", "b"], []]),
        "nothing": pa.nulls(2),
    }
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    log = prepared(tmp_path, LOG, item_table=AttributeTable(path=str(tmp_path / "items.parquet"), id="sku"))
    assert log.item_table is not None
    assert log.item_table.to_pydict() == {
        "n": [None, 2**53 + 1, None],
        "tags": [None, ["a", "b"], []],
        "nothing": [None, None, None],
    }


def test_a_table_in_another_dialect_and_in_several_files_is_read(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes("x|Hüte|1,5\n".encode("latin-1"))
    (tmp_path / "2.csv").write_bytes("y|Schuhe|2\n".encode("latin-1"))
    dialect = Dialect(separator="|", header=("sku", "category", "price"), encoding="latin-1", decimal=",")
    table = AttributeTable(path=str(tmp_path / "[12].csv"), id="sku", numbers=("price",), dialect=dialect)
    log = prepared(tmp_path, LOG, item_table=table)
    assert log.item_table is not None
    assert log.item_table.to_pydict() == {"category": [None, "Hüte", "Schuhe"], "price": [None, 1.5, 2.0]}


def test_the_table_is_part_of_the_log(tmp_path: Path) -> None:
    plain = prepared(tmp_path, LOG)
    one = with_items(tmp_path)
    other = with_items(tmp_path, ITEMS.replace("Boot", "Shoe"))
    assert len({plain.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert len({plain.folder, one.folder, other.folder}) == 3
    assert with_items(tmp_path, name="moved.csv").folder == one.folder


def test_a_row_that_is_there_twice_is_one_and_its_order_is_nothing(tmp_path: Path) -> None:
    rows = ITEMS.splitlines(keepends=True)
    again = with_items(tmp_path, "".join([rows[0], *reversed(rows[1:]), rows[1]]))
    assert again.fingerprint == with_items(tmp_path).fingerprint


def test_rows_of_an_id_that_differ_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"items\.csv: 1 ids have several rows that differ, such as 'x'; .*most_common"
    ):
        with_items(tmp_path, "sku,category\nx,hats\nx,caps\n")


def test_of_users_only_the_number_of_such_ids_is_told(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,age\nann,1\nann,2\n")
    with pytest.raises(DataError, match=r"1 ids have several rows that differ; keep one"):
        prepared(tmp_path, LOG, user_table=AttributeTable(path=str(tmp_path / "users.csv"), id="user_id"))


def test_the_most_common_row_is_taken_where_that_is_asked_for(tmp_path: Path) -> None:
    text = "sku,category\nx,caps\nx,hats\nx,hats\nx,\nx,\nx,\ny,b\ny,a\n"
    log = with_items(tmp_path, text, several="most_common")
    assert log.item_table is not None
    assert log.item_table.to_pydict() == {"category": [None, "hats", "a"]}


@pytest.mark.parametrize("text", ["cheap", "nan", "inf", "1,5", "1e400"])
def test_a_number_that_is_none_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=rf"items\.csv, line 3: column 'price' holds '{text}', which is no finite"):
        with_items(tmp_path, f'sku,price\nx,1.5\ny,"{text}"\n', numbers=("price",))


@pytest.mark.parametrize(
    ("text", "settings", "complaint"),
    [
        ("id,a\nx,1\n", {}, r"no column 'sku'; its columns are 'id', 'a'.*data\.item_table\.id="),
        ("sku,a\nx,1\n", {"columns": ("b",)}, r"no column 'b'; its columns are 'sku', 'a'"),
        ("sku,a\nx,1\n", {"numbers": ("b",)}, r"no column 'b', which data\.item_table\.numbers names"),
        ("sku,a,a\nx,1,2\n", {}, "two columns called 'a'"),
        ("sku,a\nx\n", {}, "line 2 has 1 field, not 2: x; mend the line"),
        ("", {}, r"items\.csv is empty"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(
    text: str, settings: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=complaint):
        with_items(tmp_path, text, **settings)


def test_a_file_whose_name_says_nothing_needs_its_format(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.item_table\.format: .*items\.xyz does not say by its name"):
        with_items(tmp_path, ITEMS, name="items.xyz")
    assert with_items(tmp_path, ITEMS, name="items.xyz", format="csv").item_table is not None


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*none\.csv.*set data\.item_table\.path"):
        prepared(tmp_path, LOG, item_table=AttributeTable(path=str(tmp_path / "none.csv")))


def test_a_changed_or_lost_table_is_noticed(tmp_path: Path) -> None:
    folder = with_items(tmp_path).folder
    table = pq.read_table(folder / "item_table.parquet")
    pq.write_table(table.slice(0, 2), folder / "item_table.parquet")
    with pytest.raises(RecordError, match=r"item_table\.parquet has 2 rows instead of 3"):
        PreparedLog.open(folder)
    pq.write_table(table.set_column(0, "category", pa.array(["a", "b", "c"])), folder / "item_table.parquet")
    with pytest.raises(RecordError, match="does not hold what its manifest says"):
        PreparedLog.open(folder)
    (folder / "item_table.parquet").unlink()
    with pytest.raises(RecordError, match=r"item_table\.parquet is missing or damaged"):
        PreparedLog.open(folder)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, ""]),
        pa.array([1, None, 0]),
        pa.array([1.5, None, 0.0]),
        pa.array([True, None, False]),
        pa.array([["a"], None, []]),
        pa.array([{"a": 1}, None, {"a": None}]),
        pa.array([0, None, 1], pa.timestamp("us", "UTC")),
    ],
)
def test_the_identity_of_a_table_knows_null_from_nothing_and_not_how_it_is_stored(column: Any) -> None:
    def known(array: Any) -> str:
        return fingerprint(*table_parts(pa.table({"a": array})))

    whole = known(column)
    assert known(pa.chunked_array([column[:1], column[1:]])) == whole
    assert known(pa.concat_arrays([column[2:], column])[1:]) == whole
    assert known(column.take(pa.array([0, 2, 1]))) != whole
    assert fingerprint(*table_parts(pa.table({"b": column}))) != whole


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"columns": ()}, r"data\.item_table\.columns: null, or the name of each"),
        ({"columns": ("a", "a")}, r"data\.item_table\.columns: null, or the name of each"),
        ({"columns": ("a",), "numbers": ("b",)}, r"data\.item_table\.numbers: 'b' is none of"),
        ({"columns": ("id",)}, r"data\.item_table\.columns: 'id' is the id"),
        ({"dialect": Dialect(separator="")}, r"data\.item_table\.dialect\.separator: '' is not"),
    ],
)
def test_a_setting_of_a_table_that_cannot_be_is_named(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        AttributeTable(path="items.csv", **settings).check("data.item_table")
