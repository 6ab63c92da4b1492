"""Whether the order of events carries information: can the next item be told better than in a shuffled log?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recdl.data.diagnosis.findings import Finding, percent
from recdl.data.interactions import Interactions
from recdl.data.queries import ragged_positions

SHUFFLES = 19
"""Shuffled logs: with 19 the smallest p-value is .05."""
LIST_LENGTH = 10
LEAST_USERS = 20
"""Users in each half below which nothing is said."""
_LITTLE = 0.1  # a relative gain below which order says little

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """What a first-order transition model knows of the next item, and what it would know without order.

    Attributes:
        users: Users in the sample, in both halves.
        events: Their events.
        sampled: Whether these are not all users with two events or more.
        list_length: Items that the model names.
        hit_rate: Share of the steps to another item whose item is among those named, mean over users; null if
            there are too few users to tell.
        shuffled_hit_rate: The same where each history is shuffled, mean over the shuffles.
        difference: Mean over users of the difference.
        interval: Its 95 % interval over users (normal approximation).
        p_value: Share of the logs, this one and the shuffled ones, that are as predictable as this one.
    """

    users: int
    events: int
    sampled: bool
    list_length: int
    hit_rate: float | None = None
    shuffled_hit_rate: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None

    @property
    def tells(self) -> bool:
        """Whether order makes the next item easier to tell, beyond chance."""
        return self.interval is not None and self.interval[0] > 0 and (self.p_value or 1.0) <= 0.05


def measure_order(log: Interactions, *, max_events: int, seed: int = 0) -> Order:
    """Fit transitions on one half of the users, measure on the other, and again with each history shuffled.

    The model names the items that most often came next after an item. Steps from an item to itself are left out:
    that a page is opened twice is no taste. Events of one moment are put in random order, since theirs is unknown.

    Args:
        log: The log.
        max_events: About so many events of users drawn at random are looked at.
        seed: Of the sample, the halves and the shuffles.
    """
    generator = np.random.default_rng(seed)
    users = _sample(log, max_events, generator)
    if not len(users):
        return Order(users=0, events=0, sampled=False, list_length=LIST_LENGTH)
    lengths = log.offsets[users + 1] - log.offsets[users]
    positions = ragged_positions(log.offsets[users], log.offsets[users + 1])
    owners = np.repeat(np.arange(len(users)), lengths)
    items, times = log.items[positions].astype(np.int64), log.timestamps[positions]
    k = max(1, min(LIST_LENGTH, len(np.unique(items)) // 10))
    order = Order(len(users), len(items), len(users) < int((np.diff(log.offsets) >= 2).sum()), k)
    moments = np.cumsum(np.append(0, (owners[1:] != owners[:-1]) | (times[1:] != times[:-1])))
    half = generator.permutation(len(users)) % 2 == 0
    observed = _hit_rates(owners, _shuffled(items, moments, generator), half, log.n_items, k)
    if np.isfinite(observed).sum() < LEAST_USERS:
        return order
    shuffled = np.array(
        [_hit_rates(owners, _shuffled(items, owners, generator), half, log.n_items, k) for _ in range(SHUFFLES)]
    )
    known = np.isfinite(observed) & np.isfinite(shuffled).all(0)
    if known.sum() < LEAST_USERS:
        return order
    observed, shuffled = observed[known], shuffled[:, known]
    differences = observed - shuffled.mean(0)
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
    as_good = int((shuffled.mean(1) >= observed.mean()).sum())
    return Order(
        order.users,
        order.events,
        order.sampled,
        k,
        hit_rate=float(observed.mean()),
        shuffled_hit_rate=float(shuffled.mean()),
        difference=mean,
        interval=(mean - 1.96 * error, mean + 1.96 * error),
        p_value=(1 + as_good) / (1 + SHUFFLES),
    )


def _sample(log: Interactions, max_events: int, generator: np.random.Generator) -> Integers:
    """Return indices of users with two events or more, drawn at random, with about `max_events` in all."""
    users = generator.permutation(np.flatnonzero(np.diff(log.offsets) >= 2))
    reach = np.cumsum(log.offsets[users + 1] - log.offsets[users])
    return np.sort(users[: max(int(np.searchsorted(reach, max_events, side="right")), 1)])


def _shuffled(items: Integers, groups: Integers, generator: np.random.Generator) -> Integers:
    """Return items in random order within each group; groups do not fall."""
    inner: Integers = items[np.argsort(groups + generator.random(len(groups)))]
    return inner


def _hit_rates(
    owners: Integers, items: Integers, half: npt.NDArray[np.bool_], n_items: int, k: int
) -> npt.NDArray[np.float64]:
    """Return (n_users,) the share of steps that transitions of the other half name; NaN for users without."""
    step = (owners[1:] == owners[:-1]) & (items[1:] != items[:-1])
    keys, user = (items[:-1] * n_items + items[1:])[step], owners[:-1][step]
    learned = _top_transitions(keys[~half[user]], n_items, k)
    asked, user = keys[half[user]], user[half[user]]
    places = np.minimum(np.searchsorted(learned, asked), max(len(learned) - 1, 0))
    hits = learned[places] == asked if len(learned) else np.zeros(len(asked), np.bool_)
    steps = np.bincount(user, minlength=len(half))
    rates = np.full(len(half), np.nan)
    np.divide(np.bincount(user, hits, len(half)), steps, out=rates, where=steps > 0)
    return rates


def _top_transitions(keys: Integers, n_items: int, k: int) -> Integers:
    """Return, rising, the `k` most frequent of the transitions `from * n_items + to` from each item."""
    found, counts = np.unique(keys, return_counts=True)
    origins = found // n_items
    best = np.lexsort((found, -counts, origins))
    starts = np.flatnonzero(np.append(True, origins[1:] != origins[:-1])) if len(found) else best
    ranks = np.arange(len(found)) - np.repeat(starts, np.diff(np.append(starts, len(found))))
    return np.sort(found[best[ranks < k]])


def order_findings(order: Order) -> Iterator[Finding]:
    """Say whether models of sequences have anything to learn."""
    if order.hit_rate is None or order.shuffled_hit_rate is None or order.interval is None:
        yield Finding(
            "order_unknown",
            "notice",
            "too few histories to tell whether order carries information",
            f"{order.users:,} users with two events or more",
            "Compare a model of sequences with item_knn before trusting it.",
        )
        return
    evidence = (
        f"the next item is among {order.list_length} named in {percent(order.hit_rate)} of the steps, in "
        f"{percent(order.shuffled_hit_rate)} where histories are shuffled (difference "
        f"{100 * order.interval[0]:.2f} to "
        f"{100 * order.interval[1]:.2f} points, p = {order.p_value:.2f})"
    )
    if not order.tells:
        yield Finding(
            "no_order",
            "warning",
            "the order of events carries no information that can be measured",
            evidence,
            "A model of sequences (lstm) has nothing here that item_knn, user_knn or neumf lack: start with "
            "those. Check data.columns.timestamp: it may hold the time of the export.",
            1.0,
        )
    elif order.hit_rate < (1 + _LITTLE) * order.shuffled_hit_rate:
        yield Finding(
            "little_order",
            "notice",
            "the order of events carries little information",
            evidence,
            "Expect little of a model of sequences (lstm) over item_knn and user_knn.",
        )
