"""Train, validation and test: what may be learned from, and the questions asked of it afterwards."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet, ragged_positions
from recdl.errors import ConfigError, DataError
from recdl.storage import fingerprint

SPLIT_VERSION = 1
"""Part of every split's fingerprint; raised when a change here moves an event or a target."""

_BLOCK = 1 << 22

Positions = npt.NDArray[np.int64]
QueryRule = Literal["per_user", "per_event"]


@dataclass(frozen=True, eq=False)
class Split:
    """A log cut in three; every event is in exactly one part.

    Attributes:
        train: What models learn from. Users and items keep the log's indices; users may be left without events.
        validation: Queries for stopping and for choosing settings.
        test: Queries for the figures that are reported.
        report: JSON: what each part holds, whom it leaves cold, what it repeats, what it leaks, and the cuts.
        fingerprint: Of the split's settings and of the data, wherever the data lies.
    """

    train: Interactions
    validation: QuerySet
    test: QuerySet
    report: dict[str, Any]
    fingerprint: str


class Splitter(Protocol):
    """A way to cut a log."""

    def split(self, log: Interactions, *, data_fingerprint: str) -> Split:
        """Cut `log`.

        Raises:
            DataError: If a part would be left empty.
        """
        ...


@dataclass(frozen=True)
class TemporalSplit:
    """Cut the log at one global moment, so that no target precedes anything in train.

    Attributes:
        test_fraction: About this share of all events is at the test cut or later. Events of one timestamp are
            never parted: of the two moments around the wanted share, the cut falls on the one that comes closer.
        validation_fraction: The same, of the events before the test cut.
        target_behaviors: Behaviours that are to be predicted; all when None. Histories and train hold all of them.
        queries: `per_user` asks once a user, at the cut, for the distinct items of all that follows in the part;
            `per_event` asks before each target event, with all that the user did strictly earlier.
    """

    test_fraction: float = 0.1
    validation_fraction: float = 0.1
    target_behaviors: tuple[str, ...] | None = None
    queries: QueryRule = "per_user"

    def __post_init__(self) -> None:
        for name in ("test_fraction", "validation_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"split.{name} must lie between 0 and 1, but is {getattr(self, name)}")
        if self.queries not in get_args(QueryRule):
            raise ConfigError(f"split.queries must be per_user or per_event, but is {self.queries!r}")
        _check_target_behaviors(self.target_behaviors)

    def split(self, log: Interactions, *, data_fingerprint: str) -> Split:
        """Cut `log` at two global moments.

        Raises:
            DataError: If a part would be left empty, or the log lacks a target behaviour.
        """
        is_target = _target_mask(log, self.target_behaviors)
        test_cut = _moment(np.asarray(log.timestamps), self.test_fraction, name="test_fraction")
        before = np.asarray(log.timestamps[log.timestamps < test_cut])
        validation_cut = _moment(before, self.validation_fraction, name="validation_fraction")
        cuts = {"validation": validation_cut, "test": test_cut}
        parts = _Parts(log, _first_at(log, validation_cut), _first_at(log, test_cut))
        query_sets = {}
        for name, (starts, ends) in parts.windows().items():
            positions = ragged_positions(starts, ends)
            positions = positions[is_target[positions]]
            if not len(positions):
                raise DataError(
                    f"the {name} part ({(ends - starts).sum()} events from {_iso(cuts[name])} on) holds no event"
                    f" of {_named(self.target_behaviors)}; raise split.{name}_fraction or change"
                    " split.target_behaviors"
                )
            if self.queries == "per_user":
                query_sets[name] = _ask_per_user(log, positions, starts)
            else:
                query_sets[name] = _ask_per_event(log, positions)
        ties = {name: int((np.asarray(log.timestamps) == cut).sum()) for name, cut in cuts.items()}
        return _assemble(
            self, parts, query_sets, ties, data_fingerprint, {name: _iso(cut) for name, cut in cuts.items()}
        )


@dataclass(frozen=True)
class LeaveLastOut:
    """Hold out the last target event of each user for test, and the one before it for validation.

    Train is what precedes the validation target; a query's history is what precedes its target, in the order of
    the log. A user without two target events, or with nothing before them, goes wholly to train. Train holds
    events that are later than other users' targets: the report says how many.

    Attributes:
        target_behaviors: Behaviours that are to be predicted; all when None.
    """

    target_behaviors: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_target_behaviors(self.target_behaviors)

    def split(self, log: Interactions, *, data_fingerprint: str) -> Split:
        """Cut the log of each user before its last two target events.

        Raises:
            DataError: If no user has enough events, or the log lacks a target behaviour.
        """
        positions = np.flatnonzero(_target_mask(log, self.target_behaviors))
        before = np.searchsorted(positions, log.offsets)  # target events before each user's first event
        n_targets = np.diff(before)
        users = np.flatnonzero(n_targets >= 2)
        users = users[positions[before[users + 1] - 2] > log.offsets[users]]
        if not len(users):
            raise DataError(
                f"no user has two events of {_named(self.target_behaviors)} and an event before them, so nothing"
                " can be left out; change split.target_behaviors, or use split=temporal"
            )
        query_sets, cuts, ties = {}, {}, {}
        for name, last in (("validation", 2), ("test", 1)):
            targets = positions[before[users + 1] - last]
            cuts[name] = log.offsets[1:].copy()
            cuts[name][users] = targets
            ties[name] = int((log.timestamps[targets] == log.timestamps[targets - 1]).sum())
            query_sets[name] = _query_set(log, users, targets, log.items[targets], np.arange(len(users)))
        parts = _Parts(log, cuts["validation"], cuts["test"])
        return _assemble(self, parts, query_sets, ties, data_fingerprint, {"validation": None, "test": None})


@dataclass(frozen=True, eq=False)
class _Parts:
    """Where each user's events go: train up to `validation[u]`, validation up to `test[u]`, then test."""

    log: Interactions
    validation: Positions
    test: Positions

    def windows(self) -> dict[str, tuple[Positions, Positions]]:
        """Return the (n_users,) first and past-the-last positions of the held-out parts."""
        return {"validation": (self.validation, self.test), "test": (self.test, self.log.offsets[1:])}

    def train(self) -> Interactions:
        """Return the events of the train part."""
        ends = np.repeat(self.validation, np.diff(self.log.offsets))
        return self.log.where(np.arange(self.log.n_events) < ends)


def _check_target_behaviors(names: tuple[str, ...] | None) -> None:
    if names is not None and not names:
        raise ConfigError("split.target_behaviors is empty; name at least one behavior, or null for all of them")


def _named(target_behaviors: tuple[str, ...] | None) -> str:
    return "any behavior" if target_behaviors is None else " or ".join(target_behaviors)


def _target_mask(log: Interactions, names: tuple[str, ...] | None) -> npt.NDArray[np.bool_]:
    """Return (n_events,) bool: whether an event is of a behaviour that is to be predicted."""
    wanted = np.ones(len(log.behavior_names), np.bool_)
    if names is not None:
        wanted[:] = False
        wanted[log.behavior_codes(names)] = True
    mask: npt.NDArray[np.bool_] = wanted[log.behaviors]
    return mask


def _moment(times: npt.NDArray[np.int64], fraction: float, *, name: str) -> int:
    """Return the time whose share of `times` at or after it is closest to `fraction`, with something before it."""
    first, last = (times.min(), times.max()) if len(times) else (0, 0)
    if first == last:
        raise DataError(
            f"split.{name} cannot be met: there are {len(times)} events to cut, all of one moment, and a split by"
            " time needs two moments; use a longer log or split=leave_last_out"
        )
    rank = min(int(len(times) * (1 - fraction)), len(times) - 1)
    at = np.partition(times, rank)[rank]
    around = [at] if at == last else [at, times[times > at].min()]
    shares = {int(time): (times >= time).mean() for time in around if time > first}
    return min(shares, key=lambda time: abs(shares[time] - fraction))


def _first_at(log: Interactions, cut: int) -> Positions:
    """Return (n_users,) int64: the position of each user's first event at `cut` or later (or the user's end)."""
    earlier = np.zeros(log.n_events + 1, np.int64)
    np.cumsum(log.timestamps < cut, out=earlier[1:])
    starts = log.offsets[:-1]
    positions: Positions = starts + earlier[log.offsets[1:]] - earlier[starts]
    return positions


def _ask_per_user(log: Interactions, positions: Positions, starts: Positions) -> QuerySet:
    """Ask once a user, at `starts` (n_users,), for the distinct items at `positions`."""
    pairs = np.unique(_users_at(log, positions) * log.n_items + log.items[positions])
    users, firsts = np.unique(pairs // log.n_items, return_index=True)
    return _query_set(log, users, starts[users], pairs % log.n_items, firsts)


def _ask_per_event(log: Interactions, positions: Positions) -> QuerySet:
    """Ask before each of `positions` for its item, with what the user did strictly earlier in time."""
    is_first = np.ones(log.n_events, np.bool_)
    is_first[1:] = np.diff(log.timestamps) != 0
    is_first[log.offsets[:-1][np.diff(log.offsets) > 0]] = True
    firsts = np.flatnonzero(is_first)
    ends = firsts[np.searchsorted(firsts, positions, side="right") - 1]
    users = _users_at(log, positions)
    return _query_set(log, users, ends, log.items[positions], np.arange(len(positions)))


def _users_at(log: Interactions, positions: Positions) -> Positions:
    users: Positions = np.searchsorted(log.offsets, positions, side="right") - 1
    return users


def _query_set(
    log: Interactions,
    users: Positions,
    ends: Positions,
    target_items: npt.NDArray[np.integer],
    target_firsts: Positions,
) -> QuerySet:
    """Ask for `users`, with what lies before `ends` in the log; targets of query q start at `target_firsts[q]`."""
    queries = Queries(users.astype(np.int32), log.offsets[users], ends, log.items, log.behaviors, log.timestamps)
    offsets = np.append(target_firsts, len(target_items)).astype(np.int64)
    return QuerySet(queries, offsets, np.asarray(target_items, np.int32))


def _assemble(
    splitter: TemporalSplit | LeaveLastOut,
    parts: _Parts,
    query_sets: dict[str, QuerySet],
    ties: dict[str, int],
    data_fingerprint: str,
    cuts: dict[str, str | None],
) -> Split:
    """Make train and the report, which say the same things for every way to cut."""
    settings = {"splitter": type(splitter).__name__, **asdict(splitter)}
    if splitter.target_behaviors is not None:
        settings["target_behaviors"] = list(splitter.target_behaviors)
    train = parts.train()
    report: dict[str, Any] = {"settings": settings, "cuts": cuts}
    report["train"] = {
        "events": train.n_events,
        "users": int((np.diff(train.offsets) > 0).sum()),
        "items": len(np.unique(train.items)),
        "first": _iso(int(train.timestamps.min())),
        "last": _iso(int(train.timestamps.max())),
    }
    for name, (starts, ends) in parts.windows().items():
        report[name] = {
            "events": int((ends - starts).sum()),
            "users": int((ends > starts).sum()),
            "ties_at_cut": ties[name],
            **_describe(train, parts.log, query_sets[name]),
        }
    report["leak"] = _leak(train, parts.log, query_sets["test"])
    return Split(
        train=train,
        validation=query_sets["validation"],
        test=query_sets["test"],
        report=report,
        fingerprint=fingerprint({"version": SPLIT_VERSION, **settings}, data_fingerprint),
    )


def _describe(train: Interactions, log: Interactions, query_set: QuerySet) -> dict[str, Any]:
    queries, items = query_set.queries, query_set.target_items
    in_train = np.zeros(log.n_items, np.bool_)
    in_train[train.items] = True
    return {
        "queries": len(queries),
        "targets": len(items),
        "cold_target_share": float((~in_train[items]).mean()),
        "cold_user_share": float((np.diff(train.offsets)[queries.users] == 0).mean()),
        "no_history_share": float((queries.lengths == 0).mean()),
        "repeat_share": float(np.concatenate(list(_repeats(log, query_set))).mean()),
    }


def _repeats(log: Interactions, query_set: QuerySet) -> Iterator[npt.NDArray[np.bool_]]:
    """Give, by blocks of users, whether each target's item occurs in its query's history.

    A history is the beginning of what its user did, so it holds an item if the item's first event precedes its
    end: no history is ever written out, though histories of one user overlap when each event is a query.
    """
    users = np.repeat(query_set.queries.users, query_set.target_counts)
    ends = np.repeat(query_set.queries.ends, query_set.target_counts)
    for first, last in _user_blocks(log.offsets):
        rows = slice(*np.searchsorted(users, [first, last]))
        start, end = log.offsets[first], log.offsets[last]
        owners = np.repeat(np.arange(first, last), np.diff(log.offsets[first : last + 1]))
        pairs, firsts = np.unique(owners * log.n_items + log.items[start:end], return_index=True)
        # A target is an event of its user, so that its pair is always found.
        found = np.searchsorted(pairs, users[rows].astype(np.int64) * log.n_items + query_set.target_items[rows])
        yield firsts[found] + start < ends[rows]


def _user_blocks(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Give ranges of users with about `_BLOCK` events each."""
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1
        yield first, max(last, first + 1)
        first = max(last, first + 1)


def _leak(train: Interactions, log: Interactions, test: QuerySet) -> dict[str, Any]:
    """Say how much of train is later than the earliest test query, which no model may know in life."""
    earliest = int(log.timestamps[test.queries.ends].min())
    share = float((train.timestamps > earliest).mean())
    if share == 0:
        statement = "Nothing: no train event is later than any test target."
    else:
        statement = (
            f"{share:.1%} of the train events are later than the earliest test target: models learn from what"
            " other users did afterwards, and their figures may be higher than in use."
        )
    return {"train_events_after_first_test_target": share, "statement": statement}


def _iso(microseconds: int) -> str:
    time = np.datetime64(microseconds, "us")
    return str(np.datetime_as_string(time, unit="us" if microseconds % 1_000_000 else "s", timezone="UTC"))
