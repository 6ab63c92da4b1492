"""What is measured and by which rules: the settings that two figures must share to be comparable."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from recdl import storage
from recdl.errors import ConfigError
from recdl.metrics.ranking import METRIC_VERSION
from recdl.metrics.registry import METRICS

TIE_RULE = "expected position among equal scores"
CANDIDATE_RULE = "items with a train event"
CandidateRule = Literal["trained", "catalogue"]
SampleRule = Literal["uniform", "popularity"]


@dataclass(frozen=True)
class SampledCandidates:
    """That each query ranks its targets among a draw of other items, and not the catalogue.

    Figures among sampled candidates are no estimate of those of full ranking, and may order models differently:
    Krichene and Rendle, "On sampled metrics for item recommendation", KDD 2020. They are for comparing with what
    others have published by such a protocol, and are marked in every output.

    Attributes:
        n: How many other items, at least 1; all there are, where they are fewer.
        by: Whether they are drawn evenly from the candidates (`uniform`), or by their train events (`popularity`).
        seed: Of the draw, which no model changes.
    """

    n: int
    by: SampleRule = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"sampled.n: must be at least 1, not {self.n}")
        if self.by not in get_args(SampleRule):
            raise ConfigError(f"sampled.by: uniform or popularity, not {self.by!r}")
        if self.seed < 0:
            raise ConfigError(f"sampled.seed: must be at least 0, not {self.seed}")


@dataclass(frozen=True)
class CategoryColumn:
    """The column of the log's table of items that tells their categories.

    Attributes:
        column: Its name. It holds one value an item, or a list of values.
        separator: What parts several values in one text ("|" in "Drama|War"); None: a text is one value.
    """

    column: str
    separator: str | None = None

    def __post_init__(self) -> None:
        if not self.column or self.separator == "":
            raise ConfigError("item_category: name a column, and no empty separator")


@dataclass(frozen=True)
class EvaluationProtocol:
    """Which metrics at which cutoffs, whether history may be recommended again, and how sure the figures are.

    Attributes:
        metrics: Names in `recdl.metrics.registry.METRICS`.
        cutoffs: Lengths of the list that is looked at, each at least 1.
        exclude_history: Whether the items of a query's own history are taken out of its candidates, whatever the
            model. A target in the history is then a miss.
        candidates: Which items are ranked: those `trained` on, which have an event in train, or the whole
            `catalogue`, so that a model is asked for new items, too, of which only features can tell it something.
        sampled: What of them a query ranks in place of all; None ranks all.
        gains: What a target is worth to weighted_ndcg: a number by the name of its behaviour (1 where it is not
            named; of several events with the item the one furthest along the funnel counts), or `weight`, the
            log's number for its event.
        item_category: Where the categories of items are, for category_diversity and miscalibration.
        user_groups: By what users are grouped: `activity` (events in the history), `newness` (to train), or a
        column
            of the log's table of users.
        item_groups: By what items are grouped: `popularity` (head, middle, tail), or a column of the log's table
        of
            items.
        confidence: Share of the bootstrap distribution that an interval holds, in (0, 1).
        n_bootstrap: Replicates of the bootstrap.

    Raises:
        ConfigError: If a metric is unknown or named twice, lacks a setting, or a number lies outside its range.
    """

    metrics: tuple[str, ...]
    cutoffs: tuple[int, ...]
    exclude_history: bool = False
    candidates: CandidateRule = "trained"
    sampled: SampledCandidates | None = None
    gains: Mapping[str, float] | Literal["weight"] | None = None
    item_category: CategoryColumn | None = None
    user_groups: tuple[str, ...] = ()
    item_groups: tuple[str, ...] = ()
    confidence: float = 0.95
    n_bootstrap: int = 1000

    def __post_init__(self) -> None:
        for name in self.metrics:
            if name not in METRICS:
                raise ConfigError(f"metrics: {name!r} is no metric; choose from {', '.join(METRICS)}")
        for key in ("metrics", "cutoffs"):
            values = getattr(self, key)
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{key}: name at least one, and none twice, not {list(values)}")
        for key in ("user_groups", "item_groups"):
            if len(set(getattr(self, key))) < len(getattr(self, key)):
                raise ConfigError(f"{key}: name none twice, not {list(getattr(self, key))}")
        self._check_needs()
        if self.candidates not in get_args(CandidateRule):
            raise ConfigError(f"candidates: trained or catalogue, not {self.candidates!r}")
        if min(self.cutoffs) < 1:
            raise ConfigError(f"cutoffs: each must be at least 1, not {list(self.cutoffs)}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence: must lie between 0 and 1, not {self.confidence}")
        if self.n_bootstrap < 1:
            raise ConfigError(f"n_bootstrap: must be at least 1, not {self.n_bootstrap}")

    def _check_needs(self) -> None:
        if "weighted_ndcg" in self.metrics and self.gains is None:
            raise ConfigError(
                "metrics: weighted_ndcg needs gains: a number by behaviour, such as {purchase: 5, view: 1}, or"
                " weight"
            )
        if isinstance(self.gains, Mapping):
            for name, gain in self.gains.items():
                if not 0 <= gain < float("inf"):
                    raise ConfigError(f"gains.{name}: must be 0 or more, and finite, not {gain}")
        elif self.gains not in (None, "weight"):
            raise ConfigError(f"gains: a number by behaviour, weight or null, not {self.gains!r}")
        for name in ("category_diversity", "miscalibration"):
            if name in self.metrics and self.item_category is None:
                raise ConfigError(
                    f"metrics: {name} needs item_category: a column of the log's table of items, such as"
                    " {column: genre}"
                )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that moves a figure or its interval.

        Which metrics are computed, and for which groups, is left out: it moves none of the others.
        """
        rules: dict[str, Any] = {
            "metric_version": METRIC_VERSION,
            "ties": TIE_RULE,
            "candidates": CANDIDATE_RULE if self.candidates == "trained" else self.candidates,
            "exclude_history": self.exclude_history,
            "cutoffs": sorted(self.cutoffs),
            "sampled": None if self.sampled is None else asdict(self.sampled),
            "gains": dict(self.gains) if isinstance(self.gains, Mapping) else self.gains,
            "item_category": None if self.item_category is None else asdict(self.item_category),
            "confidence": self.confidence,
            "n_bootstrap": self.n_bootstrap,
        }
        return storage.fingerprint(rules)
