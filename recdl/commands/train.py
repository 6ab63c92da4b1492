"""Train one model on a log, evaluate it, and leave a run record."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from recdl.commands.ingredients import candidates, check_refit, find_prepared, fresh_folder, settings_of
from recdl.commands.recording import (
    Asked,
    deciding_metric,
    plain_lines,
    print_summary,
    record_evaluations,
    record_split,
)
from recdl.commands.resuming import telling_how_to_go_on
from recdl.commands.starting import open_starts, start
from recdl.commands.together import check_alone, together
from recdl.commands.tracking import track
from recdl.config import build, build_model
from recdl.data.engines.protocol import Engine
from recdl.data.interactions import Interactions
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.splits import Split, Splitter, split_log
from recdl.evaluation.comparison import validation_metric
from recdl.evaluation.identity import Ingredient, RunIdentity
from recdl.evaluation.measures import check_protocol
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.evaluation.records import RunRecord, RunWriter, check_run_folder
from recdl.evaluation.unfinished import UnfinishedRun
from recdl.metrics.ranking import METRIC_VERSION
from recdl.models.protocol import RankingTask, Recommender, Refittable
from recdl.schemas import TrainSettings
from recdl.signatures import checked_settings
from recdl.training.leftovers import forget_unfinished
from recdl.training.processes import Processes
from recdl.training.settings import TrainerSettings

_ALONE = Processes()


@dataclass(frozen=True)
class Trial:
    """How a run differs that is a trial of a search: it is never asked for test.

    Attributes:
        after_epoch: Is told each epoch of the learning curve; what it raises ends the run.
        keep_weights: Whether the record keeps what was learned, and the checkpoints.
    """

    after_epoch: Callable[[Mapping[str, float]], None]
    keep_weights: bool


def train(config: Mapping[str, Any]) -> float:
    """Train and evaluate a model, print what came out, and return the metric on validation that sweeps go by.

    Where the configuration says several processes, each does this, and the first alone writes and prints.

    Args:
        config: As `recdl.config.compose("train", ...)` gives it.

    Raises:
        RecdlError: If the run cannot be done. Its folder is then never taken for a finished run.
    """
    settings = checked_settings(TrainSettings, config)
    lines = nullcontext() if settings.progress else plain_lines()
    with lines, together(_trainer(settings, None)) as processes:
        record = record_run(config, processes=processes)
    if processes.first:
        print_summary(record)
    return validation_metric(record, deciding_metric(record))


def record_run(
    config: Mapping[str, Any],
    *,
    trial: Trial | None = None,
    trials: int | None = None,
    processes: Processes = _ALONE,
) -> RunRecord:
    """Train and evaluate a model, and return the record of the run.

    Whatever the configuration names is constructed, and may refuse its settings, before the log is looked at.

    Args:
        config: Of `train`.
        trial: How it differs as a trial of a search; None: it is none.
        trials: Settings that were tried on validation to come to these; None: as the configuration says.
        processes: Those that train the model, of which the first writes the record.

    Raises:
        RecdlError: As `train` does.
    """
    settings = checked_settings(TrainSettings, config)
    cut_off = None if settings.resume is None else UnfinishedRun.open(Path(settings.resume))
    name = f"{settings.data['name']}-{settings.names['model']}"
    folder = Path(settings.run_dir) if settings.run_dir else fresh_folder(Path("runs"), name)
    folder = processes.told(folder)
    if cut_off is None and processes.first:
        check_run_folder(folder, overwrite=settings.overwrite)
    plan = _Plan.of(settings, folder, after_epoch=None if trial is None else trial.after_epoch)
    if processes.count == 1:
        check_alone(_trainer(settings, folder))
    with processes.one_by_one():
        log = _log(settings, plan, cut_off, progress=settings.progress and processes.first)
    check_protocol(plan.protocol, log.interactions)
    split = split_log(plan.splitter, log)
    if settings.refit:
        check_refit(split)
    start(plan.model, plan.starts, log, split)
    if not processes.first:
        _follow(settings, plan, split, folder)
        processes.wait()
        return RunRecord.open(folder)
    identity = _identity(settings, log, split, plan.protocol)
    if cut_off is not None:
        cut_off.check_identity(identity)
        writer = RunWriter.go_on(folder, cut_off.started)
    else:
        writer = RunWriter.start(
            folder,
            config=config,
            identity=identity,
            overwrite=settings.overwrite,
            trials=settings.trials if trials is None else trials,
        )
    with nullcontext() if trial is not None else telling_how_to_go_on(folder):
        record = _fit_and_evaluate(settings, plan, log, split, writer, trial)
    processes.wait()
    forget_unfinished(folder)
    return record


def _follow(settings: TrainSettings, plan: "_Plan", split: Split, folder: Path) -> None:
    """Fit what the first process fits, beside it; it alone evaluates and writes."""
    model = plan.model.fit(split.train, _task(plan, split))
    if split.known is not None and settings.refit:
        _refitted(settings, model, split.known(), getattr(model, "learning_curve_", []), folder)


def _task(plan: "_Plan", split: Split) -> RankingTask:
    allowed = candidates(split.train, plan.protocol.candidates)
    return RankingTask(split.validation, allowed, plan.protocol.exclude_history)


def _fit_and_evaluate(
    settings: TrainSettings,
    plan: "_Plan",
    log: PreparedLog,
    split: Split,
    writer: RunWriter,
    trial: Trial | None,
) -> RunRecord:
    record_split(writer, split)
    started = time.perf_counter()
    model = plan.model.fit(split.train, _task(plan, split))
    fit_seconds = time.perf_counter() - started
    curve = getattr(model, "learning_curve_", [])  # baselines learn in one go and have none
    learned = getattr(model, "figures_", {})  # what it has to tell of itself
    record = partial(
        record_evaluations, writer, protocol=plan.protocol, seed=settings.seed, progress=settings.progress
    )
    figures = learned | record(model, [Asked("validation", split.validation, split.train)])
    finish = partial(writer.finish, fit_seconds=fit_seconds, learning_curve=curve)
    if trial is not None:
        if trial.keep_weights:
            writer.write_state(model.get_state())
        return finish(metrics=figures)
    learned_from = split.train
    if split.known is not None and settings.refit:
        learned_from = split.known()
        started = time.perf_counter()
        model, epochs = _refitted(settings, model, learned_from, curve, writer.folder)
        figures |= {"time/refit_seconds": time.perf_counter() - started} | epochs
    figures |= record(model, [Asked("test", split.test, learned_from)])
    writer.write_state(model.get_state())
    finished = finish(metrics=figures)
    track(build(settings.tracking, group="tracking"), finished, model, log, learned_from)
    return finished


def _refitted(
    settings: TrainSettings,
    fitted: Recommender,
    known: Interactions,
    curve: Sequence[Mapping[str, float]],
    folder: Path,
) -> tuple[Recommender, dict[str, float]]:
    """Fit a model like the first on all that is known before test, for as many epochs as validation found best.

    Returns:
        The model, and how many epochs it was trained for, by metric name; empty for one that learns in one go.
    """
    trainer = _trainer(settings, folder)
    if not curve:
        model = fitted.refit(known) if isinstance(fitted, Refittable) else _model(settings, trainer).fit(known)
        return model, {}
    if isinstance(fitted, Refittable):
        model = fitted.refit(known)
    else:
        model = _model(settings, trainer.again(curve)).fit(known)
    return model, {"model/refit_epochs": float(trainer.best_epochs(curve))}


def _log(settings: TrainSettings, plan: "_Plan", cut_off: UnfinishedRun | None, *, progress: bool) -> PreparedLog:
    """Prepare the log, or open it; a run is gone on with on the log that it was started on, if that is there."""
    root = Path(settings.prepared_root)
    if cut_off is not None:
        prepared = find_prepared(root, fingerprint=cut_off.started["identity"]["data"]["fingerprint"])
        if prepared is not None:
            return PreparedLog.open(prepared)
    return prepare(plan.source, root, engine=plan.engine, progress=progress)


def _model(settings: TrainSettings, trainer: TrainerSettings) -> Recommender:
    """Construct the model, unfitted."""
    model: Recommender = build_model(settings.model, extras={"trainer": trainer, "seed": settings.seed})
    return model


def _trainer(settings: TrainSettings, folder: Path | None) -> TrainerSettings:
    tracking = build(settings.tracking, group="tracking")
    extras = {"folder": folder, "tracking": tracking, "resume": settings.resume is not None}
    trainer: TrainerSettings = build(settings.trainer, group="trainer", extras=extras)
    return trainer


@dataclass(frozen=True)
class _Plan:
    """Everything that a run is made with, constructed from its configuration."""

    source: Any
    engine: Engine
    splitter: Splitter
    protocol: EvaluationProtocol
    model: Recommender
    starts: Sequence[RunRecord]

    @classmethod
    def of(cls, settings: TrainSettings, folder: Path, **extras: Any) -> Self:
        model = _model(settings, replace(_trainer(settings, folder), **extras))
        return cls(
            source=build(settings.data, group="data"),
            engine=build(settings.engine, group="engine"),
            splitter=build(settings.split, group="split"),
            protocol=build(settings.evaluation, group="evaluation"),
            model=model,
            starts=open_starts(settings.start_from, model),
        )


def _identity(
    settings: TrainSettings, log: PreparedLog, split: Split, protocol: EvaluationProtocol
) -> RunIdentity:
    sizes = {"users": len(log.users), "items": len(log.items), "events": log.interactions.n_events}
    return RunIdentity(
        model=settings.names["model"],
        seed=settings.seed,
        data=Ingredient(settings.data["name"], log.fingerprint, sizes),
        split=Ingredient(settings.names["split"], split.fingerprint, settings_of(settings.split)),
        protocol=Ingredient(settings.names["evaluation"], protocol.fingerprint, settings_of(settings.evaluation)),
        metric_version=METRIC_VERSION,
    )
