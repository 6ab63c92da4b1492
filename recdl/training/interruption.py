"""Ctrl-C and SIGTERM during training: noted when they come, obeyed between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruptions:
    """The signals that came since `held_signals` began.

    Attributes:
        received: Their numbers, oldest first.
        act_at_once: Whether a signal that comes now raises KeyboardInterrupt there and then.
    """

    received: list[int] = field(default_factory=list)
    act_at_once: bool = False

    def obey(self) -> None:
        """Raise KeyboardInterrupt if a signal came: `held_signals` makes of it what the signal would have done."""
        if self.received:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Obey signals wherever they come inside the block: to be used around pure computation alone."""
        self.obey()
        self.act_at_once = True
        try:
            yield
        finally:
            self.act_at_once = False
        self.obey()


@contextmanager
def held_signals() -> Iterator[Interruptions]:
    """Note Ctrl-C and SIGTERM inside the block, and let them act when it ends; a second one acts at once.

    An exception that a signal raises wherever the program happens to be may leave a lock or a queue half used.
    TensorBoard's writer is one: interrupted in `put`, it is waited for without end when Lightning closes it, and
    Lightning lets no further Ctrl-C through. So the block is left by `Interruptions.obey` instead.

    Signals without a handler in Python keep what they do. Outside the main thread, which alone is told of signals,
    nothing is held.
    """
    interruptions = Interruptions()
    handlers = _handlers() if threading.current_thread() is threading.main_thread() else {}

    def note(number: int, frame: FrameType | None) -> None:
        if interruptions.received:
            handlers[number](number, frame)
        interruptions.received.append(number)
        if interruptions.act_at_once:
            interruptions.obey()

    for number in handlers:
        signal.signal(number, note)
    try:
        yield interruptions
    except (KeyboardInterrupt, SystemExit):
        if (
            not interruptions.received
        ):  # Lightning turns the one into the other; what was received says which it was
            raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if interruptions.received:
        first = interruptions.received[0]
        handlers[first](first, None)


def _handlers() -> dict[int, Callable[[int, FrameType | None], Any]]:
    found = {number: signal.getsignal(number) for number in _SIGNALS}
    return {number: handler for number, handler in found.items() if callable(handler)}
