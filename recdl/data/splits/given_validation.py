"""A validation part cut from the train file of a given split, in the manner of its test part."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet, ragged_positions
from recdl.data.splits.parts import Part, part_of
from recdl.errors import DataError

ValidationRule = Literal["last", "random", "latest_users"]


def cut_validation(
    log: Interactions, rule: ValidationRule, *, fraction: float, seed: int
) -> tuple[Interactions, Part]:
    """Take a validation part out of `log`; return the rest, to train on, and the part.

    Args:
        log: All that is given to learn from.
        rule: `last`: the last event of a share of the users that have two or more, drawn at random; `random`: a
            random event of each of them in its place, for a log whose order says nothing; `latest_users`: the
            share of the users (or sessions) that begin last, each asked before every event but its first, as
            sessions are.
        fraction: The share.
        seed: Of the draws.

    Raises:
        DataError: If nothing would be asked, or nothing left to learn from.
    """
    if rule == "latest_users":
        return _latest_users(log, fraction)
    lengths = np.diff(log.offsets)
    long = np.flatnonzero(lengths >= 2)
    n = round(fraction * len(long))
    if not n:
        raise DataError(
            f"{len(long)} users of the log have two events or more, of which split.validation_fraction={fraction}"
            " takes none for validation; raise it, or name a file with split.validation"
        )
    rng = np.random.default_rng(seed)
    users = np.sort(rng.choice(long, n, replace=False))
    held = log.offsets[users + 1] - 1
    if rule == "random":
        held = log.offsets[users] + rng.integers(lengths[users])
    kept: npt.NDArray[np.bool_] = np.ones(log.n_events, np.bool_)
    kept[held] = False
    train = log.where(kept)
    query_set = QuerySet(
        Queries.at_end(train, users.astype(np.int32)),
        np.arange(n + 1, dtype=np.int64),
        np.asarray(log.items[held], np.int32),
    )
    before = held - 1
    ties = int((log.timestamps[held] == log.timestamps[before]).sum()) if rule == "last" and log.timed else None
    return train, Part(query_set, n, n, ties)


def _latest_users(log: Interactions, fraction: float) -> tuple[Interactions, Part]:
    active = np.flatnonzero(np.diff(log.offsets) > 0)
    begins = np.asarray(log.timestamps[log.offsets[active]])
    n = round(fraction * len(active))
    users = np.sort(active[np.argsort(begins, kind="stable")[len(active) - n :]])
    starts = log.offsets[:-1].copy()
    ends = starts.copy()
    ends[users] = log.offsets[users + 1]
    asked = ragged_positions(np.minimum(starts + 1, ends), ends)
    if not len(asked) or n == len(active):
        raise DataError(
            f"split.validation_fraction={fraction} takes the {n} users (or sessions) that begin last, of"
            f" {len(active)}, which leaves nothing to ask or nothing to learn from; choose another share"
        )
    is_held = np.zeros(log.n_events, np.bool_)
    is_held[ragged_positions(starts, ends)] = True
    owners = log.users[asked]
    queries = Queries.of_log(log, owners, log.offsets[owners], asked)
    query_set = QuerySet(
        queries, np.arange(len(asked) + 1, dtype=np.int64), np.asarray(log.items[asked], np.int32)
    )
    return log.where(~is_held), part_of((starts, ends), query_set, None)
