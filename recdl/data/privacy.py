"""Whom a prepared log still names: keyed pseudonyms for ids, and coarse times. Settings and the key, no plan."""

import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from recdl.data.moments import duration
from recdl.errors import ConfigError

Kind = Literal["user", "item"]
KEY_VARIABLE = "RECDL_KEY"
"""The environment variable that holds the key unless the settings name another."""

_SHORTEST = 16
_DIGITS = 32  # 128 of the 256 bits, the least that RFC 2104 advises
_UNITS = {"second": "1s", "minute": "1m", "hour": "1h", "day": "1d"}


@dataclass(frozen=True)
class Privacy:
    """What of a log's persons enters the prepared log.

    Args:
        pseudonyms: Whose ids become keyed pseudonyms, HMAC-SHA256: `user`, `item`, both or none.
        key_variable: The environment variable that holds the key, of at least 16 bytes.
        key_file: In its place, a file that holds the key.
        times: What times are rounded down to (of UTC): `minute`, `hour`, `day`, or a duration such as `15m`;
            null leaves them exact. Within one rounded time events lie in the order of their behaviours and items.
    """

    pseudonyms: tuple[Kind, ...] = ()
    key_variable: str = KEY_VARIABLE
    key_file: str | None = None
    times: str | None = None

    def __post_init__(self) -> None:
        for kind in self.pseudonyms:
            if kind not in ("user", "item") or self.pseudonyms.count(kind) > 1:
                raise ConfigError("data.privacy.pseudonyms: a list of user, item, both or none, each once")
        check_variable(self.key_variable, "data.privacy.key_variable")
        if self.times is not None:
            _ = self.step

    @property
    def step(self) -> int | None:
        """What times are rounded down to, in microseconds; None: they are not."""
        if self.times is None:
            return None
        return duration(_UNITS.get(self.times, self.times), name="data.privacy.times (or minute, hour, day)")

    def key(self) -> "Key | None":
        """Return the key, if pseudonyms are asked for.

        Raises:
            ConfigError: If there is none, or it is too short.
        """
        if not self.pseudonyms:
            return None
        found = find_key(self.key_variable, self.key_file, "data.privacy.")
        if found is None:
            raise ConfigError(
                f"data.privacy.pseudonyms: the environment has no key in {self.key_variable}; make one with "
                "`openssl rand -hex 32`, keep it apart from the data, set the variable or data.privacy.key_file"
            )
        return found

    def described(self) -> dict[str, Any]:
        """Return what a prepared log follows from and says of itself: no key, but whether another was used."""
        key = self.key()
        known = {} if key is None else {"pseudonyms": sorted(self.pseudonyms), "key_check": key.check}
        return known | ({} if self.step is None else {"times": self.step})


@dataclass(frozen=True)
class Key:
    """A secret key. It is shown nowhere, not even when the object is."""

    secret: bytes = field(repr=False)

    @property
    def check(self) -> str:
        """Tells keys apart, and nothing else of them: 64 bits of a code that no id has."""
        return hmac.digest(self.secret, b"check:recdl", sha256).hex()[:16]

    def pseudonyms(self, kind: Kind, ids: Iterable[str]) -> list[str]:
        """Return the pseudonym of each id: 128 bits of HMAC-SHA256(key, "user:" + id), in hexadecimal.

        An item's is of `"item:" + id`, so that a user and an item of one id have nothing in common.
        """
        secret, prefix, digest = self.secret, f"{kind}:".encode(), hmac.digest
        return [digest(secret, prefix + one.encode(), "sha256").hex()[:_DIGITS] for one in ids]


def check_variable(name: str, setting: str) -> None:
    """Raise ConfigError unless `name` can be an environment variable's; it may be a key, and is not shown."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
        raise ConfigError(
            f"{setting}: is the name of an environment variable, such as {KEY_VARIABLE}, not the key itself"
        )


def find_key(variable: str, file: str | None, prefix: str = "") -> Key | None:
    """Return the key that a file (where one is named) or an environment variable holds; None without the latter.

    Args:
        variable: Name of the environment variable.
        file: Path of the file; a line break at its end is no part of the key.
        prefix: What stands before `key_file` and `key_variable` in messages.

    Raises:
        ConfigError: If the file cannot be read, or the key is shorter than 16 bytes.
    """
    check_variable(variable, f"{prefix}key_variable")
    if file is not None:
        name = f"{prefix}key_file"
        try:
            secret = Path(file).expanduser().read_bytes().removesuffix(b"\n").removesuffix(b"\r")
        except OSError as error:  # the path is not shown: it may be the key, in the wrong place
            raise ConfigError(f"{name}: names no file that can be read ({error.strerror})") from None
    elif variable in os.environ:
        name, secret = f"the key in the environment's {variable}", os.environ[variable].strip().encode()
    else:
        return None
    if len(secret) < _SHORTEST:
        raise ConfigError(
            f"{name}: {len(secret)} bytes are too short for a key, since all short ones can be tried; at least "
            f"{_SHORTEST}, better `openssl rand -hex 32`"
        )
    return Key(secret)
