"""What a model reads of the tables of users and items: columns encoded as arrays, once, before it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from recdl.errors import ConfigError, DataError, RecordError

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_VALUES = 64


@dataclass(frozen=True, kw_only=True)
class FeatureColumns:
    """Columns of a table of users or items that a model reads.

    Attributes:
        categories: Columns that hold a value, or a list of values, of a few kinds: a brand, genres.
        numbers: Columns of numbers.
        vectors: Columns of lists of numbers, all equally long: what a language model says of a text.
    """

    categories: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"features: a column is named twice: {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """All of the columns."""
        return (*self.categories, *self.numbers, *self.vectors)

    def __bool__(self) -> bool:
        return bool(self.names)


@dataclass(frozen=True, eq=False)
class Features:
    """What is known of users or items, row i of index i; a row of which nothing is known holds only zeros.

    Attributes:
        codes: (n, w) int32, the categories of each, right-padded with 0, which is none.
        shares: (n, w) float32: of several categories of one column each has its share; 0 where there is none.
        dense: (n, m) float32: numbers, less their mean, over their standard deviation, each followed by whether it
            is known; then vectors, less their mean, at a mean squared length of 1.
        n_codes: Categories, and 1 for none.
    """

    codes: npt.NDArray[np.int32]
    shares: npt.NDArray[np.float32]
    dense: npt.NDArray[np.float32]
    n_codes: int

    def __post_init__(self) -> None:
        n = len(self.codes)
        assert self.codes.shape == self.shares.shape and len(self.dense) == n, "features differ in their rows"
        assert self.codes.min(initial=0) >= 0 and self.codes.max(initial=0) < self.n_codes, "a category beyond all"

    def __len__(self) -> int:
        return len(self.codes)

    def with_nothing(self, rows: int) -> "Features":
        """Return the features with further rows at the end, of which nothing is known."""
        codes, shares, dense = (
            np.concatenate([array, np.zeros((rows, array.shape[1]), array.dtype)])
            for array in (self.codes, self.shares, self.dense)
        )
        return Features(codes, shares, dense, self.n_codes)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Return what `restored` makes them of again."""
        named = {
            "codes": self.codes,
            "shares": self.shares,
            "dense": self.dense,
            "n_codes": np.array(self.n_codes),
        }
        return {prefix + name: array for name, array in named.items()}

    @classmethod
    def restored(cls, state: Mapping[str, npt.NDArray[Any]], prefix: str) -> Self:
        """Put features together from the arrays of a stored model.

        Raises:
            RecordError: If one is missing, or they do not fit each other.
        """
        arrays = {}
        for name in ("codes", "shares", "dense", "n_codes"):
            if prefix + name not in state:
                raise RecordError(f"the stored model has no array {prefix + name!r}; train and export it again")
            arrays[name] = state[prefix + name]
        try:
            return cls(arrays["codes"], arrays["shares"], arrays["dense"], int(arrays["n_codes"].item()))
        except (AssertionError, TypeError, ValueError) as error:
            raise RecordError(f"the features of the stored model are damaged ({error}); train it again") from error


def encode(
    table: "pa.Table | None", columns: FeatureColumns, known: npt.NDArray[np.bool_], *, of: str
) -> Features:
    """Encode columns of a table, with categories and moments of the rows in `known` alone: those of train.

    A value that is missing, and a category that no row of train has, adds nothing; an empty text is missing.

    Args:
        table: Row i for index i; None where the log has none.
        columns: What of it.
        known: (n,) bool, whether train has an event of the index.
        of: users or items, for messages.

    Raises:
        DataError: If there is no table, it lacks a column, or a column holds what it should not, by its row.
    """
    name = of.removesuffix("s")
    if table is None:
        raise DataError(
            f"model.features.{of}: the log has no table of {of}; give data.{name}_table.path, or name no columns"
        )
    assert len(table) == len(known), "a row for each index"
    for column in columns.names:
        if column not in table.column_names:
            raise DataError(
                f"model.features.{of}: the table of {of} has no column {column!r}; it has"
                f" {', '.join(map(repr, table.column_names))}"
            )
    codes, shares, n_codes = [], [], 1
    for column in columns.categories:
        own, own_shares, n = _categories(table[column].combine_chunks(), known, f"the {of}' column {column!r}")
        codes.append(np.where(own > 0, own + (n_codes - 1), 0).astype(np.int32))
        shares.append(own_shares)
        n_codes += n
    dense = [_number(table[column].combine_chunks(), known, of, column) for column in columns.numbers]
    dense += [_vector(table[column].combine_chunks(), known, of, column) for column in columns.vectors]
    rows = len(known)
    return Features(
        np.concatenate([np.zeros((rows, 0), np.int32), *codes], 1),
        np.concatenate([np.zeros((rows, 0), np.float32), *shares], 1),
        np.concatenate([np.zeros((rows, 0), np.float32), *dense], 1),
        n_codes,
    )


def _categories(
    column: Any, known: npt.NDArray[np.bool_], title: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """Return (n, w) codes from 1, 0 where there is none, their shares, and how many codes there are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows, values = np.arange(len(known)), column
    if _is_list(column.type):
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        rows, values = np.repeat(rows, counts), pc.list_flatten(column)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_nested(values.type):
        raise DataError(f"{title} holds {column.type}, which is neither a category nor a list of categories")
    text = values.cast(pa.large_string())
    encoded = pc.if_else(pc.equal(text, ""), None, text).dictionary_encode()
    indices = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    kept = np.unique(indices[known[rows] & (indices >= 0)])
    # Codes follow the text, not the order of the rows, so that equal tables give equal codes.
    names = np.array(encoded.dictionary.to_pylist(), object)[kept]
    code_of = np.zeros(len(encoded.dictionary) + 1, np.int64)
    code_of[kept[np.argsort(names)]] = np.arange(1, len(kept) + 1)
    codes = code_of[indices]  # the last, of -1, is 0
    rows, codes = rows[codes > 0], codes[codes > 0]
    counts = np.bincount(rows, minlength=len(known))
    width = int(counts.max(initial=0))
    if width > _MOST_VALUES:
        raise DataError(
            f"{title}, row {int(counts.argmax())}: has {width} values, more than the {_MOST_VALUES} that a list of"
            " categories may have"
        )
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.zeros((len(known), width), np.int64)
    padded[rows, places] = codes
    shares = (padded > 0) / np.maximum(counts, 1)[:, None]
    return padded, shares.astype(np.float32), len(kept)


def _number(column: Any, known: npt.NDArray[np.bool_], of: str, name: str) -> npt.NDArray[np.float32]:
    """Return (n, 2) float32: the standardised number, and whether it is known."""
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise DataError(
            f"the {of}' column {name!r} holds {kind}, which is no number; of a text file, name it in"
            f" data.{of.removesuffix('s')}_table.numbers"
        )
    numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    present = ~np.isnan(numbers)
    _check_finite(numbers[:, None], of, name)
    train = numbers[present & known]
    mean, deviation = (train.mean(), train.std()) if len(train) else (0.0, 0.0)
    standard = np.where(present, numbers - mean, 0.0) / (deviation or 1.0)
    return np.stack([standard, present], 1).astype(np.float32)


def _vector(column: Any, known: npt.NDArray[np.bool_], of: str, name: str) -> npt.NDArray[np.float32]:
    """Return (n, d) float32."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    inner = kind.value_type if _is_list(kind) else None
    if inner is None or not (pa.types.is_floating(inner) or pa.types.is_integer(inner)):
        raise DataError(f"the {of}' column {name!r} holds {kind}, not lists of numbers")
    present = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    present &= lengths > 0
    width = int(lengths.max(initial=0))
    other = np.flatnonzero(present & (lengths != width))
    if len(other):
        raise DataError(
            f"the {of}' column {name!r}, row {other[0]}: has {lengths[other[0]]} numbers where others have {width}"
        )
    vectors = np.zeros((len(known), width), np.float64)
    flat = pc.list_flatten(column.filter(pa.array(present))).cast(pa.float64())
    vectors[present] = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    _check_finite(np.where(np.isnan(vectors), np.inf, vectors), of, name)
    train = vectors[present & known]
    if not len(train):
        return np.zeros((len(known), width), np.float32)
    vectors[present] -= train.mean(0)
    length = np.sqrt(np.square(vectors[present & known]).sum(1).mean())
    return (vectors / (length or 1.0)).astype(np.float32)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _check_finite(numbers: npt.NDArray[np.float64], of: str, name: str) -> None:
    bad = np.flatnonzero(np.isinf(numbers).any(1))
    if len(bad):
        raise DataError(f"the {of}' column {name!r}, row {bad[0]}: holds a number that is not finite")
