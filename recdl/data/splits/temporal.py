"""The default way to cut: one global moment."""

from dataclasses import dataclass

import numpy as np

from recdl.data.interactions import Interactions
from recdl.data.moments import check_fraction, check_moment, cut_at, duration, iso
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
from recdl.errors import DataError


@dataclass(frozen=True)
class TemporalSplit:
    """Cut the log at one global moment, so that no target precedes anything in train.

    Attributes:
        test_fraction: About this share of all events is at the test cut or later. Events of one timestamp are
            never parted: of the two moments around the wanted share, the cut falls on the one that comes closer.
        validation_fraction: The same, of the events before the test cut.
        target_behaviors: Behaviours that are to be predicted; all when None. Histories and train hold all of them.
        queries: `per_user` asks once a user, at the cut, for the distinct items of all that follows in the part;
            `per_event` asks before each target event, with all that the user did strictly earlier.
        test_from: The test cut in place of a fraction: an ISO date or time (UTC unless it says otherwise), or a
            duration back from the last event (`7d`).
        validation_from: The same for the validation cut; a duration counts back from the last event before the
            test cut.
        gap: A duration; what lies this close before the validation cut is left out of train, though histories
            hold it: models are as old as the gap when they are first asked.
        sessions: What is cut, and asked about, as if it were a user: None users, `column` the sessions that the
            log names, `30m` sessions that end when their user is idle for longer. A session that the cut parts is
            asked about with what it has by then.
    """

    test_fraction: float = 0.1
    validation_fraction: float = 0.1
    target_behaviors: tuple[str, ...] | None = None
    queries: QueryRule = "per_user"
    test_from: str | None = None
    validation_from: str | None = None
    gap: str | None = None
    sessions: str | None = None

    def __post_init__(self) -> None:
        for part in ("test", "validation"):
            check_fraction(getattr(self, f"{part}_fraction"), name=f"split.{part}_fraction")
            check_moment(getattr(self, f"{part}_from"), name=f"split.{part}_from")
        check_queries(self.queries)
        check_target_behaviors(self.target_behaviors)
        check_rule(self.sessions, name="split.sessions")
        if self.gap is not None:
            duration(self.gap, name="split.gap")

    def split(
        self, log: Interactions, *, data_fingerprint: str, vocabularies: Vocabularies | None = None
    ) -> Split:
        """Cut `log` at two global moments.

        Raises:
            DataError: If a part would be left empty, a cut lies outside the log, or it lacks a target behaviour.
        """
        check_timed(log, self)
        cut = sequences(log, self.sessions)
        log = cut.log
        is_target = target_mask(log, self.target_behaviors)
        times = np.asarray(log.timestamps)
        moments = {"test": cut_at(times, part="test", fraction=self.test_fraction, since=self.test_from)}
        before = times[times < moments["test"]]
        moments["validation"] = cut_at(
            before, part="validation", fraction=self.validation_fraction, since=self.validation_from
        )
        validation, test = first_at(log, moments["validation"]), first_at(log, moments["test"])
        parts = {}
        for name, window in (("validation", (validation, test)), ("test", (test, log.offsets[1:]))):
            query_set = ask_in_window(log, window, is_target, self.queries)
            if query_set is None:
                raise DataError(
                    f"the {name} part ({(window[1] - window[0]).sum()} events from {iso(moments[name])} on) holds"
                    f" no event of {named(self.target_behaviors)}; raise split.{name}_fraction or change"
                    " split.target_behaviors"
                )
            parts[name] = part_of(window, query_set, int((times == moments[name]).sum()))
        gap = 0 if self.gap is None else duration(self.gap, name="split.gap")
        learned = {name: first_at(log, moment - gap) for name, moment in moments.items()}
        return assemble(
            settings_of(self),
            cut,
            beginning(log, learned["validation"]),
            parts,
            cuts={name: iso(moments[name]) for name in parts},
            first_asked=first_moment(log, parts["test"].query_set),
            data_fingerprint=data_fingerprint,
            known=lambda: beginning(log, learned["test"]),
        )
