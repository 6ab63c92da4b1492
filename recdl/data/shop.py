"""A shop that does not exist: a generated log with what recommenders look for in real ones.

Users have tastes over categories, which drift, and a style they like best. They come in sessions, view items
mostly of one category, put some in the cart and buy some of those at the end. Within a category popularity follows
Zipf's law. What is viewed next depends on what was viewed before: every item has a similar one and an accessory.
What was bought brings the user back: for the same again, or for the accessory.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recdl.data.checks import check_behaviors_kept, check_name, check_period
from recdl.data.sources import Filters, Time
from recdl.data.timestamps import iso_microseconds
from recdl.errors import ConfigError

BEHAVIORS = ("view", "cart", "purchase")
SHOP_VERSION = 1
"""Of the generator: raise it when the same settings give another log."""

_DAY = 86_400
_MAX_VIEWS = 40  # of a session: the geometric distribution knows no end, shoppers do
_SURE = 0.8  # chance of a cart, and of a purchase from it, when the user came back for this very item
_SIMILAR = 0.5  # share of the steps to a successor that go to the similar item; the others go to the accessory
_CONSUMABLES = 0.3  # share of the items that are bought again and again

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ShopLog:
    """A generated log of views, carts and purchases; the same settings always give the same log.

    Args:
        name: What the log is called in folders and reports.
        seed: Of everything random in it.
        n_users: Users.
        n_items: Items; some may never be viewed, and then are not in the log.
        n_categories: Categories; every item is in one.
        n_styles: Styles, in each category; every item has one, every user prefers one.
        n_days: Length of the log in days.
        start: ISO date of the first day.
        sessions_per_user: Mean number of sessions, without those that an earlier purchase brings about.
        views_per_session: Mean number of views in a session.
        taste_concentration: Mean parameter of the Dirichlet distribution of a user's tastes over categories: the
            smaller, the fewer categories a user cares for.
        drift: How far tastes move from the first day to the last: 0 not at all, 1 to tastes drawn afresh.
        style_loyalty: Chance that an item looked for is of the user's own style.
        popularity_exponent: Of Zipf's law among the items of a category and style; 0 makes them equally popular.
        successor_rate: Chance that the next view is of the similar item or the accessory of the one before, and
            that a purchase leads to a session that starts with its accessory.
        switch_rate: Chance that the user, looking for another item, changes to another category.
        cart_rate: Chance that a viewed item is put in the cart.
        purchase_rate: Chance that an item in the cart is bought.
        repeat_rate: Chance that a user comes back for a consumable that she bought.
        filters: Which events to keep.
    """

    name: str = "shop"
    seed: int = 0
    n_users: int = 3_000
    n_items: int = 1_500
    n_categories: int = 20
    n_styles: int = 4
    n_days: int = 120
    start: str = "2025-01-01"
    sessions_per_user: float = 9.0
    views_per_session: float = 5.0
    taste_concentration: float = 0.15
    drift: float = 0.5
    style_loyalty: float = 0.7
    popularity_exponent: float = 1.0
    successor_rate: float = 0.35
    switch_rate: float = 0.1
    cart_rate: float = 0.1
    purchase_rate: float = 0.4
    repeat_rate: float = 0.5
    filters: Filters = field(default_factory=Filters)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_period(self.start, None)
        check_behaviors_kept(self.filters.behaviors, BEHAVIORS)
        if self.seed < 0:
            raise ConfigError(f"data.seed: {self.seed} is negative")
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name.startswith("n_") and value < 1:
                raise ConfigError(f"data.{setting.name}: {value} is below 1")
            if setting.name.endswith(("_rate", "_loyalty", "drift")) and not 0 <= value <= 1:
                raise ConfigError(f"data.{setting.name}: {value} lies outside [0, 1]")
        for name, low in (("sessions_per_user", 0), ("views_per_session", 1), ("popularity_exponent", 0)):
            if not low <= getattr(self, name) < 1_000:
                raise ConfigError(f"data.{name}: {getattr(self, name)} lies outside [{low}, 1000)")
        if not self.taste_concentration > 0:
            raise ConfigError(f"data.taste_concentration: {self.taste_concentration} is not above 0")
        if self.n_items < self.n_categories * self.n_styles:
            raise ConfigError(
                f"data.n_items: {self.n_items} items do not fill {self.n_categories} categories of "
                f"{self.n_styles} styles; raise n_items, or lower n_categories or n_styles"
            )


def generate_shop(shop: ShopLog) -> pa.Table:
    """Generate the log, in the order of time.

    Returns:
        Columns `user_id`, `item_id`, `behavior` (text), `timestamp` (microseconds, UTC), `session_id` (int64, the
        event's session) and `category` (int64); the last two do not go into the prepared log.
    """
    rng = np.random.default_rng(shop.seed)
    catalogue = _Catalogue.draw(shop, rng)
    customers = _Customers.draw(shop, rng)
    users = np.repeat(np.arange(shop.n_users), customers.sessions)
    starts = _moments(shop, rng, len(users))
    visits = _Visits(
        users, starts, catalogue.look(rng, customers, users, customers.categories(rng, users, starts))
    )
    parts, n_sessions = [], 0
    while len(visits.users):
        events, purchases = _walk(shop, rng, catalogue, customers, visits)
        events["session"] += n_sessions
        n_sessions += len(visits.users)
        parts.append(events)
        visits = _come_back(shop, rng, catalogue, purchases)
    log = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    order = np.lexsort((log["item"], log["behavior"], log["session"], log["time"]))
    return _table(shop, catalogue, {key: values[order] for key, values in log.items()})


@dataclass(frozen=True, eq=False)
class _Catalogue:
    """The items, sorted by category and style, so that both are ranges.

    Attributes:
        category: (n_items,) category of each item.
        similar: (n_items,) item of the same category that is often viewed next.
        accessory: (n_items,) item of another category that is often viewed next, and wanted after a purchase.
        period: (n_items,) days until a consumable is used up; infinity for other items.
        reach: (n_items + 1,) running sum of the popularities.
        shelves: (n_categories * n_styles + 1,) first item of each category and style.
        n_styles: Styles of each category.
    """

    category: Ints
    similar: Ints
    accessory: Ints
    period: Floats
    reach: Floats
    shelves: Ints
    n_styles: int

    @classmethod
    def draw(cls, shop: ShopLog, rng: np.random.Generator) -> "_Catalogue":
        n_shelves = shop.n_categories * shop.n_styles
        rest = rng.integers(n_shelves, size=shop.n_items - n_shelves)
        shelf = np.sort(np.r_[np.arange(n_shelves), rest])
        shelves = np.searchsorted(shelf, np.arange(n_shelves + 1))
        rank = np.arange(shop.n_items) - shelves[shelf] + 1
        category = shelf // shop.n_styles
        similar, accessory = np.zeros(shop.n_items, np.int64), np.zeros(shop.n_items, np.int64)
        partner = np.roll(rng.permutation(shop.n_categories), 1)
        for one in range(shop.n_categories):
            mine = rng.permutation(np.flatnonzero(category == one))
            similar[mine] = np.roll(mine, 1)
            accessory[mine] = rng.choice(np.flatnonzero(category == partner[one]), len(mine))
        period = rng.uniform(7, 30, shop.n_items)
        period[rng.random(shop.n_items) >= _CONSUMABLES] = np.inf
        reach = np.r_[0.0, np.cumsum(rank**-shop.popularity_exponent)]
        return cls(category, similar, accessory, period, reach, shelves, shop.n_styles)

    def look(self, rng: np.random.Generator, customers: "_Customers", users: Ints, categories: Ints) -> Ints:
        """Draw an item of each category by popularity, mostly in the user's own style."""
        first, last = categories * self.n_styles, (categories + 1) * self.n_styles
        loyal = rng.random(len(users)) < customers.loyalty
        own = first + customers.style[users]
        low = self.reach[self.shelves[np.where(loyal, own, first)]]
        high = self.reach[self.shelves[np.where(loyal, own + 1, last)]]
        found = np.searchsorted(self.reach, low + rng.random(len(users)) * (high - low), side="right") - 1
        return np.minimum(found, self.shelves[last] - 1)


@dataclass(frozen=True, eq=False)
class _Customers:
    """The users: tastes on the first and the last day (n_users, n_categories), style and number of sessions."""

    early: Floats
    late: Floats
    style: Ints
    sessions: Ints
    loyalty: float
    span: float

    @classmethod
    def draw(cls, shop: ShopLog, rng: np.random.Generator) -> "_Customers":
        popularity = np.arange(1, shop.n_categories + 1) ** -0.5
        concentration = shop.taste_concentration * popularity / popularity.mean()
        early, fresh = (rng.dirichlet(concentration, shop.n_users) for _ in range(2))
        activity = rng.lognormal(-0.18, 0.6, shop.n_users)  # of mean 1
        return cls(
            early=early,
            late=(1 - shop.drift) * early + shop.drift * fresh,
            style=rng.integers(shop.n_styles, size=shop.n_users),
            sessions=1 + rng.poisson(activity * max(shop.sessions_per_user - 1, 0.0)),
            loyalty=shop.style_loyalty,
            span=float(shop.n_days * _DAY),
        )

    def categories(self, rng: np.random.Generator, users: Ints, times: Floats) -> Ints:
        """Draw a category for each user by her tastes at that time (seconds since the first day)."""
        age = (times / self.span)[:, None]
        tastes = np.cumsum((1 - age) * self.early[users] + age * self.late[users], axis=1)
        drawn: Ints = np.minimum((tastes < rng.random(len(users))[:, None]).sum(axis=1), tastes.shape[1] - 1)
        return drawn


@dataclass(frozen=True, eq=False)
class _Visits:
    """Sessions to come: whose, from when (seconds since the first day), and what is viewed first.

    `sure` marks those who come for that very item.
    """

    users: Ints
    starts: Floats
    firsts: Ints
    sure: npt.NDArray[np.bool_] | None = None


def _moments(shop: ShopLog, rng: np.random.Generator, n: int) -> Floats:
    """Draw n times, in seconds since the first day: any day, most in the evening."""
    hours = rng.normal(19.5, 3.5, n) % 24
    return (rng.integers(shop.n_days, size=n) * _DAY + np.floor(hours * 3_600)).astype(np.float64)


def _walk(
    shop: ShopLog, rng: np.random.Generator, catalogue: _Catalogue, customers: _Customers, visits: _Visits
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let every session run to its end, view by view for all at once; return all events, and the purchases."""
    n = len(visits.users)
    lengths = np.minimum(rng.geometric(1 / shop.views_per_session, n), _MAX_VIEWS)
    items, clock = visits.firsts.copy(), visits.starts.copy()
    sure = np.zeros(n, bool) if visits.sure is None else visits.sure
    parts, bought = [], []
    active = np.arange(n)
    for step in range(int(lengths.max())):
        active = active[lengths[active] > step]
        certain = sure[active] & (step == 0)
        parts.append(_events(visits, active, items[active], 0, clock[active]))
        carted = active[rng.random(len(active)) < np.where(certain, _SURE, shop.cart_rate)]
        clock[carted] += rng.integers(5, 30, len(carted))
        parts.append(_events(visits, carted, items[carted], 1, clock[carted]))
        chance = np.where(sure[carted] & (step == 0), _SURE, shop.purchase_rate)
        paid = carted[rng.random(len(carted)) < chance]
        bought.append(_events(visits, paid, items[paid], 2, np.zeros(len(paid))))
        clock[active] += 5 + np.floor(rng.exponential(40, len(active)))
        items[active] = _next(shop, rng, catalogue, customers, visits.users[active], clock[active], items[active])
    purchases = {key: np.concatenate([part[key] for part in bought]) for key in bought[0]}
    once = np.unique(np.c_[purchases["session"], purchases["item"]], axis=0, return_index=True)[1]
    purchases = {key: values[once] for key, values in purchases.items()}
    purchases["time"] = clock[purchases["session"]] + 30  # one checkout, when all has been viewed
    parts.append(purchases)
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}, purchases


def _events(visits: _Visits, sessions: Ints, items: Ints, behavior: int, times: Floats) -> dict[str, Any]:
    codes = np.full(len(sessions), behavior)
    return {"user": visits.users[sessions], "item": items, "behavior": codes, "time": times, "session": sessions}


def _next(
    shop: ShopLog,
    rng: np.random.Generator,
    catalogue: _Catalogue,
    customers: _Customers,
    users: Ints,
    times: Floats,
    items: Ints,
) -> Ints:
    """Draw what is viewed after `items`: a successor, or an item looked for in this or another category."""
    switch = rng.random(len(users)) < shop.switch_rate
    categories = np.where(switch, customers.categories(rng, users, times), catalogue.category[items])
    found = catalogue.look(rng, customers, users, categories)
    successor = np.where(rng.random(len(users)) < _SIMILAR, catalogue.similar[items], catalogue.accessory[items])
    return np.where(rng.random(len(users)) < shop.successor_rate, successor, found)


def _come_back(
    shop: ShopLog, rng: np.random.Generator, catalogue: _Catalogue, purchases: dict[str, Any]
) -> _Visits:
    """Draw the sessions that purchases bring about: for the same again when used up, else for the accessory."""
    items, times = purchases["item"], purchases["time"]
    again = np.isfinite(catalogue.period[items])
    wait = np.where(
        again, catalogue.period[items] * rng.lognormal(0, 0.2, len(items)), 0.1 + rng.exponential(4, len(items))
    )
    starts = np.floor(times + wait * _DAY)
    returns = rng.random(len(items)) < np.where(again, shop.repeat_rate, shop.successor_rate)
    kept = returns & (starts < shop.n_days * _DAY)
    firsts = np.where(again, items, catalogue.accessory[items])
    return _Visits(purchases["user"][kept], starts[kept], firsts[kept], again[kept])


def _table(shop: ShopLog, catalogue: _Catalogue, log: dict[str, Any]) -> pa.Table:
    first = iso_microseconds(shop.start, Time())
    times = first + log["time"].astype(np.int64) * 1_000_000
    labels = np.random.default_rng([shop.seed, 1]).permutation(
        shop.n_items
    )  # or an id would tell an item's popularity
    return pa.table(
        {
            "user_id": _ids("u", log["user"], shop.n_users),
            "item_id": _ids("i", labels[log["item"]], shop.n_items),
            "behavior": pa.DictionaryArray.from_arrays(log["behavior"], list(BEHAVIORS)).cast(pa.string()),
            "timestamp": pa.array(times).cast(pa.timestamp("us", "UTC")),
            "session_id": log["session"],
            "category": catalogue.category[log["item"]],
        }
    )


def _ids(letter: str, indices: Ints, n: int) -> pa.StringArray:
    width = len(str(n - 1))
    names = pa.array([f"{letter}{number:0{width}d}" for number in range(n)])
    return names.take(pa.array(indices))
