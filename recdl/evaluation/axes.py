"""Scales and ticks, in the units of a drawing."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Values low ... high drawn at start ... end, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return where `value` is drawn."""
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 2)


@dataclass(frozen=True)
class Tick:
    """A value on an axis."""

    at: float
    value: float


def nice_ticks(low: float, high: float, n_steps: int = 4) -> list[float]:
    """Return round values, about `n_steps` apart steps, of which the first is <= low and the last >= high."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal but for rounding
        low, high = low - (abs(low) / 10 or 0.5), high + (abs(high) / 10 or 0.5)
    rough = (high - low) / n_steps
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return at most `n` or so round values within [low, high], both positive: tenfolds, or 1, 2, 5 where few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tenfolds = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(tenfolds) >= 3:
        return tenfolds[:: -(-len(tenfolds) // n)]
    fine = [10.0**power * factor for power in powers for factor in (1, 2, 5)]
    found = [value for value in fine if low <= value <= high]
    return found or tenfolds or [low]


def size_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return at most `n` powers of four (1 KiB, 4 KiB, ...) within [low, high], both positive, in bytes."""
    powers = [4.0**power for power in range(math.ceil(math.log(low, 4)), math.floor(math.log(high, 4)) + 1)]
    return powers[:: -(-len(powers) // n)] if powers else [low]
