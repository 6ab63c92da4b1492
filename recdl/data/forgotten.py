"""Who was forgotten below a root of prepared logs, so that no later preparation brings them back."""

import hmac
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from recdl.errors import RecordError
from recdl.storage import write_json

_NAME = "forgotten.json"
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Forgotten:
    """The users forgotten below a root, as salted codes of their ids.

    The salt lies beside the codes: whoever has the file can test whether an id that they know is in it, but not
    read ids out of it.

    Attributes:
        salt: Hexadecimal, drawn at random once a root.
        codes: HMAC-SHA256(salt, id) of each, in hexadecimal.
        logs: Fingerprints of prepared logs that held one of them, by which runs and bundles of these are found.
    """

    salt: str
    codes: frozenset[str]
    logs: frozenset[str] = frozenset()

    @classmethod
    def open(cls, root: Path) -> Self:
        """Read the list of a root; an empty one where there is none.

        Raises:
            RecordError: If the list is there and damaged. Nothing is prepared then.
        """
        path = root / _NAME
        if not path.exists():
            return cls(secrets.token_hex(32), frozenset())
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version, salt, codes = (content[name] for name in ("format_version", "salt", "users"))
            bytes.fromhex(salt)
            logs = frozenset(content.get("logs", ()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"{path} is damaged ({error!r}): it keeps forgotten users from coming back; restore it from a "
                "backup"
            ) from error
        if version != _FORMAT_VERSION:
            raise RecordError(
                f"{path} is of format {version}, this recdl reads format {_FORMAT_VERSION}; update recdl"
            )
        return cls(salt, frozenset(codes), logs)

    def known(self, ids: Iterable[str]) -> list[bool]:
        """Return of each id whether it was forgotten."""
        if not self.codes:
            return [False for _ in ids]
        return [code in self.codes for code in self._coded(ids)]

    def with_users(self, ids: Iterable[str]) -> "Forgotten":
        """Return the list with these ids added."""
        return replace(self, codes=self.codes | frozenset(self._coded(ids)))

    def with_logs(self, fingerprints: Iterable[str]) -> "Forgotten":
        """Return the list with these prepared logs among those that held one of the users."""
        return replace(self, logs=self.logs | frozenset(fingerprints))

    def save(self, root: Path) -> None:
        """Write the list into a root."""
        content = {"format_version": _FORMAT_VERSION, "salt": self.salt, "users": sorted(self.codes)}
        write_json(root / _NAME, content | ({"logs": sorted(self.logs)} if self.logs else {}))

    def _coded(self, ids: Iterable[str]) -> Sequence[str]:
        salt, digest = bytes.fromhex(self.salt), hmac.digest
        return [digest(salt, one.encode(), "sha256").hex() for one in ids]
