"""Checks that the settings of every kind of log share."""

import re
from collections.abc import Sequence
from datetime import datetime

from recdl.errors import ConfigError


def check_name(name: str) -> None:
    """Raise ConfigError unless `name` can be part of a folder's name."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ConfigError(f"data.name: {name!r} may only hold letters, digits, '_', '.' and '-'")


def check_period(start: str | None, end: str | None) -> None:
    """Raise ConfigError unless both are ISO dates or times (or null), and `end` is after `start`."""
    first, last = _moment("start", start), _moment("end", end)
    if first and last and (first.tzinfo is None) == (last.tzinfo is None) and last <= first:
        raise ConfigError(f"data.end: {end!r} is not after data.start, {start!r}")


def _moment(key: str, text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"data.{key}: {text!r} is no ISO date or time such as 2017-11-25") from error


def check_behaviors_kept(kept: Sequence[str] | None, names: Sequence[str]) -> None:
    """Raise ConfigError if a behaviour that filters are to keep is none of `names`."""
    for name in kept or ():
        if name not in names:
            raise ConfigError(f"data.filters.behaviors: the log has no {name!r}; it has {', '.join(names)}")
