"""Columns of tables, encoded for models."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load, save

from recdl.data.features import FeatureColumns, Features, encode
from recdl.data.sessions import sequences
from recdl.errors import ConfigError, DataError, RecordError
from tests.logs import log_of_events

ALL = np.ones(4, np.bool_)


def encoded(column: list[Any], kind: str, *, known: np.ndarray = ALL, type: Any = None) -> Features:
    table = pa.table({"x": pa.array(column, type)})
    return encode(table, FeatureColumns(**{kind: ("x",)}), known, of="items")


def test_categories_are_numbered_by_their_text_and_none_is_0() -> None:
    features = encoded(["shoes", "hats", None, "hats"], "categories")
    assert features.codes.tolist() == [[2], [1], [0], [1]]
    assert features.shares.tolist() == [[1], [1], [0], [1]]
    assert features.n_codes == 3


def test_a_list_of_categories_shares_what_a_single_one_has() -> None:
    features = encoded([["b", "a"], ["b"], [], None], "categories")
    assert features.codes.tolist() == [[2, 1], [2, 0], [0, 0], [0, 0]]
    assert features.shares.tolist() == [[0.5, 0.5], [1, 0], [0, 0], [0, 0]]


def test_a_category_that_no_row_of_train_has_is_none() -> None:
    features = encoded(["a", "b", "c", "b"], "categories", known=np.array([True, True, False, False]))
    assert features.codes.tolist() == [[1], [2], [0], [2]]
    assert features.n_codes == 3


def test_an_empty_text_is_none_and_numbers_may_be_categories() -> None:
    assert encoded(["", "a", "", "a"], "categories").codes.tolist() == [[0], [1], [0], [1]]
    assert encoded([7, 30, None, 7], "categories").codes.tolist() == [[2], [1], [0], [2]]


def test_dictionaries_are_categories_as_their_values_are() -> None:
    column = pa.array(["b", None, "a", "b"]).dictionary_encode()
    features = encode(pa.table({"x": column}), FeatureColumns(categories=("x",)), ALL, of="items")
    assert features.codes.tolist() == [[2], [0], [1], [2]]


def test_numbers_are_standardised_by_train_and_say_whether_they_are_known() -> None:
    features = encoded([1.0, 3.0, None, 5.0], "numbers", known=np.array([True, True, True, False]))
    assert features.dense.tolist() == [[-1, 1], [1, 1], [0, 0], [3, 1]]


def test_a_number_that_is_always_the_same_says_nothing() -> None:
    assert encoded([2, 2, None, 2], "numbers").dense.tolist() == [[0, 1], [0, 1], [0, 0], [0, 1]]


def test_vectors_are_centred_and_scaled_by_train() -> None:
    features = encoded([[0.0, 4.0], [0.0, 0.0], None, [2.0, 2.0]], "vectors", known=np.array([1, 1, 1, 0], bool))
    # The mean of the first two is (0, 2), and each then has a length of 2.
    assert features.dense.tolist() == [[0, 1], [0, -1], [0, 0], [1, 0]]


def test_columns_stand_side_by_side_and_codes_of_each_are_their_own() -> None:
    table = pa.table({"a": ["x", "y"], "b": ["x", None], "n": [1, 3], "v": [[1.0], [3.0]]})
    columns = FeatureColumns(categories=("a", "b"), numbers=("n",), vectors=("v",))
    features = encode(table, columns, np.ones(2, np.bool_), of="users")
    assert features.codes.tolist() == [[1, 3], [2, 0]]
    assert features.n_codes == 4
    assert features.dense.tolist() == [[-1, 1, -1], [1, 1, 1]]


def test_the_order_of_rows_of_the_table_changes_no_code() -> None:
    table = pa.table({"x": ["b", "a", "c", "a"]})
    order = [2, 0, 3, 1]
    features = encode(table, FeatureColumns(categories=("x",)), ALL, of="items")
    turned = encode(table.take(order), FeatureColumns(categories=("x",)), ALL, of="items")
    np.testing.assert_array_equal(turned.codes, features.codes[order])


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        (
            ["1", "2"],
            "numbers",
            r"the items' column 'x' holds string, which is no number; .* data\.item_table\.numb",
        ),
        ([1.0, np.inf], "numbers", r"the items' column 'x', row 1: holds a number that is not finite"),
        ([1.0, 2.0], "vectors", r"the items' column 'x' holds double, not lists of numbers"),
        ([["a"], ["b"]], "vectors", r"the items' column 'x' holds list<.*string>, not lists of numbers"),
        ([[1.0, 2.0], [1.0]], "vectors", r"the items' column 'x', row 1: has 1 numbers where others have 2"),
        ([[1.0, None], [1.0, 2.0]], "vectors", r"the items' column 'x', row 0: holds a number that is not finite"),
        ([{"a": 1}, None], "categories", r"the items' column 'x' holds struct<.*neither a category nor a list"),
        ([[str(i) for i in range(65)], []], "categories", r"column 'x', row 0: has 65 values, more than the 64"),
    ],
)
def test_a_column_that_is_not_what_it_is_read_as_is_refused(column: list[Any], kind: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encoded(column, kind, known=np.ones(2, np.bool_))


def test_a_column_or_a_table_that_is_not_there_is_named() -> None:
    columns = FeatureColumns(categories=("brand",))
    with pytest.raises(
        DataError, match=r"^model\.features\.items: the table of items has no column 'brand'; .*'x'"
    ):
        encode(pa.table({"x": [1]}), columns, np.ones(1, np.bool_), of="items")
    with pytest.raises(
        DataError, match=r"^model\.features\.users: the log has no table of users; give data\.user_t"
    ):
        encode(None, columns, np.ones(1, np.bool_), of="users")


def test_a_column_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^features: a column is named twice: x, x"):
        FeatureColumns(categories=("x",), numbers=("x",))


def test_features_survive_safetensors() -> None:
    features = encoded(["a", None, "b", "a"], "categories")
    state = load(save(features.arrays("features.items.")))
    again = Features.restored(state, "features.items.")
    for name in ("codes", "shares", "dense"):
        np.testing.assert_array_equal(getattr(again, name), getattr(features, name))
    assert again.n_codes == 3
    with pytest.raises(RecordError, match=r"no array 'features\.items\.shares'"):
        Features.restored({n: a for n, a in state.items() if not n.endswith("shares")}, "features.items.")
    with pytest.raises(RecordError, match=r"are damaged \(a category beyond all\)"):
        Features.restored({**state, "features.items.n_codes": np.array([2])}, "features.items.")


def test_sessions_have_what_is_known_of_their_users() -> None:
    from dataclasses import replace

    events = [(0, 0, 0, 1), (0, 10**9, 0, 1), (1, 0, 0, 1)]
    log = log_of_events(events, n_users=2, n_items=2)
    log = replace(log, user_table=pa.table({"city": ["Ulm", "Bonn"]}), item_table=pa.table({"x": [1, 2]}))
    by_session = sequences(log, "1m").log
    assert by_session.user_table is not None and by_session.item_table is not None
    assert by_session.user_table["city"].to_pylist() == ["Ulm", "Ulm", "Bonn"]
    assert by_session.where(np.array([True, False, True])).item_table is by_session.item_table
