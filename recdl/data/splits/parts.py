"""What every way to cut a log shares: the parts, how they are asked about, and how a split is put together."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet, ragged_positions
from recdl.data.sessions import Sequences
from recdl.data.splits import report
from recdl.data.vocabulary import Vocabulary
from recdl.errors import ConfigError, DataError
from recdl.storage import fingerprint

SPLIT_VERSION = 2
"""Part of every split's fingerprint; raised when a change here moves an event or a target."""

Positions = npt.NDArray[np.int64]
Window = tuple[Positions, Positions]
"""(n_sequences,) first and past-the-last positions: the part of each user's (or session's) events."""
QueryRule = Literal["per_user", "per_event"]


@dataclass(frozen=True, eq=False)
class Split:
    """A log cut in three; every event is in exactly one part, or left out, and then counted in the report.

    Attributes:
        train: What models learn from. Users (or sessions) and items keep the log's indices; users may be left
            without events.
        validation: Queries for stopping and for choosing settings.
        test: Queries for the figures that are reported.
        report: JSON: what each part holds, whom it leaves cold, what it repeats, what it leaks, and the cuts.
        fingerprint: Of the split's settings and of the data, wherever the data lies.
        known: Gives what may be learned from once validation has decided: train and the events of validation, and
            nothing that test asks for. None where the validation part is no part of the log.
    """

    train: Interactions
    validation: QuerySet
    test: QuerySet
    report: dict[str, Any]
    fingerprint: str
    known: Callable[[], Interactions] | None = None


class Vocabularies(NamedTuple):
    """The raw ids of a log, by index."""

    users: Vocabulary
    items: Vocabulary


class Splitter(Protocol):
    """A way to cut a log."""

    def split(
        self, log: Interactions, *, data_fingerprint: str, vocabularies: Vocabularies | None = None
    ) -> Split:
        """Cut `log`; `vocabularies` are needed by those that read raw ids from files.

        Raises:
            DataError: If a part would be left empty.
        """
        ...


@dataclass(frozen=True, eq=False)
class Part:
    """A held-out part.

    Attributes:
        query_set: What is asked of it.
        events: How many events of the log it takes out of train.
        users: How many users (or sessions) have events in it.
        ties: Events at the very moment of the cut, or targets at the moment of the event before them; None where
            nothing is cut in order.
    """

    query_set: QuerySet
    events: int
    users: int
    ties: int | None


def part_of(window: Window, query_set: QuerySet, ties: int | None) -> Part:
    """Describe a part that is a window of each user's events."""
    starts, ends = window
    return Part(query_set, int((ends - starts).sum()), int((ends > starts).sum()), ties)


def check_target_behaviors(names: tuple[str, ...] | None) -> None:
    """Raise ConfigError if there are names, but none in them."""
    if names is not None and not names:
        raise ConfigError("split.target_behaviors is empty; name at least one behavior, or null for all of them")


def check_queries(rule: str) -> None:
    """Raise ConfigError unless `rule` is a `QueryRule`."""
    if rule not in get_args(QueryRule):
        raise ConfigError(f"split.queries must be per_user or per_event, but is {rule!r}")


def named(target_behaviors: tuple[str, ...] | None) -> str:
    """Return the behaviours that are predicted, in words."""
    return "any behavior" if target_behaviors is None else " or ".join(target_behaviors)


def check_timed(log: Interactions, splitter: object) -> None:
    """Raise DataError if `log` has no times, for a way to cut that goes by them."""
    if not log.timed:
        raise DataError(
            f"{type(splitter).__name__} cuts by time, but this log only has an order: its times are the places of"
            " its rows; use split=leave_last_out, last_n, random or given"
        )


def target_mask(log: Interactions, names: tuple[str, ...] | None) -> npt.NDArray[np.bool_]:
    """Return (n_events,) bool: whether an event is of a behaviour that is to be predicted."""
    wanted = np.ones(len(log.behavior_names), np.bool_)
    if names is not None:
        wanted[:] = False
        wanted[log.behavior_codes(names)] = True
    mask: npt.NDArray[np.bool_] = wanted[log.behaviors]
    return mask


def first_at(log: Interactions, cut: int) -> Positions:
    """Return (n_users,) int64: the position of each user's first event at `cut` or later (or the user's end)."""
    earlier = np.zeros(log.n_events + 1, np.int64)
    np.cumsum(log.timestamps < cut, out=earlier[1:])
    starts = log.offsets[:-1]
    positions: Positions = starts + earlier[log.offsets[1:]] - earlier[starts]
    return positions


def beginning(log: Interactions, ends: Positions) -> Interactions:
    """Return the events of each user before `ends` (n_users,): a train part."""
    mask = np.ones(log.n_events, np.bool_)
    mask[ragged_positions(ends, log.offsets[1:])] = False
    return log.where(mask)


def ask_in_window(
    log: Interactions, window: Window, is_target: npt.NDArray[np.bool_], queries: QueryRule
) -> QuerySet | None:
    """Ask for the targets in a window of each user's events, at its start or before each; None if it has none."""
    positions = ragged_positions(*window)
    positions = positions[is_target[positions]]
    if not len(positions):
        return None
    return ask_per_user(log, positions, window[0]) if queries == "per_user" else ask_per_event(log, positions)


def ask_per_user(log: Interactions, positions: Positions, starts: Positions) -> QuerySet:
    """Ask once a user, at `starts` (n_users,), for the distinct items at `positions`."""
    pairs, latest = last_of_pairs(log, positions)
    users, firsts = np.unique(pairs // log.n_items, return_index=True)
    query_set = ask(log, users, starts[users], pairs % log.n_items, firsts)
    furthest = furthest_of_pairs(log, positions)
    return replace(query_set, target_weights=weights_at(log, latest), target_behaviors=furthest)


def ask_per_event(log: Interactions, positions: Positions) -> QuerySet:
    """Ask before each of `positions` for its item, with what the user did strictly earlier in time."""
    users = users_at(log, positions)
    query_set = ask(log, users, strictly_before(log, positions), log.items[positions], np.arange(len(positions)))
    codes = np.asarray(log.behaviors[positions])
    return replace(query_set, target_weights=weights_at(log, positions), target_behaviors=codes)


def last_of_pairs(log: Interactions, positions: Positions) -> tuple[Positions, Positions]:
    """Return the distinct `user * n_items + item` at rising positions, and the last position of each."""
    keys = users_at(log, positions) * log.n_items + log.items[positions]
    pairs, from_end = np.unique(keys[::-1], return_index=True)
    return pairs, positions[::-1][from_end]


def furthest_of_pairs(log: Interactions, positions: Positions) -> npt.NDArray[np.int8]:
    """Return, for each pair of `last_of_pairs`, the behaviour of its events that is furthest along the funnel."""
    keys = users_at(log, positions) * log.n_items + log.items[positions]
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return np.maximum.reduceat(np.asarray(log.behaviors[positions])[order], starts)


def weights_at(log: Interactions, positions: Positions) -> npt.NDArray[np.float32] | None:
    """Return the log's number for each of the events at `positions`; None if it has none."""
    return None if log.weights is None else np.asarray(log.weights[positions])


def strictly_before(log: Interactions, positions: Positions) -> Positions:
    """Return, for each position, the first one of its user that has the same time: where what was earlier ends."""
    is_first = np.ones(log.n_events, np.bool_)
    is_first[1:] = np.diff(log.timestamps) != 0
    is_first[log.offsets[:-1][np.diff(log.offsets) > 0]] = True
    firsts = np.flatnonzero(is_first)
    ends: Positions = firsts[np.searchsorted(firsts, positions, side="right") - 1]
    return ends


def users_at(log: Interactions, positions: Positions) -> Positions:
    """Return the user index of each position."""
    users: Positions = np.searchsorted(log.offsets, positions, side="right") - 1
    return users


def ask(
    log: Interactions,
    users: Positions,
    ends: Positions,
    target_items: npt.NDArray[np.integer],
    target_firsts: Positions,
) -> QuerySet:
    """Ask for `users`, with what lies before `ends` in the log; targets of query q start at `target_firsts[q]`."""
    queries = Queries.of_log(log, users.astype(np.int32), log.offsets[users], ends)
    offsets = np.append(target_firsts, len(target_items)).astype(np.int64)
    return QuerySet(queries, offsets, np.asarray(target_items, np.int32))


def settings_of(splitter: Any) -> dict[str, Any]:
    """Return a splitter's settings as JSON can say them: its class, and its fields."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(splitter).items()}
    return {"splitter": type(splitter).__name__, **fields}


def assemble(
    settings: dict[str, Any],
    sequences: Sequences,
    train: Interactions,
    parts: Mapping[str, Part],
    *,
    cuts: Mapping[str, str | None],
    first_asked: int | None,
    data_fingerprint: str,
    known: Callable[[], Interactions] | None,
) -> Split:
    """Put a split together with its report, which says the same things for every way to cut.

    Args:
        settings: All that the split follows from, but the data; `splitter` names its class.
        sequences: What was cut.
        train: The train part.
        parts: `validation` and `test`.
        cuts: The moments of the cuts, ISO 8601, where there are such.
        first_asked: The earliest moment that a test query is asked at, microseconds; None where nothing tells.
        data_fingerprint: Of the log.
        known: See `Split`.

    Raises:
        DataError: If nothing is left to learn from.
    """
    if not train.n_events:
        raise DataError(
            "the split leaves no event to learn from: all are held out, or lie in the gap before what is held out;"
            " hold out less, or shorten split.gap"
        )
    query_sets = {name: _with_owners(part.query_set, sequences) for name, part in parts.items()}
    described: dict[str, Any] = {"settings": settings, "cuts": dict(cuts), "train": report.of_train(train)}
    for name, part in parts.items():
        described[name] = {
            "events": part.events,
            "users": part.users,
            "ties_at_cut": part.ties,
            **report.of_queries(train, sequences.log, query_sets[name]),
        }
    held_out = sum(part.events for part in parts.values())
    described["left_out"] = {"events": sequences.log.n_events - train.n_events - held_out}
    described["sequences"] = report.of_sequences(sequences)
    described["leak"] = report.leak(train, first_asked)
    described["warnings"] = []
    return Split(
        train=train,
        validation=query_sets["validation"],
        test=query_sets["test"],
        report=described,
        fingerprint=fingerprint({"version": SPLIT_VERSION, **settings}, data_fingerprint),
        known=known,
    )


def first_moment(log: Interactions, query_set: QuerySet) -> int:
    """Return the earliest moment of an event that ends a history of `query_set`, whose queries lie in `log`."""
    return int(log.timestamps[query_set.queries.ends].min())


def _with_owners(query_set: QuerySet, sequences: Sequences) -> QuerySet:
    if sequences.owners is None:
        return query_set
    return replace(query_set, clusters=sequences.owners[query_set.queries.users])
