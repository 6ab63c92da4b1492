"""The study behind a search: what to try next, what came of it, kept in an SQLite file by Optuna.

Akiba et al. 2019, Optuna: A next-generation hyperparameter optimization framework. Optuna is driven by asking and
telling, from one process alone, so that no trial is in the file twice and a trial whose process dies is told of.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from recdl.errors import ConfigError, RecordError
from recdl.search.settings import SearchSettings
from recdl.search.space import Dimension, Value
from recdl.search.trials import Outcome, SearchResult, TrialResult

if TYPE_CHECKING:
    import optuna

STUDY = "study.db"
"""Name of the file in a search's folder."""

_NAME = "search"
_METRIC, _NUMBER, _REASON, _SECONDS, _REPEATS = "metric", "number", "reason", "seconds", "repeats"
_REPEATS_AT_MOST = 100
"""Times in a row that the sampler may propose what was tried already before the space counts as used up."""


@dataclass(frozen=True)
class Proposal:
    """What is to be tried next.

    Attributes:
        number: Of the trial.
        settings: By full key.
    """

    number: int
    settings: Mapping[str, Value]


class Study:
    """A search under way. Only one process may have it; `open` makes or continues one.

    A trial that was running when the process before this one ended does not count: it is tried again. What is
    proposed depends on the seed and the trials before alone, so that a search with one worker that was cut off
    comes to the same as one that was not.

    Args:
        study: Optuna's.
        settings: How to search.
        dimensions: What to search over.
        seed: Of the sampler.
    """

    def __init__(
        self, study: "optuna.Study", settings: SearchSettings, dimensions: Sequence[Dimension], *, seed: int
    ) -> None:
        self._study = study
        self._settings = settings
        self._dimensions = dimensions
        self._distributions = {one.key: _distribution(one) for one in dimensions}
        self._seed = seed
        self._running: dict[int, tuple[optuna.Trial, float]] = {}

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: SearchSettings,
        dimensions: Sequence[Dimension],
        *,
        metric: str,
        defaults: Mapping[str, Value],
        seed: int,
    ) -> Self:
        """Begin the search in `folder`, or go on with the one that is there.

        Args:
            folder: Of the search.
            settings: How to search.
            dimensions: What to search over.
            metric: What trials are told apart by.
            defaults: What the model's file has at the dimensions.
            seed: Of the sampler.

        Raises:
            ConfigError: If Optuna is not installed.
            RecordError: If the file is damaged.
        """
        optuna = _optuna()
        folder.mkdir(parents=True, exist_ok=True)
        study = _load(folder / STUDY, new=True)
        study.pruner = _pruner(settings)
        if not study.trials:
            study.set_user_attr(_METRIC, metric)
            if settings.defaults_first and all(one.holds(defaults[one.key]) for one in dimensions):
                study.enqueue_trial({one.key: _encoded(one, defaults[one.key]) for one in dimensions})
        for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            if _NUMBER in trial.user_attrs:
                number = {_NUMBER: trial.user_attrs[_NUMBER]}
                study.enqueue_trial(trial.params, user_attrs=number)
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return cls(study, settings, dimensions, seed=seed)

    def next(self) -> Proposal | None:
        """Return what to try next, or None when `total` trials have begun or there is nothing new to try."""
        begun = len(_counted(self._study)) + len(self._running)
        if begun >= min(self._settings.total, math.prod(one.n_values for one in self._dimensions)):
            return None
        for attempt in range(_REPEATS_AT_MOST):
            self._study.sampler = self._sampler(begun, attempt)
            trial = self._study.ask(self._distributions)
            settings = {one.key: _decoded(one, trial.params[one.key]) for one in self._dimensions}
            earlier = self._same(trial)
            if earlier is None:
                number = int(trial.user_attrs.get(_NUMBER, begun))
                trial.set_user_attr(_NUMBER, number)
                self._running[number] = (trial, time.monotonic())
                return Proposal(number, settings)
            trial.set_user_attr(_REPEATS, earlier.number)
            self._tell_again(trial, earlier)
        return None

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Note the metric on validation after an epoch of a trial, and return whether to end it there."""
        trial, _ = self._running[number]
        trial.report(value, epoch)
        return trial.should_prune()

    def finish(self, number: int, value: float) -> None:
        """Note what a trial came to; a value that is no number is a failure."""
        if math.isfinite(value):
            self._tell(number, "finished", value=value)
        else:
            self._tell(number, "failed", reason=f"its metric on validation is {value}")

    def prune(self, number: int) -> None:
        """Note that a trial was ended early."""
        self._tell(number, "pruned")

    def fail(self, number: int, reason: str) -> None:
        """Note why a trial failed."""
        self._tell(number, "failed", reason=reason)

    def result(self) -> SearchResult:
        """Return the trials so far."""
        return _result(self._study)

    def _tell(self, number: int, outcome: Outcome, *, value: float | None = None, reason: str = "") -> None:
        states = _optuna().trial.TrialState
        state = {"finished": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[outcome]
        trial, started = self._running.pop(number)
        trial.set_user_attr(_SECONDS, time.monotonic() - started)
        if reason:
            trial.set_user_attr(_REASON, reason)
        self._study.tell(trial, value, state=state)

    def _sampler(self, begun: int, attempt: int) -> "optuna.samplers.BaseSampler":
        """Return a sampler of its own for each trial: one kept over trials would forget its place on a restart."""
        samplers: Any = _optuna().samplers
        seed = int(np.random.SeedSequence([self._seed, begun, attempt]).generate_state(1)[0])
        if self._settings.sampler == "random":
            sampler = samplers.RandomSampler(seed=seed)
        else:
            sampler = samplers.TPESampler(
                seed=seed, n_startup_trials=self._settings.startup_trials, multivariate=True, constant_liar=True
            )
        return cast("optuna.samplers.BaseSampler", sampler)

    def _same(self, trial: "optuna.Trial") -> "optuna.trial.FrozenTrial | None":
        running = [one for one, _ in self._running.values()]
        live = {one.number for one in running}
        earlier = [one for one in self._study.get_trials(deepcopy=False) if one.number in live or _counts(one)]
        return next((one for one in earlier if one.params == trial.params), None)

    def _tell_again(self, trial: "optuna.Trial", earlier: "optuna.trial.FrozenTrial") -> None:
        """Let the sampler know once more what it proposes once more, so that it moves on."""
        states = _optuna().trial.TrialState
        if earlier.state == states.COMPLETE:
            self._study.tell(trial, earlier.value)
        else:
            self._study.tell(trial, state=states.FAIL)


def read_result(folder: Path) -> SearchResult:
    """Return what the search in `folder` has come to, be it finished or not.

    Raises:
        ConfigError: If Optuna is not installed.
        RecordError: If there is no search, or its file is damaged.
    """
    if not (folder / STUDY).is_file():
        raise RecordError(f"there is no sweep at {folder}: it holds no {STUDY}")
    return _result(_load(folder / STUDY, new=False))


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigError(f"sweeps need the package {error.name!r}: pip install 'recdl[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _load(path: Path, *, new: bool) -> "optuna.Study":
    library = _optuna()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage = library.storages.RDBStorage(f"sqlite:///{path.resolve()}")
        if new:
            study = library.create_study(
                storage=storage, study_name=_NAME, direction="maximize", load_if_exists=True
            )
        else:
            study = library.load_study(storage=storage, study_name=_NAME)
    except (SQLAlchemyError, KeyError, RuntimeError, library.exceptions.OptunaError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(f"{path} is damaged, or of another version of Optuna ({reason})") from error
    return cast("optuna.Study", study)


def _pruner(settings: SearchSettings) -> "optuna.pruners.BasePruner":
    pruners: Any = _optuna().pruners
    if settings.pruner == "none":
        pruner = pruners.NopPruner()
    elif settings.pruner == "halving":
        pruner = pruners.SuccessiveHalvingPruner(min_resource=max(1, settings.warmup_epochs))
    else:
        pruner = pruners.MedianPruner(
            n_startup_trials=settings.startup_trials, n_warmup_steps=settings.warmup_epochs
        )
    return cast("optuna.pruners.BasePruner", pruner)


def _distribution(dimension: Dimension) -> Any:
    distributions = _optuna().distributions
    if dimension.choices is not None:
        return distributions.CategoricalDistribution([_encoded(dimension, one) for one in dimension.choices])
    if dimension.whole:
        step = 1 if dimension.step is None else int(dimension.step)
        return distributions.IntDistribution(dimension.low, dimension.high, log=dimension.log, step=step)
    return distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _encoded(dimension: Dimension, value: Value) -> Any:
    """Return a value as Optuna keeps it: of choices, which may be lists or mappings, as JSON."""
    return value if dimension.choices is None else json.dumps(value, sort_keys=True)


def _decoded(dimension: Dimension, value: Any) -> Value:
    decoded: Value = value if dimension.choices is None else json.loads(value)
    return decoded


def _counts(trial: "optuna.trial.FrozenTrial") -> bool:
    """Return whether a trial came to something: one that was cut off failed for no reason."""
    told = _REASON if trial.state == _optuna().trial.TrialState.FAIL else _SECONDS
    return trial.state.is_finished() and _NUMBER in trial.user_attrs and told in trial.user_attrs


def _counted(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    return [trial for trial in study.get_trials(deepcopy=False) if _counts(trial)]


def _result(study: "optuna.Study") -> SearchResult:
    states = _optuna().trial.TrialState
    outcomes: dict[Any, Outcome] = {
        states.COMPLETE: "finished",
        states.PRUNED: "pruned",
        states.FAIL: "failed",
    }
    trials = [
        TrialResult(
            number=trial.user_attrs[_NUMBER],
            settings={key: _shown(trial, key) for key in trial.params},
            outcome=outcomes[trial.state],
            value=trial.value if trial.state == states.COMPLETE else None,
            epochs=trial.intermediate_values,
            seconds=trial.user_attrs.get(_SECONDS),
            reason=trial.user_attrs.get(_REASON),
        )
        for trial in _counted(study)
    ]
    trials.sort(key=lambda trial: trial.number)
    metric = study.user_attrs.get(_METRIC, "")
    return SearchResult(metric, tuple(trials), _importances(study, trials))


def _shown(trial: "optuna.trial.FrozenTrial", key: str) -> Value:
    categorical = isinstance(trial.distributions[key], _optuna().distributions.CategoricalDistribution)
    value: Value = json.loads(trial.params[key]) if categorical else trial.params[key]
    return value


def _importances(study: "optuna.Study", trials: Sequence[TrialResult]) -> dict[str, float]:
    """Return the settings' importances by PED-ANOVA (Watanabe et al. 2023), the greatest first.

    They say what tells the best tenth of the trials from all, one setting at a time.
    """
    values = {trial.value for trial in trials if trial.outcome == "finished"}
    if len(values) < 5:
        return {}
    optuna = _optuna()
    kept = optuna.create_study(direction="maximize")
    kept.add_trials([one for one in _counted(study) if one.state == optuna.trial.TrialState.COMPLETE])
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found: dict[str, float] = optuna.importance.get_param_importances(kept, evaluator=evaluator)
    return {key: float(share) for key, share in found.items()}
