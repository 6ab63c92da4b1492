"""Sessions as the unit of sequence: the same events, grouped by session instead of by user."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.moments import duration
from recdl.data.queries import Queries
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import DataError


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
    """Check that `rule` is null or a duration.

    Raises:
        ConfigError: If it is neither.
    """
    if rule is not None:
        duration(rule, name=name)


def sequences(log: Interactions, rule: str | None) -> Sequences:
    """Group a log by user or by session.

    Whoever takes the result for a log of users is right: a session has its own events in the order of time, and no
    other's. A model with a vector for each user has one for each session, and none for a session that train does
    not hold.

    Args:
        log: Grouped by user.
        rule: None keeps users. A duration (`30m`): a session ends where its user is idle for longer. Sessions
            are numbered by user, then by time; an event is in exactly one. No event is copied.

    Raises:
        DataError: If sessions are asked of a log without times.
    """
    if rule is None:
        return Sequences(log, None)
    if not log.timed:
        raise DataError("split.sessions: sessions end by idle time, but this log has no times; set it to null")
    grouped = _by_gap(log, duration(rule, name="split.sessions"))
    firsts = grouped.offsets[:-1]
    owners = np.searchsorted(log.offsets, firsts, side="right") - 1  # no session spans two users
    return Sequences(grouped, owners.astype(np.int32))


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


def _by_gap(log: Interactions, gap: int) -> Interactions:
    begins = np.ones(log.n_events, np.bool_)
    begins[1:] = np.diff(log.timestamps) > gap
    begins[log.offsets[:-1][np.diff(log.offsets) > 0]] = True
    return replace(log, offsets=np.append(np.flatnonzero(begins), log.n_events).astype(np.int64))
