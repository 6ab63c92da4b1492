"""How sure a figure or a difference is: clustered bootstrap, paired tests, Holm's correction, sizes and power.

Queries of one user are not independent, so users are resampled, not queries. Every function takes `clusters`
(n_queries,) integers: queries of an equal value >= 0 stand or fall together, and each -1 (an unknown visitor) is a
cluster of its own. The user column of an evaluation's per-query table is just that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from recdl.errors import DataError

# Bytes of resampling weights or signs held at a time.
_BLOCK_BYTES = 32 * 2**20
# Sums of the same numbers in another order may differ by rounding; such statistics are equal.
_ROUNDING = 1e-12

Values = npt.NDArray[np.float64]
TestMethod = Literal["permutation", "bootstrap"]


@dataclass(frozen=True)
class PairedTest:
    """A difference between two runs on the same queries.

    Attributes:
        difference: Mean of the first minus mean of the second.
        interval: Percentile bootstrap interval of the difference.
        p_value: Two-sided, of no difference; in (0, 1].
        standard_error: Of the difference, users being what is drawn.
        effect_size: The difference over the standard deviation of the queries' differences (Cohen's d of paired
            values); None where they do not vary. Sakai, "Statistical reform in information retrieval?", SIGIR
            Forum 2014.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    standard_error: float
    effect_size: float | None


def bootstrap_intervals(
    values: Values,
    clusters: npt.NDArray[np.integer],
    *,
    seed: int,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> Values:
    """Return a percentile interval of the mean of each column, resampling whole clusters with replacement.

    A replicate's mean is its sum over its number of queries (a ratio: clusters differ in size). One cluster alone
    gives an interval of no width: it says nothing of how clusters vary.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; Davison and Hinkley, "Bootstrap
    Methods and their Application", 1997, section 3.8.

    Args:
        values: (n_queries, n_columns) float64.
        clusters: (n_queries,) integers; see the module.
        seed: Of the resampling.
        n_bootstrap: Number of replicates.
        confidence: Share of the replicates between the two ends.

    Returns:
        (n_columns, 2) float64, the lower and the upper end.

    Raises:
        DataError: If there is no query.
    """
    means = _replicates(values, _codes(clusters), seed, n_bootstrap)
    tail = (1.0 - confidence) / 2.0
    ends: Values = np.quantile(means, [tail, 1.0 - tail], axis=0)
    return ends.T


def paired_test(
    a: Values,
    b: Values,
    clusters: npt.NDArray[np.integer],
    *,
    seed: int,
    method: TestMethod = "permutation",
    n_permutations: int = 10_000,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> PairedTest:
    """Compare two runs query by query: a paired test, two-sided, and a bootstrap interval.

    By `permutation`: if the two were alike, each user's difference could as well have had the other sign. The
    p-value is the share of random signs under which the mean difference is at least as far from 0 as it is, the
    signs observed counted among them, so it is never 0.

    By `bootstrap`: users are drawn anew, and the p-value is the share of replicates whose mean difference is at
    least as far from that observed as this is from 0, with the replicate observed counted among them.

    Sakai, "Evaluating evaluation metrics based on the bootstrap", SIGIR 2006; Smucker, Allan and Carterette, "A
    comparison of statistical significance tests for information retrieval evaluation", CIKM 2007; Phipson and
    Smyth, "Permutation p-values should never be zero", SAGMB 2010.

    Args:
        a: (n_queries,) float64, one metric of the first run.
        b: (n_queries,) float64, the same of the second, query by query.
        clusters: (n_queries,) integers; see the module.
        seed: Of the signs and of the resampling.
        method: Of the p-value.
        n_permutations: Number of random signs, or of replicates of the bootstrap test.
        n_bootstrap: Number of replicates of the interval.
        confidence: Share of the replicates within the interval.

    Raises:
        DataError: If there is no query, or the two runs do not have as many.
    """
    if len(a) != len(b):
        raise DataError(f"one run has {len(a)} queries, the other {len(b)}; a paired test needs the same queries")
    (result,) = paired_tests(
        (a - b)[:, None],
        clusters,
        seed=seed,
        method=method,
        n_permutations=n_permutations,
        n_bootstrap=n_bootstrap,
        confidence=confidence,
    )
    return result


def paired_tests(
    differences: Values,
    clusters: npt.NDArray[np.integer],
    *,
    seed: int,
    method: TestMethod = "permutation",
    n_permutations: int = 10_000,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> list[PairedTest]:
    """Make the test of `paired_test` for each column of differences, all by the same signs and draws.

    To draw these takes most of a test's time: a hundred tests cost little more than one.

    Args:
        differences: (n_queries, n_tests) float64, one metric of one run less the same of another.
        clusters: (n_queries,) integers; see the module.
        seed: As in `paired_test`, and so are all that follow.
        method: Of the p-values.
        n_permutations: Number of random signs, or of replicates of the bootstrap test.
        n_bootstrap: Number of replicates of the intervals.
        confidence: Share of the replicates within an interval.

    Raises:
        DataError: If there is no query.
    """
    codes = _codes(clusters)
    signs_seed, bootstrap_seed = np.random.SeedSequence(seed).generate_state(2)
    if method == "permutation":
        totals = _totals(differences, codes)
        p_values = _sign_flip_p_values(totals, np.random.default_rng(signs_seed), n_permutations)
    else:
        p_values = _shifted_p_values(differences, codes, int(signs_seed), n_permutations)
    intervals = bootstrap_intervals(
        differences, clusters, seed=int(bootstrap_seed), n_bootstrap=n_bootstrap, confidence=confidence
    )
    return [
        PairedTest(
            difference=float(column.mean()),
            interval=(float(low), float(high)),
            p_value=float(p_value),
            standard_error=float(error),
            effect_size=_effect_size(column),
        )
        for column, (low, high), p_value, error in zip(
            differences.T, intervals, p_values, _standard_errors(differences, codes), strict=True
        )
    ]


def standard_error(values: Values, clusters: npt.NDArray[np.integer]) -> float:
    """Return the standard error of the mean of (n_queries,) values if clusters are drawn; 0 of a single one.

    That of a ratio of sums over clusters, by linearization: Cochran, "Sampling Techniques", 1977, section 6.4.

    Raises:
        DataError: If there is no query.
    """
    return float(_standard_errors(values[:, None], _codes(clusters))[0])


def _standard_errors(values: Values, codes: npt.NDArray[np.int64]) -> Values:
    residuals = _totals(values - values.mean(axis=0), codes)
    n = len(residuals)
    correction = n / (n - 1) if n > 1 else 0.0
    errors: Values = np.sqrt(correction * np.square(residuals).sum(axis=0)) / len(values)
    return errors


def detectable_difference(error: float, *, confidence: float = 0.95, power: float = 0.8) -> float:
    """Return how large a difference must be for a test on as many queries to see it `power` of the time.

    (z of 1 - alpha / 2, plus z of the power) times the standard error `error` of a difference, as means of many
    queries are normal. Sakai, "Topic set size design", Information Retrieval Journal 2016.
    """
    return (_z((1.0 + confidence) / 2.0) + _z(power)) * error


def queries_needed(difference: float, detectable: float, n_queries: int) -> int:
    """Return how many queries it takes to see a `difference`, above 0, where `n_queries` show one of `detectable`.

    A standard error shrinks with the root of the number of queries.
    """
    if not difference > 0:
        raise ValueError(f"the difference to be seen must be above 0, not {difference}")
    return max(1, math.ceil(n_queries * (detectable / difference) ** 2))


def holm(p_values: Sequence[float] | Values) -> Values:
    """Adjust p-values for testing all of them: calling those <= alpha real errs at all with chance <= alpha.

    The i-th smallest of m is multiplied by m - i + 1, made no smaller than the ones before it, and at most 1.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    factors = np.arange(len(raw), 0, -1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    return adjusted


def _codes(clusters: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Number the clusters 0 ... n - 1, each -1 apart."""
    if not len(clusters):
        raise DataError("there is no query to draw conclusions from")
    own = clusters < 0
    known, codes = np.unique(clusters, return_inverse=True)
    codes = codes.astype(np.int64)
    codes[own] = len(known) + np.arange(np.count_nonzero(own))
    dense: npt.NDArray[np.int64] = np.unique(codes, return_inverse=True)[1]
    return dense


def _totals(values: Values, codes: npt.NDArray[np.int64], *, counted: bool = False) -> Values:
    """Sum the rows (n_queries, n_columns) of each cluster; `counted` adds a column, how many rows there are."""
    sizes = np.bincount(codes)
    totals = np.empty((len(sizes), values.shape[1] + counted))
    for own, column in zip(totals.T, values.T, strict=False):
        own[:] = np.bincount(codes, weights=column)
    if counted:
        totals[:, -1] = sizes
    return totals


def _replicates(values: Values, codes: npt.NDArray[np.int64], seed: int, n_replicates: int) -> Values:
    """Return (n_replicates, n_columns) the means of draws of whole clusters with replacement."""
    totals = _totals(values, codes, counted=True)
    n_clusters = len(totals)
    generator = np.random.default_rng(seed)
    sums = np.empty((n_replicates, totals.shape[1]))
    at_once = max(1, _BLOCK_BYTES // (8 * n_clusters))
    for start in range(0, n_replicates, at_once):
        block = sums[start : start + at_once]
        weights = np.empty((len(block), n_clusters))
        for row in weights:
            row[:] = np.bincount(generator.integers(n_clusters, size=n_clusters), minlength=n_clusters)
        np.matmul(weights, totals, out=block)
    means: Values = sums[:, :-1] / sums[:, -1:]
    return means


def _z(share: float) -> float:
    return NormalDist().inv_cdf(share)


def _effect_size(differences: Values) -> float | None:
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return mean / deviation if deviation > _ROUNDING * abs(mean) else None


def _shifted_p_values(differences: Values, codes: npt.NDArray[np.int64], seed: int, n_replicates: int) -> Values:
    means = _replicates(differences, codes, seed, n_replicates)
    observed, scale = differences.mean(axis=0), np.abs(differences).mean(axis=0)
    extreme = np.abs(means - observed) >= np.abs(observed) - _ROUNDING * scale
    p_values: Values = (1 + np.count_nonzero(extreme, axis=0)) / (1 + n_replicates)
    return p_values


def _sign_flip_p_values(totals: Values, generator: np.random.Generator, n_permutations: int) -> Values:
    """Return the p-value of each column of (n_clusters, n_tests)."""
    totals = totals[(totals != 0.0).any(axis=1)]  # a sign changes nothing about 0
    sums, scale = totals.sum(axis=0), np.abs(totals).sum(axis=0)
    n_bytes = max(1, -(-len(totals) // 8))
    at_once = max(1, _BLOCK_BYTES // (8 * 8 * n_bytes))
    extreme = np.zeros(totals.shape[1], np.int64)
    for start in range(0, n_permutations, at_once):
        size = (min(at_once, n_permutations - start), n_bytes)
        bits = np.unpackbits(generator.integers(256, size=size, dtype=np.uint8), axis=1, count=len(totals))
        # The signs are 2 bits - 1.
        statistics = np.abs(2.0 * (bits.astype(np.float64) @ totals) - sums)
        extreme += np.count_nonzero(statistics >= np.abs(sums) - _ROUNDING * scale, axis=0)
    p_values: Values = (1 + extreme) / (1 + n_permutations)
    return p_values
