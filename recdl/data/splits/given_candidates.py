"""The candidates of each query: read from a file, or drawn."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recdl.data.interactions import Interactions
from recdl.data.queries import Candidates, QuerySet
from recdl.data.splits.given_files import UnknownRule
from recdl.data.splits.parts import Vocabularies
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import DataError

_PAIR = re.compile(r"\((.*),(.*)\)")
_Items = npt.NDArray[np.int32]


class _Line(NamedTuple):
    number: int
    user: str
    target: str | None
    items: list[str]


def read_candidates(
    path: Path, query_set: QuerySet, vocabularies: Vocabularies, *, unknown_items: UnknownRule
) -> tuple[Candidates, dict[str, Any]]:
    """Read what each query ranks: a line a user, fields parted by tabs, else by spaces.

    The first field is the user, or `(user,item)` with a target of the user's query; the others are items. The
    candidates of a query are these and all its known targets, each once. So a target that stands among its own
    negatives competes with one negative less, and not with itself.

    Returns:
        The candidates, and counts of them for the report.

    Raises:
        DataError: If a line cannot be read, names a user or item that is not in the log or a target that is not
        its
            query's, names a user again, or if a query has no line; with file and line.
    """
    rows = {int(user): row for row, user in enumerate(query_set.queries.users)}
    lines = _lines(path)
    users = vocabularies.users.indices([line.user for line in lines])
    ends = np.cumsum([len(line.items) for line in lines], dtype=np.int64)
    items = vocabularies.items.indices([item for line in lines for item in line.items])
    if unknown_items == "error":
        _check_known(path, items, ends, lines)
    found: dict[int, _Items] = {}
    listed_targets = 0
    for line, user, end in zip(lines, users, ends, strict=True):
        place = f"{path}, line {line.number}"
        row = rows.get(int(user), -1) if user != UNKNOWN else -1
        if row < 0:
            raise DataError(f"{place}: {line.user!r} is no user that the test part asks about; remove the line")
        if row in found:
            raise DataError(f"{place}: user {line.user!r} has a line already; join the two")
        own = query_set.target_items[query_set.target_offsets[row] : query_set.target_offsets[row + 1]]
        if line.target is not None and vocabularies.items.indices([line.target])[0] not in own:
            raise DataError(f"{place}: {line.target!r} is no target of user {line.user!r} in the test part")
        listed = items[end - len(line.items) : end]
        listed_targets += int(np.isin(own[own != UNKNOWN], listed).any())
        found[row] = _together(listed, own)
    missing = next((row for row in range(len(query_set)) if row not in found), None)
    if missing is not None:
        user_id = vocabularies.users.ids(query_set.queries.users[[missing]])[0]
        raise DataError(f"{path} has no line for user {user_id!r}, whom the test part asks about; add it")
    candidates = _join([found[row] for row in range(len(query_set))])
    return candidates, counts_of(candidates) | {
        "unknown": int((items == UNKNOWN).sum()),
        "queries_with_target_listed": listed_targets,
    }


def draw_candidates(log: Interactions, query_set: QuerySet, n: int, *, seed: int) -> Candidates:
    """Draw `n` items that the query's user has no event of in `log`, evenly, beside its targets.

    Where there are fewer than `n`, all of them are taken.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for row, user in enumerate(query_set.queries.users):
        own = query_set.target_items[query_set.target_offsets[row] : query_set.target_offsets[row + 1]]
        free = np.ones(log.n_items, np.bool_)
        free[own[own != UNKNOWN]] = False
        free[log.items[log.offsets[user] : log.offsets[user + 1]]] = False
        others = np.flatnonzero(free)
        chosen = others if len(others) <= n else rng.choice(others, n, replace=False)
        drawn.append(_together(chosen.astype(np.int32), own))
    return _join(drawn)


def counts_of(candidates: Candidates) -> dict[str, Any]:
    """Return how many candidates queries have, for the report."""
    counts = candidates.counts
    return {"fewest": int(counts.min()), "mean": float(counts.mean()), "most": int(counts.max())}


def _together(listed: _Items, targets: _Items) -> _Items:
    both = np.unique(np.append(listed, targets))
    known: _Items = both[both != UNKNOWN].astype(np.int32)
    return known


def _join(by_query: list[_Items]) -> Candidates:
    offsets = np.zeros(len(by_query) + 1, np.int64)
    np.cumsum([len(own) for own in by_query], out=offsets[1:])
    return Candidates(offsets, np.concatenate(by_query))


def _lines(path: Path) -> list[_Line]:
    """Return the lines that are not empty, with their numbers from 1."""
    found = []
    try:
        with path.open(encoding="utf-8-sig") as opened:
            for number, line in enumerate(opened, start=1):
                text = line.strip("\n\r\t ")
                if not text:
                    continue
                first, *others = text.split("\t") if "\t" in text else text.split()
                pair = _PAIR.fullmatch(first)
                user, target = (pair[1], pair[2]) if pair else (first, None)
                if not others:
                    raise DataError(
                        f"{path}, line {number}: user {user!r} has no candidates; is a separator missing?"
                    )
                found.append(_Line(number, user, target, others))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not found:
        raise DataError(f"{path} holds no rows")
    return found


def _check_known(path: Path, items: _Items, ends: npt.NDArray[np.int64], lines: list[_Line]) -> None:
    unknown = np.flatnonzero(items == UNKNOWN)
    if not len(unknown):
        return
    row = int(np.searchsorted(ends, unknown[0], side="right"))
    line = lines[row]
    name = line.items[int(unknown[0] - (ends[row] - len(line.items)))]
    raise DataError(
        f"{path}, line {line.number}: {name!r} is no item of the log: train has no event of it ({len(unknown):,}"
        " such in all); split.unknown_items=miss leaves such candidates out"
    )
