"""Tables of items as one JSON object."""

from pathlib import Path

import pytest

from recdl.data.inputs import AttributeTable
from recdl.data.ordered import OrderedLog
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.errors import ConfigError, DataError


def _prepared(tmp_path: Path, text: str) -> PreparedLog:
    (tmp_path / "log.txt").write_text("ann x y\nbob y z\n", encoding="utf-8")
    (tmp_path / "kinds.json").write_text(text, encoding="utf-8")
    table = AttributeTable(path="kinds.json", format="object", columns=("kinds",))
    log = OrderedLog(name="log", path="log.txt", data_root=str(tmp_path), form="lines", item_table=table)
    return prepare(log, tmp_path / "prepared", progress=False)


def test_what_an_id_stands_for_is_a_list_of_texts(tmp_path: Path) -> None:
    log = _prepared(tmp_path, '{"z": [3, "hats"], "x": "shoes", "w": ["none has it"]}')
    assert log.items.to_arrow().to_pylist() == ["x", "y", "z"]
    assert log.item_table is not None
    assert log.item_table.to_pydict() == {"kinds": [["shoes"], None, ["3", "hats"]]}


def test_the_table_is_part_of_an_ordered_log(tmp_path: Path) -> None:
    one, other = (_prepared(tmp_path, f'{{"x": ["{kind}"]}}') for kind in ("shoes", "hats"))
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"kinds\.json cannot be read as JSON"),
        ("[1, 2]", r"kinds\.json holds no JSON object of ids and values"),
        ('{"x": 1, "x": 2}', r"kinds\.json: 1 ids are there twice"),
        ('{"x": {"kind": "shoes"}}', r"kinds\.json, id 'x': .* is no text or number"),
        ('{"x": [true]}', r"kinds\.json, id 'x': True is no text or number"),
    ],
)
def test_what_is_no_object_of_values_is_refused_by_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _prepared(tmp_path, text)


@pytest.mark.parametrize("columns", [None, ("a", "b")])
def test_the_values_of_an_object_are_one_column(columns: tuple[str, ...] | None) -> None:
    with pytest.raises(ConfigError, match=r"data\.item_table\.columns: of a JSON object name one column"):
        AttributeTable(path="kinds.json", format="object", columns=columns).check("data.item_table")


def test_an_ordered_log_takes_no_table_in_memory() -> None:
    with pytest.raises(ConfigError, match=r"data\.item_table\.table: an ordered log reads files"):
        OrderedLog(name="log", path="log.txt", item_table=AttributeTable(table=_Frame()))


class _Frame:
    def __arrow_c_stream__(self) -> None: ...
