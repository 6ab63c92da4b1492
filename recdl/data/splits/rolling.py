"""Several folds in time, each a temporal split of its own."""

from dataclasses import dataclass

import numpy as np

from recdl.data.interactions import Interactions
from recdl.data.moments import check_fraction, closest_moment, duration, iso
from recdl.data.sessions import check_rule, sequences
from recdl.data.splits.parts import (
    QueryRule,
    Split,
    Vocabularies,
    ask_in_window,
    assemble,
    beginning,
    check_queries,
    check_target_behaviors,
    check_timed,
    first_at,
    first_moment,
    named,
    part_of,
    settings_of,
    target_mask,
)
from recdl.errors import ConfigError, DataError


@dataclass(frozen=True)
class RollingSplit:
    """One of several folds whose test windows follow each other up to the end of the log.

    Fold f learns from all before its validation window, which is the window before its test window, so that the
    test window of a fold is the validation window of the next. What is later than its test window is left out.
    A run trains one fold; `--multirun split.fold=0,1,2` trains all. Each fold is a split with a fingerprint of its
    own: runs are tested fold by fold, since two folds ask different questions, and shown with means over folds.

    Attributes:
        fold: Which one, from 0 (the earliest) to `n_folds` - 1.
        n_folds: How many there are.
        window: Length of a window: a share of all events, or a duration (`7d`).
        target_behaviors: As in `TemporalSplit`.
        queries: As in `TemporalSplit`.
        sessions: As in `TemporalSplit`.
    """

    fold: int = 0
    n_folds: int = 3
    window: float | str = 0.1
    target_behaviors: tuple[str, ...] | None = None
    queries: QueryRule = "per_user"
    sessions: str | None = None

    def __post_init__(self) -> None:
        if self.n_folds < 1:
            raise ConfigError(f"split.n_folds must be at least 1, but is {self.n_folds}")
        if not 0 <= self.fold < self.n_folds:
            raise ConfigError(f"split.fold must lie in 0 ... {self.n_folds - 1} (n_folds - 1), but is {self.fold}")
        if isinstance(self.window, str):
            duration(self.window, name="split.window")
        else:
            check_fraction(self.window * (self.n_folds + 1), name="split.window * (split.n_folds + 1)")
        check_queries(self.queries)
        check_target_behaviors(self.target_behaviors)
        check_rule(self.sessions, name="split.sessions")

    def split(
        self, log: Interactions, *, data_fingerprint: str, vocabularies: Vocabularies | None = None
    ) -> Split:
        """Cut `log` into this fold.

        Raises:
            DataError: If the windows do not fit into the log, or one is empty.
        """
        check_timed(log, self)
        cut = sequences(log, self.sessions)
        log = cut.log
        is_target = target_mask(log, self.target_behaviors)
        times = np.asarray(log.timestamps)
        moments = [self._edge(times, self.n_folds + 1 - self.fold - window) for window in range(3)]
        if not times.min(initial=moments[0]) < moments[0] < moments[1] < moments[2]:
            raise DataError(
                f"split.window={self.window}: the validation and test windows of fold {self.fold} of"
                f" {self.n_folds} would begin at {iso(moments[0])} and {iso(moments[1])}, in a log from"
                f" {iso(int(times.min()))} to {iso(int(times.max()))}: something would be"
                " empty; choose other windows, or fewer folds"
            )
        edges = [first_at(log, moment) for moment in moments]
        parts = {}
        for name, window in (("validation", (edges[0], edges[1])), ("test", (edges[1], edges[2]))):
            query_set = ask_in_window(log, window, is_target, self.queries)
            moment = moments[0] if name == "validation" else moments[1]
            if query_set is None:
                raise DataError(
                    f"the {name} window of fold {self.fold}, from {iso(moment)} on, holds no event of"
                    f" {named(self.target_behaviors)}; lengthen split.window or change split.target_behaviors"
                )
            parts[name] = part_of(window, query_set, int((times == moment).sum()))
        return assemble(
            settings_of(self),
            cut,
            beginning(log, edges[0]),
            parts,
            cuts={"validation": iso(moments[0]), "test": iso(moments[1]), "end": iso(moments[2])},
            first_asked=first_moment(log, parts["test"].query_set),
            data_fingerprint=data_fingerprint,
            known=lambda: beginning(log, edges[1]),
        )

    def _edge(self, times: np.ndarray[tuple[int], np.dtype[np.int64]], windows: int) -> int:
        """Return the moment that lies `windows` windows before the end of the log."""
        end = int(times.max(initial=0)) + 1
        if windows == 0:
            return end
        if isinstance(self.window, str):
            return end - windows * duration(self.window, name="split.window")
        return closest_moment(times, windows * self.window, name="window")
