"""Which settings are searched over, and between what."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from recdl.errors import ConfigError
from recdl.signatures import no_such_setting

Value = bool | int | float | str | list[Any] | dict[str, Any] | None
"""What a setting may be: what YAML can say."""

_ENDS = ("low", "high")
_LEAF = ("low", "high", "log", "step", "choices")
_GROUPS = ("model", "trainer")
_OBJECTIVE = ("trainer.monitor", "trainer.validation_queries")


@dataclass(frozen=True)
class Dimension:
    """One setting of a search space: a range, or choices.

    Attributes:
        key: Full key of the setting ("model.learning_rate").
        low, high: Ends of the range, both included; whole numbers make a range of whole numbers.
        log: Whether the range is covered evenly by the logarithm.
        step: Between the values of the range; None: any value, of whole numbers each.
        choices: Values to choose among; None of a range.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return self.choices is None and isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def edges(self) -> tuple[Value, ...]:
        """Every choice, or both ends of the range."""
        return (self.low, self.high) if self.choices is None else self.choices

    @property
    def n_values(self) -> float:
        """How many values there are; infinite for a range of numbers without a step."""
        if self.choices is not None:
            return len(self.choices)
        if self.low == self.high:
            return 1
        step = self.step or (1 if self.whole else 0)
        return math.floor((self.high - self.low) / step + 1e-9) + 1 if step else math.inf

    def holds(self, value: Value) -> bool:
        """Return whether `value` lies in the dimension."""
        if self.choices is not None:
            return any(_text(value) == _text(choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9) and (not self.whole or isinstance(value, int))


def parse_space(space: Mapping[str, Any]) -> tuple[Dimension, ...]:
    """Return the dimensions of a space written as the settings themselves are, nested, with ranges in place.

    `{model: {learning_rate: {low: 1e-4, high: 1e-2, log: true}, loss: {choices: [bpr, softmax]}}}`.

    Raises:
        ConfigError: If there is none, or one is no range and no choices; it names the key.
    """
    found = tuple(_dimensions(space, ""))
    if not found:
        raise ConfigError("sweep.space is empty; choose one (sweep=neumf_tpe), or name ranges and choices")
    return found


def check_keys(dimensions: Sequence[Dimension], config: Mapping[str, Any]) -> None:
    """Check that every dimension is a setting of the run's model or trainer that trials may differ in.

    Raises:
        ConfigError: If one is not; it names the key and what may have been meant.
    """
    for dimension in dimensions:
        parts = dimension.key.split(".")
        if parts[0] not in _GROUPS:
            raise ConfigError(
                f"sweep.space.{dimension.key}: only settings of {' and '.join(_GROUPS)} are searched over; trials"
                " that differ in data, split or evaluation cannot be compared"
            )
        if dimension.key in _OBJECTIVE:
            raise ConfigError(f"sweep.space.{dimension.key}: trials are compared by it; it is the same for all")
        known: Any = config
        for depth, part in enumerate(parts):
            names = [name for name in known if not name.startswith("_")] if isinstance(known, Mapping) else []
            if part not in names:
                raise ConfigError(no_such_setting(f"sweep.space.{'.'.join(parts[: depth + 1])}", names))
            known = known[part]
        if isinstance(known, Mapping) and "_target_" in known:
            raise ConfigError(f"sweep.space.{dimension.key}: has settings of its own; name these")


def with_settings(config: Mapping[str, Any], settings: Mapping[str, Value]) -> dict[str, Any]:
    """Return a copy of a configuration with other values at some full keys, all of which it has."""
    changed = deepcopy(dict(config))
    for key, value in settings.items():
        *above, last = key.split(".")
        node = changed
        for part in above:
            node = node[part]
        assert last in node, f"{key} was checked"
        node[last] = deepcopy(value)
    return changed


def settings_at(config: Mapping[str, Any], dimensions: Sequence[Dimension]) -> dict[str, Value]:
    """Return what a configuration has at each dimension."""
    found: dict[str, Value] = {}
    for dimension in dimensions:
        node: Any = config
        for part in dimension.key.split("."):
            node = node[part]
        found[dimension.key] = node
    return found


def _dimensions(node: Mapping[str, Any], prefix: str) -> Iterator[Dimension]:
    for name, inner in node.items():
        key = f"{prefix}{name}"
        if not isinstance(inner, Mapping):
            raise ConfigError(f"sweep.space.{key}: expected a range {{low: ..., high: ...}} or {{choices: [...]}}")
        if any(part in _LEAF and not isinstance(inner[part], Mapping) for part in inner):
            yield _dimension(key, inner)
        else:
            yield from _dimensions(inner, f"{key}.")


def _dimension(key: str, given: Mapping[str, Any]) -> Dimension:
    full = f"sweep.space.{key}"
    for name in given:
        if name not in _LEAF:
            raise ConfigError(no_such_setting(f"{full}.{name}", _LEAF))
    if "choices" in given:
        choices = given["choices"]
        if len(given) > 1:
            raise ConfigError(f"{full}: has choices and a range; give one of them")
        if not isinstance(choices, list) or not choices:
            raise ConfigError(f"{full}.choices: expected a list of values, got {choices!r}")
        if len({_text(choice) for choice in choices}) < len(choices):
            raise ConfigError(f"{full}.choices: names a value twice: {choices}")
        return Dimension(key, choices=tuple(choices))
    return _range(full, key, given)


def _range(full: str, key: str, given: Mapping[str, Any]) -> Dimension:
    for name in _ENDS:
        if name not in given:
            raise ConfigError(f"{full}.{name}: is missing; a range has a low and a high end")
    for name in (*_ENDS, "step"):
        number = given.get(name, 0)
        if number is not None and (
            isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number)
        ):
            raise ConfigError(f"{full}.{name}: expected a number, got {number!r}")
    low, high, log, step = given["low"], given["high"], given.get("log", False), given.get("step")
    if not isinstance(log, bool):
        raise ConfigError(f"{full}.log: expected true or false, got {log!r}")
    if low > high:
        raise ConfigError(f"{full}: low ({low}) lies above high ({high})")
    if log and low <= 0:
        raise ConfigError(f"{full}: a range by the logarithm begins above 0, not at {low}")
    if step is not None and (log or step <= 0):
        raise ConfigError(f"{full}.step: must be above 0, and cannot go with log, but is {step}")
    if not (isinstance(low, int) and isinstance(high, int)):
        low, high = float(low), float(high)
    elif step is not None and not isinstance(step, int):
        raise ConfigError(f"{full}.step: expected a whole number between whole numbers, got {step}")
    return Dimension(key, low, high, log, step)


def _text(value: Value) -> str:
    return json.dumps(value, sort_keys=True)
