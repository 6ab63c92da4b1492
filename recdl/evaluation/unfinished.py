"""A run that was cut off, and may be gone on with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from recdl.errors import ConfigError, DataError, RecordError
from recdl.evaluation.identity import RunIdentity, read_identity
from recdl.evaluation.record_values import read_config, read_mapping
from recdl.evaluation.records import CONFIG, FORMAT_VERSION, RECORD, STARTED
from recdl.storage import fingerprint

_PARTS = ("data", "split", "protocol")


@dataclass(frozen=True, eq=False)
class UnfinishedRun:
    """A run that has started and left no record yet.

    Attributes:
        folder: Where it lies.
        started: What was written down when it started.
        config: The resolved configuration that it was started with.
    """

    folder: Path
    started: dict[str, Any]
    config: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open what a run has left that was cut off.

        Raises:
            ConfigError: If there is no run, or it is finished.
            RecordError: If it is damaged, its configuration was changed, or another recdl wrote it.
        """
        asked = f"resume={folder}"
        if not folder.is_dir():
            kind = "is a file; name the folder of a run" if folder.exists() else "there is no such folder"
            raise ConfigError(f"{asked}: {kind}")
        if (folder / RECORD).is_file():
            raise ConfigError(f"{asked}: the run is finished, and nothing is left to be done; see its record")
        if not (folder / STARTED).is_file():
            raise ConfigError(f"{asked}: is not the folder of a run: it holds no {STARTED}")
        started = read_mapping(folder / STARTED)
        if started.get("format_version") != FORMAT_VERSION:
            raise RecordError(
                f"{folder / STARTED} has format version {started.get('format_version')!r}, but this recdl goes on"
                f" with runs of version {FORMAT_VERSION}; use the recdl that started it, or run it again"
            )
        if not started.get("trains", True):
            raise ConfigError(f"{asked}: is a run that trains nothing; start it again")
        config = read_config(folder / CONFIG)
        if started.get("config_fingerprint") != fingerprint((folder / CONFIG).read_text(encoding="utf-8")):
            raise RecordError(
                f"{folder / CONFIG} is not what the run was started with, so that it would become another run; put"
                " it back as it was, or start a run of its own with these settings"
            )
        return cls(folder, started, config)

    def check_identity(self, identity: RunIdentity) -> None:
        """Check that data, split and protocol are what they were when the run was started.

        Raises:
            DataError: Naming what is not.
        """
        theirs = read_identity(self.folder / STARTED, self.started)
        for part in _PARTS:
            then, now = getattr(theirs, part), getattr(identity, part)
            if then.fingerprint != now.fingerprint:
                raise DataError(
                    f"the {part} of the run in {self.folder} is no longer what it was: the fingerprint of"
                    f" {now.name} is {now.fingerprint[:12]}, not {then.fingerprint[:12]}; put it back as it was,"
                    " or run it again"
                )
