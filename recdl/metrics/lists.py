"""Metrics of one list from the items in it: how popular, new, diverse, repeated and well-proportioned they are.

Every function takes `Lists` and the cutoff `k`, between 1 and the length of the lists, and returns float64
(n_queries,). A list is its first k items, fewer where the candidates ran out; means are over the items there
are. A list without items has the value 0.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from recdl.threads import in_threads

Values = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]
Items = npt.NDArray[np.int32]
_Known = TypeVar("_Known")

SMOOTHING = 0.01
"""Of miscalibration: how much of the user's own mix is put under that of the list."""

_WORD = 64
_WORDS_A_MEMBER = 12  # of two sets as bits, compared in the time in which one member of a set is gone through
_MOST_BYTES = 2**26  # of all sets as bits


class Sets(NamedTuple):
    """A set for each item: the users who have it, or its categories.

    Attributes:
        offsets: (n_items + 1,) int64.
        members: Flat int32, those of item `i` at `offsets[i]` to `offsets[i + 1]`, none twice.
        n_members: How many different ones there may be.
    """

    offsets: Offsets
    members: Items
    n_members: int


class Histories(NamedTuple):
    """What each query has had: events `starts[q]` to `ends[q]` of the flat `items`."""

    starts: Offsets
    ends: Offsets
    items: Items


class Train(NamedTuple):
    """What a metric may know of the log that models learn from.

    Attributes:
        item_events: (n_items,) int64, events of each item.
        item_users: (n_items,) int64, distinct users who have it.
        n_users: Users with an event.
    """

    item_events: Offsets
    item_users: Offsets
    n_users: int


@dataclass(frozen=True, eq=False)
class Lists:
    """What was recommended, and what is known of it; a metric that lacks what it needs says so.

    Attributes:
        items: (n_queries, at least k) int32, best first, -1 where a list is shorter.
        candidates: (n_items,) bool, items that may be recommended; at least one.
        train: What models learn from.
        histories: Of the queries.
        users: For each item, users who have it.
        categories: For each item, its categories.
    """

    items: Items
    candidates: npt.NDArray[np.bool_]
    train: Train | None = None
    histories: Histories | None = None
    users: Sets | None = None
    categories: Sets | None = None

    def first(self, k: int) -> Items:
        """Return (n_queries, k) items.

        Raises:
            ValueError: If the lists are shorter than `k`.
        """
        if not 1 <= k <= self.items.shape[1]:
            raise ValueError(
                f"the cutoff k must lie in 1 ... {self.items.shape[1]}, the length of the lists, not {k}"
            )
        return self.items[:, :k]

    def counts(self, k: int) -> Offsets:
        """Return (n_queries,) how many items there are in each list."""
        self.first(k)
        return self._running_counts[:, k - 1]

    def mean(self, values: Values, k: int) -> Values:
        """Return the mean of `values` (n_items,) over the items of each list."""
        padded = np.append(values, 0.0)  # the last place is that of the padding, -1
        return np.asarray(padded[self.first(k)].sum(axis=1) / np.maximum(self.counts(k), 1))

    def exposures(self, k: int) -> Offsets:
        """Return (n_items,) how many lists each item stands in, of those that are no candidates too."""
        if k not in self._exposures:
            shown = self.first(k)
            self._exposures[k] = np.bincount(shown[shown >= 0], minlength=len(self.candidates))
        return self._exposures[k]

    @cached_property
    def _exposures(self) -> dict[int, Offsets]:
        return {}

    @cached_property
    def _running_counts(self) -> Offsets:
        """(n_queries, length), how many items there are in the first 1, 2, ... places."""
        return np.cumsum(self.items >= 0, axis=1)

    @cached_property
    def repeated(self) -> npt.NDArray[np.bool_]:
        """(n_queries, length) bool, whether an item stands in the history of its query."""
        from recdl.metrics.loops import mark_repeated

        histories = _needed(self.histories, "repeat", "the histories of the queries")
        found = np.zeros(self.items.shape, np.bool_)
        mark_repeated(self.items, *histories, len(self.candidates), found)
        return found

    def similarity(self, sets: Sets) -> Values:
        """Return (n_queries, length), the sum of the cosines of all pairs among the first 1, 2, ... items."""
        from recdl.metrics.loops import add_similarities, add_similarities_of_bits, set_bits

        lists, sums = self.items, np.zeros(self.items.shape, np.float64)
        shown = lists[lists >= 0]
        rows = np.full(len(sets.offsets) - 1, -1, np.int32)
        rows[shown] = 0
        different = np.flatnonzero(rows == 0).astype(np.int32)
        rows[different] = np.arange(len(different))
        n_words = -(-sets.n_members // _WORD)
        by_members = np.diff(sets.offsets)[shown].sum()
        by_words = len(shown) * (lists.shape[1] - 1) / 2 * n_words / _WORDS_A_MEMBER
        work = np.ones(len(lists))
        if by_members < by_words or 8 * n_words * len(different) > _MOST_BYTES:
            in_threads(lambda start, end: add_similarities(lists[start:end], *sets, sums[start:end]), work)
            return sums
        bits = np.zeros((len(different), n_words), np.uint64)
        set_bits(different, sets.offsets, sets.members, bits)
        in_threads(
            lambda start, end: add_similarities_of_bits(
                lists[start:end], sets.offsets, rows, bits, sums[start:end]
            ),
            work,
        )
        return sums

    @cached_property
    def user_similarity(self) -> Values:
        """As `similarity`, by the users who have the items."""
        return self.similarity(_needed(self.users, "diversity", "the users of the items"))

    @cached_property
    def category_similarity(self) -> Values:
        """As `similarity`, by the categories of the items."""
        return self.similarity(_needed(self.categories, "category_diversity", "the categories of the items"))

    @cached_property
    def divergence(self) -> Values:
        """(n_queries, length), miscalibration of the first 1, 2, ... items."""
        from recdl.metrics.loops import add_divergences

        histories = _needed(self.histories, "miscalibration", "the histories of the queries")
        categories = _needed(self.categories, "miscalibration", "the categories of the items")
        found = np.zeros(self.items.shape, np.float64)
        add_divergences(self.items, *histories, *categories, SMOOTHING, found)
        return found


def average_popularity(lists: Lists, k: int) -> Values:
    """Mean number of train events of the items in the list.

    Yin, Cui, Li, Yao and Chen, "Challenging the long tail recommendation", VLDB 2012 (its mean is the average
    recommendation popularity).
    """
    return lists.mean(_needed(lists.train, "popularity", "the train part").item_events.astype(np.float64), k)


def novelty(lists: Lists, k: int) -> Values:
    """Mean self-information -log2(p) of the items in the list, in bits, p the share of train users who have it.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010; Castells,
    Hurley and Vargas, "Novelty and diversity in recommender systems", Recommender Systems Handbook, 2015. An
    item that no train user has counts as if one had it.
    """
    train = _needed(lists.train, "novelty", "the train part")
    return lists.mean(np.log2(train.n_users / np.maximum(train.item_users, 1)), k)


def diversity(lists: Lists, k: int) -> Values:
    """Mean of 1 - cosine over the pairs of items in the list, an item being the set of the users who have it.

    Ziegler, McNee, Konstan and Lausen, "Improving recommendation lists through topic diversification", WWW 2005
    (as intra-list similarity). The cosine of two sets is the size of what they share, over the root of the
    product of their sizes; of an empty set it is 0. A list of fewer than two items has the value 0.
    """
    return _distance(lists, lists.user_similarity, k)


def category_diversity(lists: Lists, k: int) -> Values:
    """As `diversity`, an item being the set of its categories."""
    return _distance(lists, lists.category_similarity, k)


def repeat_rate(lists: Lists, k: int) -> Values:
    """Share of the items in the list that stand in the history of the query.

    Li, Jullien, Ariannezhad and de Rijke, "A next basket recommendation reality check", TOIS 2023 (repetition
    ratio).
    """
    lists.first(k)
    return np.asarray(lists.repeated[:, :k].sum(axis=1) / np.maximum(lists.counts(k), 1))


def miscalibration(lists: Lists, k: int) -> Values:
    """Divergence of the list's mix of categories q from that of the history p: the sum of p log(p / q'), in nats.

    Steck, "Calibrated recommendations", RecSys 2018, equations 2 to 5, with q' = 0.99 q + 0.01 p and every event
    and every place alike. An item with several categories has its share of each, one without adds nothing. 0 is
    perfect, the most is -log 0.01 = 4.6. A query whose history has no category has the value 0; a list that has
    none, the most.
    """
    lists.first(k)
    return lists.divergence[:, k - 1]


def _distance(lists: Lists, similarity: Values, k: int) -> Values:
    counts = lists.counts(k)
    pairs = counts * (counts - 1) / 2.0
    return np.where(pairs > 0, 1.0 - similarity[:, k - 1] / np.maximum(pairs, 1.0), 0.0)


def _needed(known: _Known | None, metric: str, what: str) -> _Known:
    if known is None:
        raise ValueError(f"{metric} needs {what}")
    return known
