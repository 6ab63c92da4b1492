"""Users whose activity no person can have."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recdl.data.diagnosis.blocks import Block, user_blocks
from recdl.data.diagnosis.findings import Finding, percent
from recdl.data.diagnosis.timeline import DAY, HOUR, SECOND
from recdl.data.interactions import Interactions

BURST_MOMENTS = 60
BURST_SECONDS = 60
ROUND_THE_CLOCK_HOURS = 23
BUSY_EVENTS = 200
"""Events on one day below which no user is suspected of being too busy, however quiet the others are."""
BUSY_SCORE = 6.0
_LEAST_SPREAD = 0.25  # of the logarithm: where all users are alike, a difference of a quarter is none

_RULES = {
    "burst": f"events at {BURST_MOMENTS} different moments or more within {BURST_SECONDS} seconds",
    "round_the_clock": f"active in {ROUND_THE_CLOCK_HOURS} hours or more of one day",
    "busy_day": f"{BUSY_EVENTS} events or more on one day, and by robust score (median and MAD of the "
    f"logarithm) more than {BUSY_SCORE:g} above the other users' busiest days",
}


@dataclass(frozen=True, eq=False)
class Bots:
    """Users of impossible activity.

    Attributes:
        suspects: Indices of the users that any rule takes for a bot, rising. Not shown.
        events: Events of theirs.
        by_rule: Users that each rule finds; a user may be found by several.
        busiest_day: Most events of any user on a day.
        typical_busiest_day: The median over users of the events on their busiest day.
    """

    suspects: npt.NDArray[np.int64]
    events: int
    by_rule: dict[str, int]
    busiest_day: int
    typical_busiest_day: float

    def to_json(self) -> dict[str, object]:
        """Return the counts, without saying who."""
        return {
            "users": len(self.suspects),
            "events": self.events,
            "rules": {rule: {"users": self.by_rule[rule], "meaning": _RULES[rule]} for rule in _RULES},
            "busiest_day": self.busiest_day,
            "typical_busiest_day": self.typical_busiest_day,
        }


def measure_bots(log: Interactions, *, resolution: str, shift: int = 0) -> Bots:
    """Look for users of impossible activity.

    Args:
        log: The log.
        resolution: Of its times, as in `Timeline`: rules that need finer times find nobody.
        shift: Microseconds that the clock by which days are counted is ahead of UTC.
    """
    burst, hours, busiest = (np.zeros(log.n_users, np.int64) for _ in range(3))
    for block in user_blocks(log):
        users = slice(block.first_user, block.first_user + block.n_users)
        days = (block.timestamps + shift) // DAY
        busiest[users] = _most(block.owners, days, np.ones(len(days), np.bool_), block.n_users)
        if resolution not in ("day", "quarter hour", "minute"):
            burst[users] = _bursts(block)
        if resolution != "day":
            hour = (block.timestamps + shift) // HOUR
            hours[users] = _most(block.owners, days, _news(block.owners, hour), block.n_users)
    found = {
        "burst": burst > 0,
        "round_the_clock": hours >= ROUND_THE_CLOCK_HOURS,
        "busy_day": _too_busy(busiest),
    }
    suspects = np.flatnonzero(np.logical_or.reduce(list(found.values())))
    lengths = np.diff(log.offsets)
    return Bots(
        suspects=suspects,
        events=int(lengths[suspects].sum()),
        by_rule={rule: int(mask.sum()) for rule, mask in found.items()},
        busiest_day=int(busiest.max()),
        typical_busiest_day=float(np.median(busiest[busiest > 0])),
    )


def _news(owners: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return where a user or a (never falling) value begins."""
    return np.append(True, (owners[1:] != owners[:-1]) | (values[1:] != values[:-1]))


def _most(
    owners: npt.NDArray[np.int64],
    days: npt.NDArray[np.int64],
    counted: npt.NDArray[np.bool_],
    n_users: int,
) -> npt.NDArray[np.int64]:
    """Return (n_users,) the most events that are `counted` on any one day of each user."""
    starts = np.flatnonzero(_news(owners, days))
    most = np.zeros(n_users, np.int64)
    np.maximum.at(most, owners[starts], np.add.reduceat(counted.astype(np.int64), starts))
    return most


def _bursts(block: Block) -> npt.NDArray[np.int64]:
    """Return (n_users,) how often a user has `BURST_MOMENTS` different moments within `BURST_SECONDS`.

    Events of one moment count once: a basket of a hundred items is bought in one moment by a person.
    """
    moments = np.flatnonzero(_news(block.owners, block.timestamps))
    times, owners = block.timestamps[moments], block.owners[moments]
    first, last = slice(0, len(times) - BURST_MOMENTS + 1), slice(BURST_MOMENTS - 1, None)
    if len(times) < BURST_MOMENTS:
        return np.zeros(block.n_users, np.int64)
    fast = (owners[first] == owners[last]) & (times[last] - times[first] < BURST_SECONDS * SECOND)
    return np.bincount(owners[first][fast], minlength=block.n_users)


def _too_busy(busiest: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return whether each user's busiest day lies far above those of the others."""
    logs = np.log(np.maximum(busiest, 1))
    known = logs[busiest > 0]
    middle = np.median(known)
    spread = max(1.4826 * float(np.median(np.abs(known - middle))), _LEAST_SPREAD)
    inner: npt.NDArray[np.bool_] = (busiest >= BUSY_EVENTS) & (logs - middle > BUSY_SCORE * spread)
    return inner


def bot_findings(bots: Bots, *, events: int) -> Iterator[Finding]:
    """Say how many users are no persons, and what they weigh."""
    if not len(bots.suspects):
        return
    share = bots.events / events
    rules = "; ".join(f"{_RULES[rule]}: {users:,}" for rule, users in bots.by_rule.items() if users)
    yield Finding(
        "bots",
        "serious" if share > 0.1 else "warning",
        f"{len(bots.suspects):,} {'user is' if len(bots.suspects) == 1 else 'users are'} too active to be a "
        "person",
        f"{percent(share)} of the events are theirs. Users by rule: {rules}",
        "suspects=PATH writes their ids to a file of your choice (nowhere else); leave them out of the log, or "
        "their habits are learned and measured as if they were people's.",
        share,
    )
