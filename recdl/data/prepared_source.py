"""A log that is prepared already, taken as a source by the folder it lies in."""

from dataclasses import dataclass

from recdl.data.checks import check_name
from recdl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PreparedSource:
    """A prepared log, as it lies in its folder: nothing is read, filtered or written again.

    Args:
        name: What the log is called in reports.
        path: The folder; `prepare` and `append` print it.
    """

    name: str = "prepared"
    path: str

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.path:
            raise ConfigError("data.path: state the folder of the prepared log, as prepare or append printed it")
