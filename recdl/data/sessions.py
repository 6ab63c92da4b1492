"""Sessions as the unit of sequence: the same events, grouped by session instead of by user."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.moments import duration
from recdl.data.queries import Queries, ragged_positions
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import ConfigError, DataError

COLUMN = "column"
"""The rule by which sessions are those that the log names."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sequences:
    """A log by what splits, models and queries take for a "user", and the user behind each.

    Attributes:
        log: The events, grouped by sequence: by user, or by session.
        owners: (n_sequences,) int32, not falling: the user of each session; None where sequences are users.
    """

    log: Interactions
    owners: npt.NDArray[np.int32] | None


def check_rule(rule: str | None, *, name: str) -> None:
    """Check that `rule` is null, `column` or a duration.

    Raises:
        ConfigError: If it is none of these.
    """
    if rule is None or rule == COLUMN:
        return
    try:
        duration(rule, name=name)
    except ConfigError as error:
        raise ConfigError(f"{error}, or {COLUMN}: the sessions that data.columns.session names") from error


def sequences(log: Interactions, rule: str | None) -> Sequences:
    """Group a log by user or by session.

    Whoever takes the result for a log of users is right: a session has its own events in the order of time, and no
    other's. A model with a vector for each user has one for each session, and none for a session that train does
    not hold.

    Args:
        log: Grouped by user.
        rule: None keeps users. A duration (`30m`): a session ends where its user is idle for longer. `column`:
            the sessions that the log names; an event for which it names none is a session of its own. Sessions are
            numbered by user, then by the moment they begin; an event is in exactly one. No event is copied, unless
            somebody went back and forth between two named sessions.

    Raises:
        DataError: If the log has no times for sessions to end by, or names no sessions.
    """
    if rule is None:
        return Sequences(log, None)
    if rule == COLUMN:
        return _by_column(log)
    if not log.timed:
        raise DataError("split.sessions: sessions end by idle time, but this log has no times; set it to null")
    begins = np.flatnonzero(
        _first_of_users(log) | (_differences(log.timestamps) > duration(rule, name="split.sessions"))
    )
    return Sequences(_grouped(log, begins), _owners(log, begins))


def latest_sessions(log: Interactions, users: npt.NDArray[np.int32], rule: str) -> Queries:
    """Ask for `users` (n,) with their latest session as history, as visitors that no model knows.

    The latest session is the one that began last. A user without events has no history.
    """
    found = sequences(log, rule)
    assert found.owners is not None, "a rule makes sessions"
    last = np.searchsorted(found.owners, users, side="right") - 1
    none = (last < 0) | (found.owners[np.maximum(last, 0)] != users) if len(found.owners) else users >= 0
    last = np.where(none, 0, last)
    bounds = np.append(found.log.offsets, found.log.offsets[-1])
    starts = bounds[last]
    ends = np.where(none, starts, bounds[last + 1])
    return Queries.of_log(found.log, np.full(len(users), UNKNOWN, np.int32), starts, ends)


def _by_column(log: Interactions) -> Sequences:
    named = log.sessions
    if named is None:
        raise DataError(
            f"split.sessions={COLUMN}: this log names no sessions; say which column does, data.columns.session, or"
            " let idle time end them, such as split.sessions=30m"
        )
    starts = np.flatnonzero(_first_of_users(log) | (_differences(named) != 0) | (named == UNKNOWN))
    owners, of_run = _owners(log, starts), named[starts].astype(np.int64)
    keys = np.where(of_run == UNKNOWN, -1 - starts, owners.astype(np.int64) << 32 | of_run)
    _, firsts, which = np.unique(keys, return_index=True, return_inverse=True)
    if len(firsts) == len(starts):
        return Sequences(_grouped(log, starts), owners)
    place = firsts[which]  # of each run of one session's events: where the first run of that session is
    order = np.argsort(place, kind="stable")
    lengths = np.diff(np.append(starts, log.n_events))[order]
    positions = ragged_positions(starts[order], starts[order] + lengths)
    arrays: dict[str, Any] = {name: getattr(log, name) for name in ("items", "behaviors", "timestamps")}
    arrays |= log.optional_arrays()
    begins = (np.cumsum(lengths) - lengths)[np.diff(place[order], prepend=-1) != 0]
    moved = {name: np.asarray(array[positions]) for name, array in arrays.items()}
    return Sequences(_grouped(log, begins, moved), owners[np.sort(firsts)])


def _grouped(log: Interactions, begins: Positions, moved: dict[str, Any] | None = None) -> Interactions:
    """Return the log, with `moved` in place of its own arrays, by sessions that begin at these positions."""
    changes = moved or {}
    changes["offsets"] = np.append(begins, log.n_events).astype(np.int64)
    changes["sessions"] = None  # its numbers are of users
    if log.user_table is not None:
        changes["user_table"] = log.user_table.take(_owners(log, begins))
    return replace(log, **changes)


def _first_of_users(log: Interactions) -> npt.NDArray[np.bool_]:
    first = np.zeros(log.n_events, np.bool_)
    first[log.offsets[:-1][np.diff(log.offsets) > 0]] = True
    return first


def _differences(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.diff(values, prepend=values[:1])


def _owners(log: Interactions, positions: Positions) -> npt.NDArray[np.int32]:
    owners: npt.NDArray[np.int32] = (np.searchsorted(log.offsets, positions, side="right") - 1).astype(np.int32)
    return owners
