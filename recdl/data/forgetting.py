"""Users taken out of prepared logs, and kept out of those to come."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recdl.data.core import Left, left_without
from recdl.data.engine import writing_errors
from recdl.data.forgotten import Forgotten
from recdl.data.leftovers import Leftovers, remove_leftovers
from recdl.data.prepared import APPENDED, EARLIER, PreparedLog, read_manifest
from recdl.data.privacy import Key
from recdl.data.rewriting import UNFINISHED, finish_replacing, hidden, replace_folder, unfinished, write_part
from recdl.data.sources import Filters
from recdl.errors import DataError, RecordError

_LOCK = ".forgetting.lock"
_BATCH = 1 << 16
_PSEUDONYM = re.compile("[0-9a-f]{32}")

State = Literal["untouched", "rewritten", "removed", "unreadable"]


@dataclass(frozen=True)
class LogOutcome:
    """What became of a prepared log.

    Attributes:
        folder: Where it lies.
        state: `untouched`: it held nobody; `rewritten`; `removed`: nobody else was in it; `unreadable`: damaged.
        users: Users taken out.
        events: Their events.
        users_below_limits: Further users who no longer passed the filters that the log was prepared with.
        events_below_limits: Further events that fell with them, or with items that no longer passed.
        items: Items that are no longer in the log.
        problem: Why users may still be in it; it holds no id. None: they are not.
    """

    folder: Path
    state: State
    users: int = 0
    events: int = 0
    users_below_limits: int = 0
    events_below_limits: int = 0
    items: int = 0
    problem: str | None = None


@dataclass(frozen=True, eq=False)
class Forgetting:
    """What came of forgetting users below a root.

    Attributes:
        given: Distinct ids given.
        repeated: Of them, those that were on the list of forgotten users before.
        found: Of them, those that a prepared log held.
        logs: What became of each log.
        leftovers: What killed preparations had left.
        forgotten: The list as it is now.
        indices: By fingerprint of a log as it was, the indices that the users had in it.
    """

    given: int
    repeated: int
    found: int
    logs: tuple[LogOutcome, ...]
    leftovers: Leftovers
    forgotten: Forgotten
    indices: Mapping[str, npt.NDArray[np.int64]]


def forget_users(
    root: Path, ids: Sequence[str], *, key: Key | None = None, folder: Path | None = None
) -> Forgetting:
    """Put users on the list of a root, and take whoever is on it out of the logs prepared below that root.

    The list is saved first, so that a log prepared from then on never holds them. Each log that does is written
    anew, and is then what preparation with that list gives: the arrays, vocabularies and tables, and so the
    fingerprint. Each is replaced whole or not at all, and a second call finishes what a first one could not.

    Args:
        root: The folder that holds prepared logs and the list.
        ids: Raw ids, exactly as in the raw log, or pseudonyms.
        key: The key of logs with pseudonyms.
        folder: The one log to look into; None: all below the root.

    Raises:
        DataError: If there is no such folder, another process is forgetting there, or the disk is full.
        RecordError: If the list is damaged; nothing is changed then.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root} of prepared logs; say where they lie with prepared_root=...")
    with _alone(root):
        before = Forgotten.open(root)
        for cut_off in unfinished(root):
            finish_replacing(cut_off)
        leftovers = remove_leftovers(root)
        known_as = {one: {one, *(key.pseudonyms("user", [one]) if key is not None else ())} for one in ids}
        forgotten = before.with_users(name for names in known_as.values() for name in names)
        if forgotten != before:
            forgotten.save(root)  # before the logs are looked at: one that is prepared meanwhile honours it
        searched = [_search(one, forgotten) for one in _folders(root, folder)]
        seen = [fingerprint for one in searched for fingerprint in one.fingerprints]
        if not forgotten.logs.issuperset(seen):
            forgotten = forgotten.with_logs(seen)
            forgotten.save(root)  # before they are changed: what had seen the users is found whatever happens
        logs = tuple(_cleaned(one, _locked(one, tuple(known_as), key)) for one in searched)
    names = {name for one in searched for name in one.names}
    return Forgetting(
        given=len(known_as),
        repeated=sum(before.known(known_as)),
        found=sum(not names.isdisjoint(of_one) for of_one in known_as.values()),
        logs=logs,
        leftovers=leftovers,
        forgotten=forgotten,
        indices={one.fingerprints[-1]: one.indices for one in searched if one.fingerprints},
    )


def _folders(root: Path, folder: Path | None) -> list[Path]:
    if folder is not None:
        return [folder]
    return sorted(path.parent for path in root.glob("*/manifest.json") if not path.parent.name.startswith("."))


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keep others from forgetting below a root: of two lists written at once, one would be lost."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (root / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"another process is forgetting users in {root}; wait for it, then call again"
            ) from error
        yield


@dataclass(frozen=True, eq=False)
class _Searched:
    """A prepared log, and who of the forgotten is in it.

    Attributes:
        folder: Where it lies.
        manifest: What it says of itself; empty where it cannot be read.
        indices: The users' indices.
        names: What they are called in it.
        fingerprints: Where it holds any of them: those it had before, and last the one it has.
        filters: What it was filtered by.
        problem: Why it cannot be read, if it cannot.
    """

    folder: Path
    manifest: dict[str, Any]
    indices: npt.NDArray[np.int64]
    names: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    problem: str | None = None


def _search(folder: Path, forgotten: Forgotten) -> _Searched:
    indices, names, start = list[int](), list[str](), 0
    try:
        manifest = read_manifest(folder)
        with _vocabulary(folder / "users.parquet") as opened:
            for batch in opened.iter_batches(batch_size=_BATCH, columns=["id"]):
                ids = batch["id"].to_pylist()
                known = [place for place, gone in enumerate(forgotten.known(ids)) if gone]
                indices += [start + place for place in known]
                names += [ids[place] for place in known]
                start += len(ids)
        first = min(indices, default=start)
        held_them = [one["fingerprint"] for one in manifest.get(APPENDED, ()) if first < one["users"]]
        seen = (*manifest.get(EARLIER, ()), *held_them, manifest["fingerprint"]) if indices else ()
        filters = Filters(**manifest["settings"]["filters"])
    except RecordError as error:
        return _Searched(folder, {}, np.zeros(0, np.int64), problem=str(error))
    except (KeyError, TypeError) as error:
        problem = f"{folder / 'manifest.json'} is damaged ({error!r}); delete {folder} and prepare the log again"
        return _Searched(folder, {}, np.zeros(0, np.int64), problem=problem)
    return _Searched(folder, manifest, np.array(indices, np.int64), tuple(names), seen, filters)


@contextmanager
def _vocabulary(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as opened:
            yield opened
    except (OSError, pa.ArrowException, KeyError) as error:
        raise RecordError(
            f"{path} is not a readable vocabulary ({error}); delete {path.parent} and prepare the log again"
        ) from error


def _locked(log: _Searched, ids: Sequence[str], key: Key | None) -> str | None:
    """Say why ids cannot be looked for in a log, if its pseudonyms are of a key that was not given."""
    privacy = log.manifest.get("settings", {}).get("privacy", {})
    if "user" not in privacy.get("pseudonyms", ()) or all(map(_PSEUDONYM.fullmatch, ids)):
        return None
    if key is None:
        return "users are pseudonyms here, and no key was given to find raw ids by"
    return (
        None if key.check == privacy.get("key_check") else "users are pseudonyms of another key than the given one"
    )


def _cleaned(found: _Searched, locked: str | None) -> LogOutcome:
    """Take the users who were found out of a log."""
    if found.problem is not None:
        return LogOutcome(found.folder, "unreadable", problem=found.problem)
    if not len(found.indices):
        return LogOutcome(found.folder, "untouched", problem=locked)
    try:
        log = PreparedLog.open(found.folder)
    except RecordError as error:
        return LogOutcome(found.folder, "unreadable", problem=str(error))
    gone = np.zeros(len(log.users), np.bool_)
    gone[found.indices] = True
    left = left_without(log.interactions, gone, found.filters)
    emptied = not left.users.any()
    with writing_errors(found.folder):
        if emptied:
            _remove(found.folder)
        else:
            _replace(log, left)
    return LogOutcome(
        found.folder,
        "removed" if emptied else "rewritten",
        users=len(found.indices),
        events=left.forgotten,
        users_below_limits=int((~left.users).sum()) - len(found.indices),
        events_below_limits=left.few_events + left.few_users,
        items=int((~left.items).sum()),
        problem=None if emptied else locked,
    )


def _replace(log: PreparedLog, left: Left) -> None:
    dropped = dict(log.manifest["counts"]["dropped"])
    for reason in ("forgotten", "few_events", "few_users"):
        dropped[reason] = dropped.get(reason, 0) + getattr(left, reason)
    grown_from = [one["fingerprint"] for one in log.manifest.get(APPENDED, ())]
    changes: dict[str, Any] = {
        "counts": {**log.manifest["counts"], "dropped": dropped},
        EARLIER: [*log.manifest.get(EARLIER, ()), *grown_from, log.fingerprint],
    }
    if APPENDED in log.manifest:
        changes[APPENDED] = []  # their numbers are no longer those here
    partial = hidden(log.folder, UNFINISHED)
    try:
        partial.mkdir()
        write_part(log, partial, left, changes)
        replace_folder(log.folder)
    finally:
        finish_replacing(log.folder)


def _remove(folder: Path) -> None:
    """Remove a folder: out of sight in one step, so that a process that is killed leaves no half of it."""
    aside = hidden(folder, UNFINISHED)
    folder.rename(aside)
    shutil.rmtree(aside)
