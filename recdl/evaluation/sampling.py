"""Candidates of each query drawn at random, where a protocol asks for that."""

import numpy as np
import numpy.typing as npt

from recdl.data.queries import Candidates, QuerySet
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import ConfigError
from recdl.evaluation.protocol import SampledCandidates

_ROUNDS = 20
"""Draws with the refused ones thrown away, before the rest is drawn exactly."""

Items = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float64]


def sample_candidates(
    query_set: QuerySet,
    sampled: SampledCandidates,
    *,
    candidates: npt.NDArray[np.bool_],
    item_events: npt.NDArray[np.int64],
    exclude_history: bool,
) -> Candidates:
    """Draw what each query ranks: its targets, and other candidates without replacement.

    Args:
        query_set: Queries without candidates of their own.
        sampled: How many, by what, and the seed.
        candidates: (n_items,) bool, items that may be recommended.
        item_events: (n_items,) int64, train events of each, by which popular items are drawn more often.
        exclude_history: Whether items of a query's own history are not to be drawn.

    Raises:
        ConfigError: If the queries have candidates already.
    """
    if query_set.candidates is not None:
        raise ConfigError(
            "sampled: the split gives each query its candidates in a file; draw none (sampled=null), or give no"
            " file (split.candidates=null)"
        )
    pool = np.flatnonzero(candidates).astype(np.int32)
    weights = item_events[pool].astype(np.float64) if sampled.by == "popularity" else np.ones(len(pool))
    # New items have no event; they are to be drawn as rarely as can be, but they are candidates.
    weights = np.maximum(weights, np.min(weights[weights > 0], initial=1.0))
    rng = np.random.default_rng(sampled.seed)
    queries, offsets = query_set.queries, query_set.target_offsets
    drawn = []
    for row in range(len(query_set)):
        own = query_set.target_items[offsets[row] : offsets[row + 1]]
        own = own[own != UNKNOWN]
        history = np.asarray(queries.items[queries.starts[row] : queries.ends[row]])
        refused = np.union1d(own, history) if exclude_history else own
        drawn.append(np.sort(np.append(own, _draw(rng, pool, weights, refused, sampled.n))).astype(np.int32))
    ends = np.cumsum([0, *map(len, drawn)]).astype(np.int64)
    return Candidates(ends, np.concatenate(drawn))


def sampled_warning(sampled: SampledCandidates) -> str:
    """Say what figures among sampled candidates are worth."""
    drawn = "drawn evenly" if sampled.by == "uniform" else "drawn by popularity"
    return (
        f"each query ranks its targets among {sampled.n} items {drawn}, not among the catalogue"
        " (evaluation.sampled): figures are far higher than those of full ranking, and may order models"
        " differently (Krichene & Rendle, 2020)"
    )


def _draw(rng: np.random.Generator, pool: Items, weights: Weights, refused: Items, n: int) -> Items:
    """Draw `n` different items of the rising `pool` that are not `refused`, each by the weights of those left."""
    free = len(pool) - int(np.isin(refused, pool).sum())
    if free <= n:
        return pool[~np.isin(pool, refused)]
    bounds = np.cumsum(weights)
    taken = np.empty(0, np.int32)
    for _ in range(_ROUNDS):
        places = np.searchsorted(bounds, rng.random(2 * n) * bounds[-1], side="right")
        fresh = pool[np.minimum(places, len(pool) - 1)]
        both = np.append(taken, fresh[~np.isin(fresh, refused)])
        taken = both[np.sort(np.unique(both, return_index=True)[1])]  # each once, in the order of the draw
        if len(taken) >= n:
            return taken[:n]
    left = ~np.isin(pool, np.append(refused, taken))
    shares = weights[left] / weights[left].sum()
    more: Items = rng.choice(pool[left], n - len(taken), replace=False, p=shares)
    return np.append(taken, more)
