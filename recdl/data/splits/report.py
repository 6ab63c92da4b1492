"""What a split's parts hold, whom they leave cold, what they repeat and what they leak: one meaning for all."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.moments import iso
from recdl.data.queries import QuerySet
from recdl.data.sessions import Sequences
from recdl.data.vocabulary import UNKNOWN

_BLOCK = 1 << 22


def of_train(train: Interactions) -> dict[str, Any]:
    """Count the train part; `first` and `last` are its times, null in a log without."""
    times = train.timestamps
    return {
        "events": train.n_events,
        "users": int((np.diff(train.offsets) > 0).sum()),
        "items": int(train.occurring_items.sum()),
        "first": iso(int(times.min())) if train.timed else None,
        "last": iso(int(times.max())) if train.timed else None,
    }


def of_queries(train: Interactions, log: Interactions, query_set: QuerySet) -> dict[str, Any]:
    """Count what is asked of a part.

    `cold_target_share`: targets without an event in train. `cold_user_share`: queries of a user (or session)
    without one. `no_history_share`: queries without history. `repeat_share`: targets in their query's own history.
    """
    queries, items = query_set.queries, query_set.target_items
    in_train = np.append(
        train.occurring_items, np.False_
    )  # at -1 is the place of an item that the log does not hold
    has_events = np.append(np.diff(train.offsets) > 0, np.False_)
    return {
        "queries": len(queries),
        "targets": len(items),
        "cold_target_share": float((~in_train[items]).mean()),
        "cold_user_share": float((~has_events[queries.users]).mean()),
        "no_history_share": float((queries.lengths == 0).mean()),
        "repeat_share": float(np.concatenate(list(_repeats(log, query_set))).mean()),
    }


def of_sequences(sequences: Sequences) -> dict[str, Any]:
    """Say what a "user" of the split is, and how many there are."""
    if sequences.owners is None:
        return {"unit": "user", "sequences": sequences.log.n_users}
    users = len(np.unique(sequences.owners))
    return {"unit": "session", "sequences": sequences.log.n_users, "users": users}


def leak(train: Interactions, first_asked: int | None) -> dict[str, Any]:
    """Say how much of train is later than the earliest test query, which no model may know in life."""
    if first_asked is None or not train.timed:
        statement = "It cannot be said: there are no times of train and of test that could be compared."
        return {"train_events_after_first_test_target": None, "statement": statement}
    share = float((train.timestamps > first_asked).mean())
    if share == 0:
        statement = "Nothing: no train event is later than any test target."
    else:
        statement = (
            f"{share:.1%} of the train events are later than the earliest test target: models learn from what"
            " other users did afterwards, and their figures may be higher than in use."
        )
    return {"train_events_after_first_test_target": share, "statement": statement}


def _repeats(log: Interactions, query_set: QuerySet) -> Iterator[npt.NDArray[np.bool_]]:
    """Give, by blocks, whether each target's item occurs in its query's history."""
    queries = query_set.queries
    is_beginning = queries.items is log.items and len(queries) > 0 and queries.users.min() != UNKNOWN
    return _repeats_in_log(log, query_set) if is_beginning else _repeats_in_histories(query_set)


def _repeats_in_log(log: Interactions, query_set: QuerySet) -> Iterator[npt.NDArray[np.bool_]]:
    """Give it for histories that lie in the log, by blocks of users.

    A history is the beginning of what its user did. Where a user is asked for one item, the block's events are
    looked through; else its pairs of user and item are sorted once.
    """
    users = np.repeat(query_set.queries.users, query_set.target_counts)
    ends = np.repeat(query_set.queries.ends, query_set.target_counts)
    for first, last in _blocks(log.offsets):
        rows = slice(*np.searchsorted(users, [first, last]))
        find = _found if (np.diff(users[rows]) > 0).all() else _preceded
        yield find(log, (first, last), query_set.target_items[rows], users[rows], ends[rows])


def _found(
    log: Interactions,
    block: tuple[int, int],
    items: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Return whether each item is among its user's before an end; no user of a block comes twice."""
    first, last = block
    offsets = log.offsets[first : last + 1]
    asked = np.full(last - first, UNKNOWN, np.int32)  # which no event is of
    asked[users - first] = items
    places = np.flatnonzero(log.items[offsets[0] : offsets[-1]] == np.repeat(asked, np.diff(offsets)))
    rows = np.searchsorted(users, first + np.searchsorted(offsets, places + offsets[0], side="right") - 1)
    found = np.zeros(len(items), np.bool_)
    found[rows[places + offsets[0] < ends[rows]]] = True
    return found


def _preceded(
    log: Interactions,
    block: tuple[int, int],
    items: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Return whether each item's first event in a block of users, by its user, precedes an end.

    No history is ever written out, though histories of one user overlap when each event is a query.
    """
    first, last = block
    start, end = log.offsets[first], log.offsets[last]
    owners = np.repeat(np.arange(first, last), np.diff(log.offsets[first : last + 1]))
    pairs, firsts = np.unique(owners * log.n_items + log.items[start:end], return_index=True)
    wanted = users.astype(np.int64) * log.n_items + items
    # A target that is given in a file is no event of its user: its pair may be missing.
    found = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    known = (pairs[found] == wanted) & (items != UNKNOWN)
    return np.asarray(known & (firsts[found] + start < ends))


def _repeats_in_histories(query_set: QuerySet) -> Iterator[npt.NDArray[np.bool_]]:
    """Give it for any histories, by blocks of queries whose histories are written out together."""
    queries, counts = query_set.queries, query_set.target_counts
    spent = np.zeros(len(queries) + 1, np.int64)
    np.cumsum(queries.lengths, out=spent[1:])
    for first, last in _blocks(spent):
        rows, items = queries[first:last].history_items()
        start, end = query_set.target_offsets[first], query_set.target_offsets[last]
        asked = np.repeat(np.arange(last - first, dtype=np.int64), counts[first:last])
        shift = 1 + int(max(items.max(initial=0), query_set.target_items[start:end].max(initial=0)))
        targets = query_set.target_items[start:end]
        yield np.isin(asked * shift + targets, rows * shift + items) & (targets != UNKNOWN)


def _blocks(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Give ranges of users, or queries, with about `_BLOCK` events each."""
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1
        yield first, max(last, first + 1)
        first = max(last, first + 1)
