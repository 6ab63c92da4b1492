"""Train, validation and test: what may be learned from, and the questions asked of it afterwards.

One file a way to cut; `parts` is what they share, `report` says what any of them leaks and leaves cold.
"""

from recdl.data.prepared import PreparedLog
from recdl.data.splits.at_random import RandomSplit
from recdl.data.splits.given import GivenSplit
from recdl.data.splits.last import LeaveLastOut
from recdl.data.splits.newcomers import NewUsersSplit
from recdl.data.splits.parts import Split, Splitter, Vocabularies
from recdl.data.splits.rolling import RollingSplit
from recdl.data.splits.temporal import TemporalSplit

__all__ = [
    "GivenSplit",
    "LeaveLastOut",
    "NewUsersSplit",
    "RandomSplit",
    "RollingSplit",
    "Split",
    "Splitter",
    "TemporalSplit",
    "split_log",
]


def split_log(splitter: Splitter, log: PreparedLog) -> Split:
    """Cut a prepared log.

    Raises:
        DataError: If a part would be left empty, or a file that the split is given in is not as it should be.
    """
    known = Vocabularies(log.users, log.items)
    return splitter.split(log.interactions, data_fingerprint=log.fingerprint, vocabularies=known)
