"""When this process began, for the names of folders."""

from datetime import datetime
from functools import cache


@cache
def stamp() -> str:
    """Return the local date and time at which this process first asked: 20171125-120000."""
    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
