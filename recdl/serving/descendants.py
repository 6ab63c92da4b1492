"""Runs and bundles below some folders, and the prepared log that each was made from."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recdl.errors import RecordError
from recdl.evaluation.records import RECORD, STARTED
from recdl.serving.manifest import FORMAT, MANIFEST, read_manifest

Kind = Literal["run", "bundle"]


@dataclass(frozen=True)
class Descendant:
    """A run, finished or cut off, or a bundle.

    Attributes:
        kind: Which of the two.
        folder: Where it lies.
        model: What its model is called; empty where that cannot be read.
        data: What the log is called that it was made from.
        fingerprint: Of that log; None where it cannot be read.
        problem: Why it cannot be read, if it cannot.
    """

    kind: Kind
    folder: Path
    model: str = ""
    data: str = ""
    fingerprint: str | None = None
    problem: str | None = None


def find_runs(roots: Iterable[Path]) -> list[Descendant]:
    """Find the runs at or below some folders, however deep; a folder that is not there holds none.

    A run that is under way or was cut off counts too: its checkpoints have learned from the log.
    """
    return [_run(folder) for folder in _folders(roots, (RECORD, STARTED))]


def find_bundles(roots: Iterable[Path]) -> list[Descendant]:
    """Find the bundles at or below some folders, however deep; a folder that is not there holds none."""
    found = []
    for folder in _folders(roots, (MANIFEST,)):
        try:
            content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = {"format": FORMAT}  # it may be one: `read_manifest` says what is wrong with it
        if isinstance(content, dict) and content.get("format") == FORMAT:
            found.append(_bundle(folder))
    return found


def _folders(roots: Iterable[Path], names: tuple[str, ...]) -> Iterator[Path]:
    """Yield each folder that holds a file of one of these names, once, whatever links lead to it."""
    seen = set[Path]()
    for root in roots:
        for found, inner, files in os.walk(root):
            inner.sort()
            folder = Path(found)
            if not set(names).isdisjoint(files) and folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield folder


def _run(folder: Path) -> Descendant:
    path = next(folder / name for name in (RECORD, STARTED) if (folder / name).is_file())
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        identity = content["identity"]
        data = identity["data"]
        return Descendant("run", folder, str(identity["model"]), str(data["name"]), str(data["fingerprint"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Descendant("run", folder, problem=f"{path} is damaged ({error!r})")


def _bundle(folder: Path) -> Descendant:
    try:
        run = read_manifest(folder)["run"]
    except RecordError as error:
        return Descendant("bundle", folder, problem=str(error))
    return Descendant("bundle", folder, run["model"], run["data"]["name"], run["data"]["fingerprint"])
