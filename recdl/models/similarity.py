"""How alike two rows of weights are: the measures, and the weightings that come before them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recdl.data.matrix import Sparse
from recdl.errors import ConfigError
from recdl.models.nearest import Terms, nearest
from recdl.models.sums import column_counts, column_sums, row_sums

Measure = Literal["cosine", "pearson", "adjusted_cosine", "jaccard", "dot"]

_CONSTANT = 1e-9
"""What is left of a row's square after its mean is off, as a share, if it comes of rounding alone."""


@dataclass(frozen=True)
class Weighting:
    """Weights of the entries before they are compared: the rows are the documents, the columns the terms.

    `tf_idf` gives an entry w of a column that d of N rows have sqrt(w) log(N / (1 + d)), 0 where that is below 0.
    `bm25` gives it idf w (k1 + 1) / (w + k1 (1 - b + b l / l_mean)), l being the sum of the row, with the same idf
    (Robertson and Zaragoza, 2009, "The probabilistic relevance framework: BM25 and beyond").

    Attributes:
        kind: Which.
        bm25_k1: From what weight on more of it adds little.
        bm25_b: How far long rows are discounted, between 0 (not) and 1.
    """

    kind: Literal["none", "tf_idf", "bm25"] = "none"
    bm25_k1: float = 1.2
    bm25_b: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.bm25_k1 < np.inf:
            raise ConfigError(f"bm25_k1 must be 0 or more, and finite, but is {self.bm25_k1}")
        if not 0 <= self.bm25_b <= 1:
            raise ConfigError(f"bm25_b must lie between 0 and 1, but is {self.bm25_b}")


@dataclass(frozen=True, eq=False)
class Corpus:
    """What the weighting and the measures take from all the rows, to apply to any.

    Attributes:
        n_rows: How many rows there are.
        row_counts: (n_columns,) float64, rows that have the column.
        column_means: (n_columns,) float64, of the weighted entries over all rows, those without an entry included.
        mean_length: Mean sum of a row, before weighting.
    """

    n_rows: int
    row_counts: npt.NDArray[np.float64]
    column_means: npt.NDArray[np.float64]
    mean_length: float

    @classmethod
    def of(cls, rows: Sparse, weighting: Weighting) -> "tuple[Corpus, Sparse]":
        """Return what `rows` (n, n_columns) have, and the rows, weighted."""
        n, n_columns = rows.shape
        counts = column_counts(rows)
        mean_length = float(rows.data.sum(dtype=np.float64)) / max(n, 1)
        corpus = cls(n, counts, np.zeros(n_columns), mean_length)
        weighted = corpus.weighted(rows, weighting)
        means = column_sums(weighted) / max(n, 1)
        return cls(n, counts, means, mean_length), weighted

    def weighted(self, rows: Sparse, weighting: Weighting) -> Sparse:
        """Return any rows (m, n_columns) with weighted entries, those that weigh nothing left out."""
        if weighting.kind == "none":
            return rows
        idf = np.maximum(np.log(self.n_rows / (1 + self.row_counts)), 0)
        data = rows.data.astype(np.float64)
        if weighting.kind == "tf_idf":
            frequency = np.sqrt(data)
        else:
            lengths = row_sums(rows) / self.mean_length
            norms = 1 - weighting.bm25_b + weighting.bm25_b * lengths
            saturation = weighting.bm25_k1 * norms.repeat(np.diff(rows.indptr))
            frequency = data * (weighting.bm25_k1 + 1) / (data + saturation)
        values = (frequency * idf[rows.indices]).astype(np.float32)
        weighted: Sparse = csr_array((values, rows.indices.copy(), rows.indptr.copy()), shape=rows.shape)
        weighted.eliminate_zeros()
        return weighted


@dataclass(frozen=True)
class Similarity:
    """A measure with its settings.

    A missing entry is a weight of 0, not an unknown one, and so takes part in all means:

    - `cosine`: sum(a b) / (|a|^(2 alpha) |b|^(2 (1 - alpha)) + shrinkage);
    - `pearson`: the same after each row's mean over all columns is taken off it;
    - `adjusted_cosine`: the same after each column's mean over all rows is taken off it;
    - `jaccard`: sum(a b) / (|a|^2 + |b|^2 - sum(a b) + shrinkage), which for weights of 1 is what both have over
      what either has;
    - `dot`: sum(a b).

    Rows that share no column are never similar, nor are those whose similarity is not above 0. A row that is
    constant, as one that has every column alike, has no correlation (0/0), and no neighbours by `pearson`.

    Attributes:
        measure: Which.
        shrinkage: Discounts similarities that rest on little.
        alpha: The exponent of a, at 0.5 symmetric; at 1 a common b is not held back (Aiolli, 2013, "Efficient
            top-N recommendation for very large scale binary rated datasets").
    """

    measure: Measure
    shrinkage: float
    alpha: float

    def __post_init__(self) -> None:
        if not 0 <= self.shrinkage < np.inf:
            raise ConfigError(f"model.shrinkage must be 0 or more, and finite, but is {self.shrinkage}")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"model.alpha must lie between 0 and 1, but is {self.alpha}")
        if self.measure in ("jaccard", "dot") and self.alpha != 0.5:
            raise ConfigError(
                f"model.alpha={self.alpha} has no meaning with model.similarity={self.measure}; leave it at 0.5"
            )
        if self.measure == "dot" and self.shrinkage:
            raise ConfigError(
                f"model.shrinkage={self.shrinkage} has no meaning with model.similarity=dot; set it to 0"
            )

    def nearest(
        self,
        rows: Sparse,
        others: Sparse,
        row_terms: Terms,
        other_terms: Terms,
        *,
        left_out: npt.NDArray[np.integer[Any]],
        k: int,
    ) -> Sparse:
        """Return (n, n_others) float32: the similarities of each row with the `k` most similar of the others.

        Args:
            rows: (n, n_columns), weighted.
            others: (n_columns, n_others), weighted, one a column.
            row_terms: What `terms` gives of the rows, with the exponent that is theirs ...
            other_terms: ... and of the others.
            left_out: (n,) which of the others is no neighbour of the row; -1 for none.
            k: Neighbours of each row.
        """
        tanimoto = self.measure == "jaccard"
        settings: dict[str, Any] = {"k": k, "shrinkage": self.shrinkage, "tanimoto": tanimoto}
        return nearest(rows, others, row_terms, other_terms, left_out=left_out, **settings)

    def terms(self, rows: Sparse, corpus: Corpus, *, exponent: float) -> Terms:
        """Return what of weighted rows goes into their similarities.

        Args:
            rows: (n, n_columns), weighted.
            corpus: What the column means are taken from.
            exponent: `alpha` of those whose neighbours are sought, 1 - `alpha` of the others.
        """
        n_columns, nothing = rows.shape[1], np.empty(0)
        squares = row_sums(rows, power=2)
        if self.measure == "dot":
            return Terms(nothing, nothing, np.ones(rows.shape[0]))
        if self.measure == "jaccard":
            return Terms(nothing, nothing, squares)
        if self.measure == "cosine":
            return Terms(nothing, nothing, squares**exponent)
        if self.measure == "pearson":
            factor = row_sums(rows) / np.sqrt(n_columns)
            return Terms(factor, nothing, _spread(squares - factor**2, squares) ** exponent)
        means = corpus.column_means
        where = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        products = np.bincount(where, weights=rows.data * means[rows.indices], minlength=rows.shape[0])
        shared = products.astype(np.float64)
        all_means = float(means @ means)  # of the two rows, each takes half
        spread = _spread(squares - 2 * shared + all_means, squares + all_means)
        addend: npt.NDArray[np.float64] = shared - all_means / 2
        return Terms(nothing, addend, spread**exponent)


def _spread(left: npt.NDArray[np.float64], of: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `left`, what a row's square has above its mean's, or 0 where that is rounding alone."""
    return np.where(left > _CONSTANT * of, left, 0.0)
