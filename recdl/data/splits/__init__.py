"""Train, validation and test: what may be learned from, and the questions asked of it afterwards.

One file a way to cut; `parts` is what they share, `report` says what any of them leaks and leaves cold.
"""

from recdl.data.splits.at_random import RandomSplit
from recdl.data.splits.last import LeaveLastOut
from recdl.data.splits.newcomers import NewUsersSplit
from recdl.data.splits.parts import Split, Splitter
from recdl.data.splits.rolling import RollingSplit
from recdl.data.splits.temporal import TemporalSplit

__all__ = [
    "LeaveLastOut",
    "NewUsersSplit",
    "RandomSplit",
    "RollingSplit",
    "Split",
    "Splitter",
    "TemporalSplit",
]
