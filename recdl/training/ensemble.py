"""Several models as one, their scores brought to one scale and summed by weights that validation chooses."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations_with_replacement
from math import comb
from typing import Any, Literal, Self, cast, final

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.metrics.ranking import RANKING_METRICS, RankedTargets
from recdl.models.protocol import ModelFactory, RankingTask, Recommender, Refittable, State
from recdl.models.ranking import rank
from recdl.training.members import fitted, made
from recdl.training.settings import TrainerSettings

Scale = Literal["standard", "softmax", "reciprocal_rank"]

_MOST_STEPS, _MOST_WEIGHTS = 20, 100
_BYTES_AT_ONCE = 1 << 27
_RANK_OFFSET = 60


@final
class Ensemble:
    """The weighted sum of the scores of several models, each scaled query by query.

    Every member is fitted on the same log, a network stopped by the same validation. Then all mixtures of weights
    on a grid, which sum to 1 and of which single members are some, are ranked on validation, and the best by the
    trainer's `monitor` is kept: on validation no member alone is better. Without validation all weigh alike.

    Args:
        members: What makes each model, by the name that its weight and its settings go by.
        scale: How scores are made comparable: `standard`, less their mean, over their standard deviation;
            `softmax`, as shares, for models whose scores are logits; `reciprocal_rank`, 1 / (60 + rank), the best
            having rank 1 and equals their mean (Cormack et al. 2009, Reciprocal Rank Fusion).
        weights: Of each member; None: chosen on validation.
        trainer: Where and how long to train networks, and what to choose weights by.
        seed: Of the members.
    """

    def __init__(
        self,
        members: Mapping[str, ModelFactory],
        *,
        scale: Scale = "standard",
        weights: dict[str, float] | None = None,
        trainer: TrainerSettings | None = None,
        seed: int = 0,
    ) -> None:
        if not members:
            raise ConfigError("model.members is empty; name some models")
        if weights is not None:
            if set(weights) != set(members):
                raise ConfigError(
                    f"model.weights must name {', '.join(members)}, not {', '.join(weights) or 'none'}"
                )
            if not (all(0 <= weight < np.inf for weight in weights.values()) and any(weights.values())):
                raise ConfigError(f"model.weights must be 0 or more, finite and not all 0, but are {weights}")
        self.members = dict(members)
        self.scale: Scale = scale
        self.weights = weights
        self.trainer = trainer or TrainerSettings()
        self.seed = seed
        self.members_ = {name: self._made(name, self.trainer) for name in self.members}

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Fit every member, then choose the weights.

        Raises:
            DataError: If a member cannot learn from the log.
        """
        self.members_ = {name: self._fitted(name, train, validation, self.trainer) for name in self.members}
        if self.weights is not None:
            weights = np.array([self.weights[name] for name in self.members])
        elif validation is None or len(self.members) == 1:
            weights = np.ones(len(self.members))
        else:
            weights = self._best_weights(validation)
        return self._keep(weights / weights.sum())

    def refit(self, train: Interactions) -> Self:
        """Return a fresh ensemble that learned from `train`: networks for their best epochs, and the same weights.

        Raises:
            DataError: As `fit` does.
        """
        fresh = Ensemble(self.members, scale=self.scale, trainer=self.trainer, seed=self.seed)
        for name, member in self.members_.items():
            if isinstance(member, Refittable):
                fresh.members_[name] = member.refit(train)
                continue
            curve, trainer = getattr(member, "learning_curve_", []), self.trainer
            if curve:
                trainer = trainer.again(curve)
            elif trainer.folder is not None:
                trainer = replace(trainer, folder=trainer.folder / "refit")
            fresh.members_[name] = fresh._fitted(name, train, None, trainer)
        return fresh._keep(self.weights_)

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32.

        Raises:
            DataError: As the members do.
        """
        parts = [
            np.float32(weight) * self._scaled(model, queries)
            for model, weight in zip(self.members_.values(), self.weights_, strict=True)
            if weight
        ]
        return cast("npt.NDArray[np.float32]", sum(parts[1:], parts[0]))

    def get_state(self) -> State:
        """Return `weights` (float64, one a member, in order) and each member's arrays as `members.NAME.ARRAY`."""
        state: dict[str, npt.NDArray[Any]] = {"weights": self.weights_}
        for name, model in self.members_.items():
            state |= {f"members.{name}.{array}": value for array, value in model.get_state().items()}
        return state

    def set_state(self, state: State) -> Self:
        """Take over what another ensemble of the same members learned.

        Raises:
            RecordError: If an array is missing or of the wrong shape; it names the member.
        """
        weights = state.get("weights")
        if weights is None or weights.shape != (len(self.members),):
            raise RecordError(
                f"the stored ensemble has no 'weights' of {len(self.members)} members; export it again"
            )
        for name in self.members:
            prefix = f"members.{name}."
            own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            try:
                self.members_[name] = self._made(name, self.trainer).set_state(own)
            except RecordError as error:
                raise RecordError(f"{prefix[:-1]}: {error}") from error
        return self._keep(np.asarray(weights, np.float64))

    def _keep(self, weights: npt.NDArray[np.float64]) -> Self:
        self.weights_ = weights
        shares = zip(self.members, weights.tolist(), strict=True)
        self.figures_ = {f"model/weight/{name}": weight for name, weight in shares}
        return self

    def _fitted(
        self, name: str, train: Interactions, validation: RankingTask | None, trainer: TrainerSettings
    ) -> Recommender:
        return fitted(self.members[name], f"members/{name}", train, validation, trainer=trainer, seed=self.seed)

    def _made(self, name: str, trainer: TrainerSettings) -> Recommender:
        return made(self.members[name], f"members/{name}", trainer=trainer, seed=self.seed)

    def _scaled(self, model: Recommender, queries: Queries) -> npt.NDArray[np.float32]:
        return scaled(model.score(queries), self.scale)

    def _best_weights(self, task: RankingTask) -> npt.NDArray[np.float64]:
        metric, _, cutoff = self.trainer.monitor.partition("@")
        grid = weight_grid(len(self.members_))
        sums = np.zeros(len(grid))
        task = task.at_most(self.trainer.validation_queries)
        for part in _parts(task, len(self.members_)):
            # Rows are asked for in an order of the ranking's own: their number stands where their user did.
            queries = part.query_set.queries
            scores = np.stack([self._scaled(model, queries) for model in self.members_.values()])
            numbered = replace(queries, users=np.arange(len(queries), dtype=np.int32))
            asked = replace(part, query_set=replace(part.query_set, queries=numbered, clusters=None))
            for place, weights in enumerate(grid):
                mixture = cast(Recommender, _Mixture(scores, weights))  # ranking asks for scores alone
                ranks = rank(mixture, asked, k=int(cutoff)).ranks
                targets = RankedTargets(ranks, part.query_set.target_offsets)
                sums[place] += RANKING_METRICS[metric](targets, int(cutoff)).sum()
        best: npt.NDArray[np.float64] = grid[int(sums.argmax())]
        return best


class _Mixture:
    """Scores of known queries, whose users are their rows.

    Args:
        scores: (n_members, n_queries, n_items) float32.
        weights: (n_members,).
    """

    def __init__(self, scores: npt.NDArray[np.float32], weights: npt.NDArray[np.float64]) -> None:
        self._scores = scores
        self._weights = weights.astype(np.float32)

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        return np.tensordot(self._weights, self._scores[:, queries.users], 1).astype(np.float32)


def scaled(scores: npt.NDArray[np.float32], scale: Scale) -> npt.NDArray[np.float32]:
    """Return (n, n_items) float32 scores, each row brought to a scale that those of other models share."""
    if scale == "softmax":
        shares = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)
    if scale == "reciprocal_rank":
        return np.asarray(1.0 / (_RANK_OFFSET + rankdata(-scores, axis=1)), np.float32)
    varies = scores.max(1, keepdims=True) > scores.min(1, keepdims=True)
    above = scores - scores.mean(1, dtype=np.float64, keepdims=True)
    deviation = np.where(varies, scores.std(1, dtype=np.float64, keepdims=True), 1.0)
    return np.where(varies, above / deviation, 0.0).astype(np.float32)


def weight_grid(n_members: int) -> npt.NDArray[np.float64]:
    """Return (n, n_members) mixtures that sum to 1, in equal steps of 1/20, or larger ones that leave 100."""
    fits = (steps for steps in range(_MOST_STEPS, 1, -1) if comb(steps + n_members - 1, steps) <= _MOST_WEIGHTS)
    steps = next(fits, 1)
    chosen = combinations_with_replacement(range(n_members), steps)
    return np.array([np.bincount(one, minlength=n_members) for one in chosen]) / steps


def _parts(task: RankingTask, n_members: int) -> Iterator[RankingTask]:
    """Cut a task so that the scores of all members for a part can be held."""
    step = max(1, _BYTES_AT_ONCE // (4 * n_members * len(task.candidates)))
    for start in range(0, len(task.query_set), step):
        rows = np.arange(start, min(start + step, len(task.query_set)))
        yield replace(task, query_set=task.query_set.take(rows))
