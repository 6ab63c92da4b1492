"""What became of the trials of a search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from recdl.search.space import Value

Outcome = Literal["finished", "pruned", "failed"]


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        number: Of the trial, from 0, in the order in which they began.
        settings: What was tried, by full key.
        outcome: `finished` has a value; `pruned` was ended early; `failed` has a reason.
        value: The metric on validation, of a finished one.
        epochs: The metric on validation after each epoch that was told.
        seconds: How long it took.
        reason: Why it failed.
    """

    number: int
    settings: Mapping[str, Value]
    outcome: Outcome
    value: float | None = None
    epochs: Mapping[int, float] = field(default_factory=dict)
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class SearchResult:
    """A search so far.

    Attributes:
        metric: On validation, that trials are told apart by ("ndcg@10"); the higher the better.
        trials: In the order of their numbers.
        importances: Share of each setting in what tells good trials from others, which sum to 1; empty where there
            are too few trials to say.
    """

    metric: str
    trials: tuple[TrialResult, ...]
    importances: Mapping[str, float] = field(default_factory=dict)

    @property
    def finished(self) -> list[TrialResult]:
        """The trials that have a value."""
        return [trial for trial in self.trials if trial.outcome == "finished"]

    @property
    def best(self) -> TrialResult | None:
        """The trial with the highest value, the first of equals."""
        return max(self.finished, key=lambda trial: trial.value or 0.0, default=None)

    def count(self, outcome: Outcome) -> int:
        """Return how many trials came to that."""
        return sum(trial.outcome == outcome for trial in self.trials)

    def best_so_far(self) -> list[float | None]:
        """Return, for each trial, the highest value up to and with it; None while there is none."""
        highest, curve = -math.inf, list[float | None]()
        for trial in self.trials:
            highest = max(highest, -math.inf if trial.value is None else trial.value)
            curve.append(None if highest == -math.inf else highest)
        return curve

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON can say it."""
        best = self.best
        return {
            "metric": f"validation/{self.metric}",
            "n_trials": len(self.trials),
            "best": None if best is None else best.number,
            "best_so_far": self.best_so_far(),
            "importances": dict(self.importances),
            "trials": [
                {
                    "number": trial.number,
                    "outcome": trial.outcome,
                    "value": trial.value,
                    "settings": dict(trial.settings),
                    "epochs": {str(epoch): value for epoch, value in trial.epochs.items()},
                    "seconds": trial.seconds,
                    "reason": trial.reason,
                }
                for trial in self.trials
            ],
        }


def failures_in_a_row(trials: Sequence[TrialResult]) -> int:
    """Return how many of the last trials failed, without another between them."""
    count = 0
    for trial in reversed(trials):
        if trial.outcome != "failed":
            break
        count += 1
    return count
