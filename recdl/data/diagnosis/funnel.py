"""From behaviour to behaviour: who that viewed an item purchased it later; and how often items come again."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recdl.data.diagnosis.blocks import user_blocks
from recdl.data.diagnosis.findings import Finding, percent
from recdl.data.interactions import Interactions

MAX_STAGES = 6
"""Behaviours that the funnel is measured between: those with the most events, if there are more."""
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Funnel:
    """How behaviours follow one another, and repeats.

    "Later" is at the same moment or after: times may be too coarse to tell.

    Attributes:
        stages: Names of the behaviours compared, in the order of the funnel.
        pairs: Distinct user-item pairs with each behaviour, (n_stages,).
        users: Users with each behaviour, (n_stages,).
        pair_rates: [i][j]: of the user-item pairs with i, the share that later had j; null where no pair has i.
        user_rates: The same of users, whatever the items.
        preceded: [i][j]: of the user-item pairs with j, the share in which i came first or at the same moment.
        distinct_pairs: Distinct user-item pairs, whatever the behaviour.
        repeat_rate: Share of the events whose user had had the item before, in any manner.
        repeat_rates: By behaviour: share of its events whose user had had the item before, in the same manner.
        same_as_last_rate: Share of the events, but each user's first, with the item of the user's previous event.
    """

    stages: list[str]
    pairs: list[int]
    users: list[int]
    pair_rates: list[list[float | None]]
    user_rates: list[list[float | None]]
    preceded: list[list[float | None]]
    distinct_pairs: int
    repeat_rate: float
    repeat_rates: dict[str, float | None]
    same_as_last_rate: float | None


def measure_funnel(log: Interactions) -> Funnel:
    """Count by user-item pair and by user, over blocks of users."""
    names = log.behavior_names
    events = np.zeros(len(names), np.int64)
    for block in user_blocks(log):
        events += np.bincount(block.behaviors, minlength=len(names))
    stages = np.sort(np.argsort(-events, kind="stable")[:MAX_STAGES])
    by_pair = np.zeros((len(stages), len(stages)), np.int64)
    by_user, before = by_pair.copy(), by_pair.copy()
    firsts = np.zeros(len(names), np.int64)  # distinct pairs with each behaviour
    distinct = again = steps = 0
    for block in user_blocks(log):
        order = np.argsort(block.pairs, kind="stable")  # within a pair still in the order of time
        pairs = block.pairs[order]
        groups = np.cumsum(np.append(0, pairs[1:] != pairs[:-1]))
        behaviors, times = block.behaviors[order], block.timestamps[order]
        distinct += int(groups[-1]) + 1
        for code in range(len(names)):
            mine = groups[behaviors == code]
            firsts[code] += len(mine) and 1 + int((mine[1:] != mine[:-1]).sum())
        first, last = _spans(groups, behaviors, times, int(groups[-1]) + 1, stages)
        _count_later(first, last, by_pair, before)
        first, last = _spans(block.owners, block.behaviors, block.timestamps, block.n_users, stages)
        _count_later(first, last, by_user, None)
        again += int((block.continues & (block.items[1:] == block.items[:-1])).sum())
        steps += int(block.continues.sum())
    return Funnel(
        stages=[names[code] for code in stages],
        pairs=firsts[stages].tolist(),
        users=np.diag(by_user).tolist(),
        pair_rates=_rates(by_pair, np.diag(by_pair)[:, None]),
        user_rates=_rates(by_user, np.diag(by_user)[:, None]),
        preceded=_rates(before, np.diag(before)[None, :]),
        distinct_pairs=distinct,
        repeat_rate=1 - distinct / log.n_events,
        repeat_rates={
            name: 1 - int(firsts[code]) / int(events[code]) if events[code] else None
            for code, name in enumerate(names)
        },
        same_as_last_rate=again / steps if steps else None,
    )


def _spans(
    groups: npt.NDArray[np.int64],
    behaviors: npt.NDArray[np.int8],
    times: npt.NDArray[np.int64],
    n_groups: int,
    stages: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first and the last time, each (n_stages, n_groups), of each behaviour in each group.

    Groups do not fall, and times do not fall within one. Where a group lacks the
    behaviour it has `_NEVER` and its negative.
    """
    first = np.full((len(stages), n_groups), _NEVER)
    last = np.full((len(stages), n_groups), -_NEVER)
    for row, code in enumerate(stages):
        at = np.flatnonzero(behaviors == code)
        if len(at):
            mine = groups[at]
            new = np.flatnonzero(np.append(True, mine[1:] != mine[:-1]))
            first[row, mine[new]] = times[at[new]]
            last[row, mine[new]] = times[at[np.append(new[1:], len(at)) - 1]]
    return first, last


def _count_later(
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    later: npt.NDArray[np.int64],
    before: npt.NDArray[np.int64] | None,
) -> None:
    """Add the groups in which j was done at i's first time or later to [i, j], and those in which i came first."""
    present = first < _NEVER
    for i in range(len(first)):
        for j in range(len(first)):
            both = present[i] & present[j]
            later[i, j] += int((both & (last[j] >= first[i])).sum())
            if before is not None:
                before[i, j] += int((both & (first[i] <= first[j])).sum())


def _rates(counts: npt.NDArray[np.int64], totals: npt.NDArray[np.int64]) -> list[list[float | None]]:
    wide = np.broadcast_to(totals, counts.shape)
    return [
        [int(count) / int(total) if total else None for count, total in zip(row, bases, strict=True)]
        for row, bases in zip(counts, wide, strict=True)
    ]


def funnel_findings(funnel: Funnel) -> Iterator[Finding]:
    """Say where the funnel has holes, and how much of the log is the same again."""
    last, first = len(funnel.stages) - 1, 0
    preceded = funnel.preceded[first][last] if last else None
    if preceded is not None and preceded < 0.5 and funnel.pairs[last] >= 30:
        yield Finding(
            "funnel_holes",
            "notice",
            f"only {percent(preceded)} of what got a {funnel.stages[last]} had a {funnel.stages[first]} before",
            f"{funnel.pairs[last]:,} user-item pairs with {funnel.stages[last]}",
            f"Either {funnel.stages[first]} events are missing from the log, or the order of data.behaviors is "
            "not that "
            f"of the funnel. Where it is so by nature, split.target_behaviors=[{funnel.stages[last]}] asks for "
            "what histories say little about.",
            1 - preceded,
        )
    if funnel.repeat_rate > 0.3:
        yield Finding(
            "repeats",
            "notice",
            f"{percent(funnel.repeat_rate)} of the events return to an item that the user had before",
            f"{funnel.distinct_pairs:,} distinct user-item pairs; {percent(funnel.same_as_last_rate or 0.0)} of "
            "the steps stay on the same item",
            "evaluation=full rewards recommending the known again, evaluation=unseen asks for the new only: "
            "choose by what the recommendations are for, and report which.",
            funnel.repeat_rate,
        )
