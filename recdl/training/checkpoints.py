"""Checkpoints: written whole or not at all, verified when read, the old ones removed."""

import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from recdl.errors import RecordError
from recdl.storage import whole_file
from recdl.training.leftovers import FINISHED

FORMAT_VERSION = 1
"""Of what a checkpoint holds. It rises when an earlier recdl could no longer go on from one."""

_N_LAST = 2  # so that one is left where the newest turns out to be damaged
_LAST, _BEST = re.compile(r"last-(\d+)-(\d+)\.ckpt"), re.compile(r"best-(\d+)\.ckpt")


class Position(NamedTuple):
    """How far a fit has come.

    Attributes:
        epoch: Epochs that are done, validation included.
        batches: Batches of the next one that are done.
    """

    epoch: int
    batches: int


def write_checkpoint(path: Path, content: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write tensors and plain values, whole or not at all; each part of the file has its CRC-32.

    Args:
        path: The file; an earlier one stays if writing fails.
        content: What `torch.load(..., weights_only=True)` can read.
        durable: Whether to wait until the disk has it.

    Raises:
        RecordError: If it cannot be written.
    """
    try:
        with whole_file(path, durable=durable) as temporary, temporary.open("wb") as opened:
            torch.save({"format_version": FORMAT_VERSION, **content}, opened)
    except (OSError, RuntimeError) as error:  # torch says in a RuntimeError what the disk has said
        raise RecordError(f"{path} could not be written ({_first_line(error)})") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote, onto the CPU; nothing in the file is executed.

    Raises:
        RecordError: If the file cannot be read, is damaged or of another format.
    """
    try:
        # torch itself compares no checksum: a flipped bit in a tensor would pass.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise RecordError(f"{path} is damaged: the checksum of {damaged} is wrong")
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except RecordError:
        raise
    except Exception as error:  # what damage makes zipfile and torch raise is of many kinds
        raise RecordError(f"{path} cannot be read, or is damaged ({_first_line(error)})") from error
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        found = content.get("format_version") if isinstance(content, dict) else None
        raise RecordError(
            f"{path} is no checkpoint that this recdl reads: its format version is {found}, not {FORMAT_VERSION}"
        )
    return content


class CheckpointFolder:
    """The checkpoints of one fit.

    `last-EPOCH-BATCHES.ckpt` hold all that it takes to go on, `best-EPOCH.ckpt` the weights of the epochs that
    validation found best, and `finished.ckpt` what the fit came to. Their order is that of their names, not of the
    clock.

    Args:
        path: The folder; it is made when the first is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._damaged: list[Path] = []

    def clear(self) -> None:
        """Remove the checkpoints of an earlier fit, which are none of this one."""
        for path in [*self._found(_LAST).values(), *self._found(_BEST).values(), self.path / FINISHED]:
            path.unlink(missing_ok=True)

    def newest(self) -> Path | None:
        """Return what a fit goes on from: its end, or else the newest checkpoint that is whole; None if none is.

        What is damaged is told on standard error.
        """
        last = self._found(_LAST)
        for path in [self.path / FINISHED, *(last[key] for key in sorted(last, reverse=True))]:
            if not path.exists():
                continue
            try:
                read_checkpoint(path)
                return path
            except RecordError as error:
                self._damaged.append(path)
                print(f"warning: {error}; looking at the one before it", file=sys.stderr)
        if self._damaged:
            print(f"warning: no checkpoint in {self.path} is whole: the training begins again", file=sys.stderr)
        return None

    def newest_path(self) -> Path | None:
        """Return the newest checkpoint to go on from, unread; None if there is none."""
        last = self._found(_LAST)
        return last[max(last)] if last else None

    def write_last(
        self, position: Position, content: Mapping[str, Any], *, best: Callable[[int], Iterable[int]]
    ) -> None:
        """Write all that it takes to go on, then remove what is older than the one before it.

        Args:
            position: How far the fit has come.
            content: What it takes.
            best: Of a number of epochs that are done, those whose weights are kept.

        Raises:
            RecordError: If it cannot be written; those before it are as they were.
        """
        for path in self._found(_BEST).values():
            _make_durable(path)
        write_checkpoint(self.path / f"last-{position.epoch:05d}-{position.batches:07d}.ckpt", content)
        for path in self._damaged:
            path.unlink(missing_ok=True)
        self._damaged.clear()
        last = self._found(_LAST)
        # After one that was damaged, what is older by position was still written later than what is not.
        kept = [key for key in sorted(last) if key <= tuple(position)][-_N_LAST:]
        for key, path in last.items():
            if key not in kept:
                path.unlink(missing_ok=True)
        self._keep_best(position.epoch, best)

    def write_best(self, epoch: int, weights: Mapping[str, Any], *, best: Callable[[int], Iterable[int]]) -> None:
        """Write the weights at the end of an epoch, and remove those that are no longer asked for.

        Args:
            epoch: Which epoch.
            weights: Of the module.
            best: As of `write_last`.

        Raises:
            RecordError: If it cannot be written.
        """
        # On the disk it need only be when a checkpoint that counts on it is, and that sees to it.
        write_checkpoint(self.best_path(epoch), {"epoch": epoch, "module": weights}, durable=False)
        self._keep_best(epoch + 1, best)

    def best_path(self, epoch: int) -> Path:
        """Return where the weights of an epoch are, if they are kept."""
        return self.path / f"best-{epoch:05d}.ckpt"

    def write_finished(
        self, content: Mapping[str, Any], *, n_epochs: int, best: Callable[[int], Iterable[int]]
    ) -> None:
        """Write what the fit came to, and remove what it took to go on.

        Args:
            content: What it came to.
            n_epochs: How many it had.
            best: As of `write_last`.

        Raises:
            RecordError: If it cannot be written; the fit can then be gone on with.
        """
        write_checkpoint(self.path / FINISHED, content)
        for path in [*self._found(_LAST).values(), *self._damaged]:
            if path.name != FINISHED:
                path.unlink(missing_ok=True)
        self._keep_best(n_epochs, best)

    def _keep_best(self, n_epochs: int, best: Callable[[int], Iterable[int]]) -> None:
        """Keep the weights that a fit of so many epochs keeps, and those that it kept at a checkpoint."""
        asked = (n_epochs, *(key[0] for key in self._found(_LAST)))
        epochs = {epoch for n in asked for epoch in best(n)}
        for (epoch,), path in self._found(_BEST).items():
            if epoch not in epochs:
                path.unlink(missing_ok=True)

    def _found(self, pattern: re.Pattern[str]) -> dict[tuple[int, ...], Path]:
        try:  # not glob, to which a folder that may not be read is empty
            paths = list(self.path.iterdir())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RecordError(f"{self.path} cannot be read ({_first_line(error)})") from error
        matches = ((pattern.fullmatch(path.name), path) for path in paths)
        return {tuple(int(part) for part in match.groups()): path for match, path in matches if match}


def check_same_model(path: Path, content: Mapping[str, Any], module: nn.Module) -> None:
    """Check that what a checkpoint holds is of a model like `module`.

    Raises:
        RecordError: Saying what differs.
    """
    theirs = {name: tuple(weights.shape) for name, weights in content["module"].items()}
    ours = {name: tuple(weights.shape) for name, weights in module.state_dict().items()}
    names = sorted(theirs.keys() | ours.keys())
    differing = [name for name in names if theirs.get(name) != ours.get(name)]
    if differing:
        name = differing[0]
        raise RecordError(
            f"{path} is a checkpoint of another model: its {name} is {_shape(theirs.get(name))}, that of this"
            f" model is {_shape(ours.get(name))}, and {len(differing)} of {len(names)} arrays differ; remove it,"
            " or resume the run that it is of"
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"


def _make_durable(path: Path) -> None:
    with path.open("rb") as opened:
        os.fsync(opened.fileno())


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
