"""What is measured and by which rules: the settings that two figures must share to be comparable."""

from dataclasses import dataclass
from typing import Literal, get_args

from recdl import storage
from recdl.errors import ConfigError
from recdl.metrics.ranking import METRIC_VERSION, RANKING_METRICS

COVERAGE = "coverage"
"""The name of catalogue coverage: a figure of all lists together, the only one without a value for each query."""

TIE_RULE = "expected position among equal scores"
CANDIDATE_RULE = "items with a train event"
CandidateRule = Literal["trained", "catalogue"]


@dataclass(frozen=True)
class EvaluationProtocol:
    """Which metrics at which cutoffs, whether history may be recommended again, and how sure the figures are.

    Attributes:
        metrics: Names in `recdl.metrics.ranking.RANKING_METRICS`, or "coverage".
        cutoffs: Lengths of the list that is looked at, each at least 1.
        exclude_history: Whether the items of a query's own history are taken out of its candidates, whatever the
            model. A target in the history is then a miss.
        candidates: Which items are ranked: those `trained` on, which have an event in train, or the whole
            `catalogue`, so that a model is asked for new items, too, of which only features can tell it something.
        confidence: Share of the bootstrap distribution that an interval holds, in (0, 1).
        n_bootstrap: Replicates of the bootstrap.

    Raises:
        ConfigError: If a metric is unknown or named twice, or a number lies outside its range.
    """

    metrics: tuple[str, ...]
    cutoffs: tuple[int, ...]
    exclude_history: bool = False
    candidates: CandidateRule = "trained"
    confidence: float = 0.95
    n_bootstrap: int = 1000

    def __post_init__(self) -> None:
        known = (*RANKING_METRICS, COVERAGE)
        for name in self.metrics:
            if name not in known:
                raise ConfigError(f"metrics: {name!r} is no metric; choose from {', '.join(known)}")
        for key in ("metrics", "cutoffs"):
            values = getattr(self, key)
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{key}: name at least one, and none twice, not {list(values)}")
        if self.candidates not in get_args(CandidateRule):
            raise ConfigError(f"candidates: trained or catalogue, not {self.candidates!r}")
        if min(self.cutoffs) < 1:
            raise ConfigError(f"cutoffs: each must be at least 1, not {list(self.cutoffs)}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence: must lie between 0 and 1, not {self.confidence}")
        if self.n_bootstrap < 1:
            raise ConfigError(f"n_bootstrap: must be at least 1, not {self.n_bootstrap}")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that moves a figure or its interval.

        Which metrics are computed at which cutoffs is left out: it moves none of the others.
        """
        return storage.fingerprint(
            {
                "metric_version": METRIC_VERSION,
                "ties": TIE_RULE,
                "candidates": CANDIDATE_RULE if self.candidates == "trained" else self.candidates,
                "exclude_history": self.exclude_history,
                "confidence": self.confidence,
                "n_bootstrap": self.n_bootstrap,
            }
        )
