"""Events held out at random, as much of the literature has it."""

from dataclasses import dataclass

import numpy as np

from recdl.data.interactions import Interactions
from recdl.data.moments import check_fraction
from recdl.data.queries import Queries, QuerySet
from recdl.data.sessions import check_rule, sequences
from recdl.data.splits.parts import (
    Part,
    Positions,
    Split,
    Vocabularies,
    assemble,
    check_target_behaviors,
    furthest_of_pairs,
    last_of_pairs,
    named,
    settings_of,
    target_mask,
    users_at,
    weights_at,
)
from recdl.errors import ConfigError, DataError

WARNING = (
    "events were held out at random (split=random): models learn from, and histories hold, what is later than the"
    " targets; figures are higher than in use and say little about it. Prefer split=temporal"
)


@dataclass(frozen=True)
class RandomSplit:
    """Hold out target events at random, whatever their time. It leaks through time, and warns so.

    A query, one a user, has all events of the user that its part does not yet hold back as history: for validation
    those in train, for test those in train and validation; it asks for the distinct items held out.

    Attributes:
        test_fraction: Share of all target events in test.
        validation_fraction: Share of the other target events in validation.
        target_behaviors: Behaviours that are to be predicted; all when None. Events of others all go to train.
        seed: Of the choice.
        sessions: As in `TemporalSplit`.
    """

    test_fraction: float = 0.1
    validation_fraction: float = 0.1
    target_behaviors: tuple[str, ...] | None = None
    seed: int = 0
    sessions: str | None = None

    def __post_init__(self) -> None:
        for part in ("test", "validation"):
            check_fraction(getattr(self, f"{part}_fraction"), name=f"split.{part}_fraction")
        check_target_behaviors(self.target_behaviors)
        check_rule(self.sessions, name="split.sessions")
        if self.seed < 0:
            raise ConfigError(f"split.seed must be 0 or more, but is {self.seed}")

    def split(
        self, log: Interactions, *, data_fingerprint: str, vocabularies: Vocabularies | None = None
    ) -> Split:
        """Draw the held-out events of `log`.

        Raises:
            DataError: If a part would be left empty, or the log lacks a target behaviour.
        """
        cut = sequences(log, self.sessions)
        log = cut.log
        positions = np.flatnonzero(target_mask(log, self.target_behaviors))
        n_test = round(self.test_fraction * len(positions))
        n_validation = round(self.validation_fraction * (len(positions) - n_test))
        if not (n_test and n_validation):
            raise DataError(
                f"there are {len(positions)} events of {named(self.target_behaviors)}, of which {n_test} would be"
                f" in test and {n_validation} in validation; raise split.test_fraction or"
                " split.validation_fraction"
            )
        drawn = np.random.default_rng(self.seed).permutation(positions)
        held = {"test": drawn[:n_test], "validation": drawn[n_test : n_test + n_validation]}
        kept = np.ones(log.n_events, np.bool_)
        parts: dict[str, Part] = {}
        for name in ("test", "validation"):  # each takes its events away from what the next one knows
            kept[held[name]] = False
            query_set = _ask(log, log.where(kept), np.sort(held[name]))
            users = len(np.unique(users_at(log, held[name])))
            parts[name] = Part(query_set, len(held[name]), users, ties=None)
        made = assemble(
            settings_of(self),
            cut,
            log.where(kept),
            {name: parts[name] for name in ("validation", "test")},
            cuts={"validation": None, "test": None},
            first_asked=int(log.timestamps[held["test"]].min()),
            data_fingerprint=data_fingerprint,
            known=lambda: log.where(~np.isin(np.arange(log.n_events), held["test"])),
        )
        made.report["warnings"].append(WARNING)
        made.report["leak"]["statement"] += f" Besides, {WARNING}."
        return made


def _ask(log: Interactions, known: Interactions, held: Positions) -> QuerySet:
    """Ask, with all that is `known` of a user, for the distinct items at the positions `held` of the log."""
    pairs, latest = last_of_pairs(log, held)
    users, firsts = np.unique(pairs // log.n_items, return_index=True)
    offsets = np.append(firsts, len(pairs)).astype(np.int64)
    queries = Queries.at_end(known, users.astype(np.int32))
    targets = (pairs % log.n_items).astype(np.int32)
    furthest = furthest_of_pairs(log, held)
    return QuerySet(queries, offsets, targets, target_weights=weights_at(log, latest), target_behaviors=furthest)
