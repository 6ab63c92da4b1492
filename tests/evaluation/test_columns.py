from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from recdl.errors import ConfigError
from recdl.evaluation.columns import Values, check_column, read_values

TABLE = pa.table(
    {
        "genre": ["war", None, "", "art", "war"],
        "genres": ["war|art", "art", None, " war ", "art|art"],
        "tags": [["b", "a"], [], None, ["a", None], ["b"]],
        "year": pa.array([1999, 2001, None, 1999, 2001]),
        "nested": [[["a"]], [], None, None, None],
    }
)


def _rows(values: Values) -> list[list[str]]:
    offsets, members, _ = values.sets
    return [[values.names[code] for code in members[start:end]] for start, end in pairwise(offsets)]


@pytest.mark.parametrize(
    ("column", "separator", "expected"),
    [
        ("genre", None, [["war"], [], [], ["art"], ["war"]]),
        ("genres", "|", [["art", "war"], ["art"], [], ["war"], ["art"]]),
        ("genres", None, [["war|art"], ["art"], [], ["war"], ["art|art"]]),
        ("tags", None, [["a", "b"], [], [], ["a"], ["b"]]),
        ("year", None, [["1999"], ["2001"], [], ["1999"], ["2001"]]),
    ],
)
def test_a_column_holds_a_value_a_list_or_a_text_of_several(
    column: str, separator: str | None, expected: list[list[str]]
) -> None:
    values = read_values(TABLE, column, separator=separator)
    assert _rows(values) == expected
    assert list(values.names) == sorted({one for row in expected for one in row})
    assert values.sets.offsets.dtype == np.int64 and values.sets.members.dtype == np.int32


def test_a_column_of_nothing_has_no_values() -> None:
    values = read_values(pa.table({"genre": pa.array([None, None], pa.string())}), "genre")
    assert values.names == () and values.sets.offsets.tolist() == [0, 0, 0]


def test_lists_of_lists_are_no_values() -> None:
    with pytest.raises(ConfigError, match="the column 'nested' holds list"):
        read_values(TABLE, "nested")


def test_a_column_that_is_not_there_is_an_error_that_names_the_setting_and_what_is_there() -> None:
    with pytest.raises(ConfigError, match=r"evaluation.x: .* has no column 'brand'; it has 'genre', 'genres'"):
        check_column(TABLE, "brand", setting="evaluation.x", of="items")
    with pytest.raises(ConfigError, match=r"has no table of users, .* give data.user_table.path"):
        check_column(None, "age", setting="evaluation.x", of="users")
