"""The time between a user's events: ties, sessions, and where one ends."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recdl.data.diagnosis.blocks import user_blocks
from recdl.data.diagnosis.findings import Finding, duration, percent
from recdl.data.interactions import Interactions

BINS_PER_DECADE = 8
_DECADES = (-6, 10)  # of seconds: a microsecond to three centuries
_N_BINS = (_DECADES[1] - _DECADES[0]) * BINS_PER_DECADE
CUSTOMARY_GAP = 1_800.0
"""Seconds of inactivity that end a session where nothing better is known: half an hour, as in web analytics."""
_STEPS = 200
_SEPARATION = 2.0  # Ashman's D above which two bells are two
_LEAST_SHARE = 0.05  # of the gaps that each bell must have
_LONGEST_WITHIN = 7_200.0  # seconds: a typical gap longer than this is not one within a session
_ROUND = [
    *(unit * factor for unit in (1, 60) for factor in (1, 2, 3, 5, 10, 15, 20, 30, 45)),
    *(3_600 * factor for factor in (1, 1.5, 2, 3, 4, 6, 8, 12, 24)),
]


@dataclass(frozen=True)
class Rhythm:
    """Gaps between events that follow one another within a user.

    Attributes:
        gaps: Gaps: events, less one for each user.
        ties: Events that share their time with another event of the same user.
        tied_users: Users with at least one such tie.
        largest_tie: Most events of a user at one time.
        bin_edges: Seconds; tenfolds in 8 steps, from 1e-6. Gaps outside are counted at the ends; none of 0.
        bins: Gaps above 0 in each.
        median_gap: Seconds, of the gaps above 0, to within a bin; null if there are none.
        suggested_gap: Seconds of inactivity that tell sessions from pauses; null where they do not fall in two.
        sessions: Sessions with the suggested gap, or with half an hour where none is suggested.
    """

    gaps: int
    ties: int
    tied_users: int
    largest_tie: int
    bin_edges: list[float]
    bins: list[int]
    median_gap: float | None
    suggested_gap: float | None
    sessions: int


def measure_rhythm(log: Interactions, *, resolution: str) -> Rhythm:
    """Count the gaps.

    Args:
        log: The log.
        resolution: Of its times, as in `Timeline`: by the day no session can be told.
    """
    bins = np.zeros(_N_BINS, np.int64)
    ties = tied_users = largest = n_gaps = 0
    for block in user_blocks(log):
        gaps = np.diff(block.timestamps)[block.continues]
        n_gaps += len(gaps)
        positive = gaps[gaps > 0]
        bins += np.bincount(_bin(positive / 1e6), minlength=_N_BINS)
        starts = np.flatnonzero(np.append(True, ~block.continues | (np.diff(block.timestamps) > 0)))
        lengths = np.diff(np.append(starts, len(block.items)))
        ties += int(lengths[lengths > 1].sum())
        tied_users += len(np.unique(block.owners[starts[lengths > 1]]))
        largest = max(largest, int(lengths.max()))
    edges = 10.0 ** (np.arange(_N_BINS + 1) / BINS_PER_DECADE + _DECADES[0])
    suggested = None if resolution == "day" else suggested_gap(bins)
    limit = CUSTOMARY_GAP if suggested is None else suggested
    return Rhythm(
        gaps=n_gaps,
        ties=ties,
        tied_users=tied_users,
        largest_tie=largest,
        bin_edges=edges.tolist(),
        bins=bins.tolist(),
        median_gap=_median(bins, edges),
        suggested_gap=suggested,
        sessions=count_sessions(log, limit),
    )


def count_sessions(log: Interactions, seconds: float) -> int:
    """Return the number of sessions if more than `seconds` without an event end one."""
    sessions = 0
    for block in user_blocks(log):
        pauses = block.continues & (np.diff(block.timestamps) > seconds * 1e6)
        sessions += int(pauses.sum()) + int((~block.continues).sum()) + 1
    return sessions


def suggested_gap(bins: npt.NDArray[np.int64]) -> float | None:
    """Return where gaps within sessions end and pauses between them begin, in seconds, rounded; None if nowhere.

    Two normal distributions are fitted, by expectation maximization, to the logarithms of the gaps, and the gap is
    where one becomes likelier than the other (Halfaker et al., "User session identification based on strong
    regularities in inter-activity time", WWW 2015). Where they are not apart, or the shorter gaps are not those of
    a session, there is no such place.

    Args:
        bins: (n,) gaps above 0 by logarithm, `BINS_PER_DECADE` bins from a microsecond on.
    """
    if bins.sum() < 100:
        return None
    at = (np.arange(len(bins)) + 0.5) / BINS_PER_DECADE + _DECADES[0]
    means = np.array([math.log10(120.0), math.log10(86_400.0)])
    sds, shares = np.array([0.7, 0.7]), np.array([0.5, 0.5])
    for _ in range(_STEPS):
        densities = shares * np.exp(-0.5 * ((at[:, None] - means) / sds) ** 2) / sds + 1e-300
        weights = densities / densities.sum(1, keepdims=True) * bins[:, None]
        totals = weights.sum(0) + 1e-9
        shares = totals / totals.sum()
        means = (weights * at[:, None]).sum(0) / totals
        spread = (weights * (at[:, None] - means) ** 2).sum(0) / totals
        sds = np.maximum(np.sqrt(spread), 1 / BINS_PER_DECADE)
    apart = math.sqrt(2) * abs(means[1] - means[0]) / math.hypot(*sds)
    if apart < _SEPARATION or shares.min() < _LEAST_SHARE or 10 ** means.min() > _LONGEST_WITHIN:
        return None
    fine = np.linspace(means.min(), means.max(), 400)
    short, long = np.argsort(means)
    density = shares * np.exp(-0.5 * ((fine[:, None] - means) / sds) ** 2) / sds
    crossing = 10 ** float(fine[np.argmax(density[:, long] >= density[:, short])])
    return float(min(_ROUND, key=lambda gap: abs(math.log(gap / crossing))))


def _bin(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    places = np.floor((np.log10(seconds) - _DECADES[0]) * BINS_PER_DECADE + 1e-9).astype(np.int64)
    return np.clip(places, 0, _N_BINS - 1)


def _median(bins: npt.NDArray[np.int64], edges: npt.NDArray[np.float64]) -> float | None:
    if not bins.sum():
        return None
    place = int(np.searchsorted(np.cumsum(bins), bins.sum() / 2))
    return float(math.sqrt(edges[place] * edges[place + 1]))


def rhythm_findings(rhythm: Rhythm, *, events: int, resolution: str) -> Iterator[Finding]:
    """Say how much of the order is not known, and where sessions end."""
    share = rhythm.ties / events
    if share > 0.1:
        yield Finding(
            "ties",
            "warning" if share > 0.3 else "notice",
            f"{percent(share)} of the events share their time with another event of their user",
            f"{rhythm.ties:,} events of {rhythm.tied_users:,} users; up to {rhythm.largest_tie:,} at one time",
            "Their order is unknown: preparation puts them in an order of its own (by behaviour and item), which "
            "says nothing. Prefer split=temporal and split.queries=per_user, which part no tie, to "
            "leave_last_out; trust models of sequences (lstm) only where they beat item_knn and user_knn "
            "clearly.",
            share,
        )
    if resolution == "day" or not rhythm.gaps:
        return
    gap = rhythm.suggested_gap
    if gap is not None and not CUSTOMARY_GAP / 2 < gap < CUSTOMARY_GAP * 2:
        yield Finding(
            "sessions",
            "notice",
            f"a session ends after {duration(gap)} without an event, not after the customary half hour",
            f"{rhythm.sessions:,} sessions of {events / rhythm.sessions:.1f} events in the mean; median gap "
            f"{duration(rhythm.median_gap or 0.0)}",
            "Use this gap where the log is cut into sessions.",
        )
