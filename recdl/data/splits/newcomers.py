"""Users, or sessions, that models have never seen."""

from dataclasses import dataclass

import numpy as np

from recdl.data.interactions import Interactions
from recdl.data.moments import check_fraction, check_moment, cut_at, iso
from recdl.data.queries import QuerySet, ragged_positions
from recdl.data.sessions import check_rule, sequences
from recdl.data.splits.parts import (
    Positions,
    Split,
    Vocabularies,
    Window,
    ask_per_event,
    assemble,
    beginning,
    check_target_behaviors,
    check_timed,
    first_at,
    named,
    part_of,
    settings_of,
    strictly_before,
    target_mask,
)
from recdl.errors import DataError


@dataclass(frozen=True)
class NewUsersSplit:
    """Hold out the users (or sessions) that begin at a moment or later; no event of theirs is in train.

    Each is asked about before every target event that has something strictly earlier, with all of that as history:
    from its own beginning on. Train and validation stop at the moments too: what users of train do after the
    validation cut, and those of validation after the test cut, is left out (and counted), so that nothing is
    learned from what is later than a test query. Sessions are short, and few span a cut.

    Attributes:
        test_fraction: About this share of the users begins at the test cut or later, by its first event.
        validation_fraction: The same, of the users that begin before the test cut.
        test_from: The test cut in place of a fraction; a date or a duration, as in `TemporalSplit`, here among the
            moments at which users begin.
        validation_from: The same for the validation cut.
        target_behaviors: Behaviours that are to be predicted; all when None.
        sessions: As in `TemporalSplit`: with them it is sessions that are new, be their users known or not.
    """

    test_fraction: float = 0.1
    validation_fraction: float = 0.1
    test_from: str | None = None
    validation_from: str | None = None
    target_behaviors: tuple[str, ...] | None = None
    sessions: str | None = None

    def __post_init__(self) -> None:
        for part in ("test", "validation"):
            check_fraction(getattr(self, f"{part}_fraction"), name=f"split.{part}_fraction")
            check_moment(getattr(self, f"{part}_from"), name=f"split.{part}_from")
        check_target_behaviors(self.target_behaviors)
        check_rule(self.sessions, name="split.sessions")

    def split(
        self, log: Interactions, *, data_fingerprint: str, vocabularies: Vocabularies | None = None
    ) -> Split:
        """Part the users of `log` by the moment at which they begin.

        Raises:
            DataError: If a part would be left without users or targets, or the log lacks a target behaviour.
        """
        check_timed(log, self)
        cut = sequences(log, self.sessions)
        log = cut.log
        is_target = target_mask(log, self.target_behaviors)
        active = np.flatnonzero(np.diff(log.offsets) > 0)
        begins = np.full(log.n_users, np.iinfo(np.int64).min)  # a user without events is in no part
        begins[active] = log.timestamps[log.offsets[active]]
        test = cut_at(begins[active], part="test", fraction=self.test_fraction, since=self.test_from)
        earlier = begins[active][begins[active] < test]
        validation = cut_at(
            earlier, part="validation", fraction=self.validation_fraction, since=self.validation_from
        )
        at_validation, at_test = first_at(log, validation), first_at(log, test)
        windows = {
            "validation": _window(log, (begins >= validation) & (begins < test), at_test),
            "test": _window(log, begins >= test, log.offsets[1:]),
        }
        parts = {}
        for name, window in windows.items():
            query_set = self._ask(log, window, is_target)
            if query_set is None:
                raise DataError(
                    f"the users that begin in the {name} part have no event of {named(self.target_behaviors)} with"
                    f" anything before it; raise split.{name}_fraction or change split.target_behaviors"
                )
            moment = test if name == "test" else validation
            parts[name] = part_of(window, query_set, int((begins == moment).sum()))
        learned = np.where(begins < validation, at_validation, log.offsets[:-1])
        return assemble(
            settings_of(self),
            cut,
            beginning(log, learned),
            parts,
            cuts={"validation": iso(validation), "test": iso(test)},
            first_asked=int(log.timestamps[parts["test"].query_set.queries.ends].min()),
            data_fingerprint=data_fingerprint,
            known=lambda: beginning(log, np.where(begins < test, at_test, log.offsets[:-1])),
        )

    def _ask(self, log: Interactions, window: Window, is_target: np.ndarray) -> QuerySet | None:
        positions = ragged_positions(*window)
        positions = positions[is_target[positions]]
        has_history = strictly_before(log, positions) > log.offsets[log.users[positions]]
        positions = positions[has_history]
        return ask_per_event(log, positions) if len(positions) else None


def _window(log: Interactions, chosen: np.ndarray, ends: Positions) -> Window:
    """Return the window of the chosen users' events from their beginning to `ends`; of the others it is empty."""
    starts = log.offsets[:-1]
    return starts, np.where(chosen, ends, starts)
