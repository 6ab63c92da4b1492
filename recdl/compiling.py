"""How loops are compiled.

Numba compiles a loop when it is first called, some seconds for a model's, and keeps the machine code in
`__pycache__` beside the source or, where that cannot be written to, in the user's cache. Compiled loops release
the interpreter's lock, so that `recdl.threads` can share them.

What was kept is made anew when its own file changes, not when a file does from which it calls a loop: who works on
`models/heap.py` or `models/cholesky.py` deletes `recdl/models/__pycache__` afterwards.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """Compile `loop` when it is first called; it is to be called with arrays alone, and from any thread."""
    return cast(Loop, numba.njit(nogil=True, cache=True, error_model="numpy")(loop))
