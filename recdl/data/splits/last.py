"""Each user's last events held out."""

from dataclasses import dataclass

import numpy as np

from recdl.data.interactions import Interactions
from recdl.data.queries import ragged_positions
from recdl.data.sessions import check_rule, sequences
from recdl.data.splits.parts import (
    Part,
    Split,
    Vocabularies,
    ask_per_user,
    assemble,
    beginning,
    check_target_behaviors,
    first_moment,
    named,
    part_of,
    settings_of,
    target_mask,
)
from recdl.errors import ConfigError, DataError


@dataclass(frozen=True)
class LeaveLastOut:
    """Hold out the last n target events of each user for test, and the n before them for validation.

    Train is what precedes the first validation target; a query, one a user, has for history what precedes its
    first target, in the order of the log, and asks for the distinct items of its n targets. A user without 2 n
    target events, or with nothing before them, goes wholly to train. Train holds events that are later than
    other users' targets: the report says how many.

    Attributes:
        target_behaviors: Behaviours that are to be predicted; all when None.
        n: Target events of each user in test, and as many in validation.
        sessions: As in `TemporalSplit`: with them it is each session's last events.
    """

    target_behaviors: tuple[str, ...] | None = None
    n: int = 1
    sessions: str | None = None

    def __post_init__(self) -> None:
        check_target_behaviors(self.target_behaviors)
        check_rule(self.sessions, name="split.sessions")
        if self.n < 1:
            raise ConfigError(f"split.n must be at least 1, but is {self.n}")

    def split(
        self, log: Interactions, *, data_fingerprint: str, vocabularies: Vocabularies | None = None
    ) -> Split:
        """Cut the log of each user before its last 2 n target events.

        Raises:
            DataError: If no user has enough events, or the log lacks a target behaviour.
        """
        cut = sequences(log, self.sessions)
        log = cut.log
        is_target = target_mask(log, self.target_behaviors)
        positions = np.flatnonzero(is_target)
        before = np.searchsorted(positions, log.offsets)  # target events before each user's first event
        users = np.flatnonzero(np.diff(before) >= 2 * self.n)
        users = users[positions[before[users + 1] - 2 * self.n] > log.offsets[users]]
        if not len(users):
            few = "two" if self.n == 1 else str(2 * self.n)
            whose = "user" if self.sessions is None else "session"
            raise DataError(
                f"no {whose} has {few} events of {named(self.target_behaviors)} and an event before them, so"
                " nothing can be left out; change split.target_behaviors or split.n, or use split=temporal"
            )
        edges = [log.offsets[1:].copy() for _ in range(3)]
        for edge, last in zip(edges[:2], (2 * self.n, self.n), strict=True):
            edge[users] = positions[before[users + 1] - last]
        parts: dict[str, Part] = {}
        for name, start, end in (("validation", edges[0], edges[1]), ("test", edges[1], edges[2])):
            window = ragged_positions(start, end)
            query_set = ask_per_user(log, window[is_target[window]], start)
            first = start[users]
            ties = int((log.timestamps[first] == log.timestamps[first - 1]).sum())
            parts[name] = part_of((start, end), query_set, ties)
        return assemble(
            settings_of(self),
            cut,
            beginning(log, edges[0]),
            parts,
            cuts={"validation": None, "test": None},
            first_asked=first_moment(log, parts["test"].query_set),
            data_fingerprint=data_fingerprint,
            known=lambda: beginning(log, edges[1]),
        )
