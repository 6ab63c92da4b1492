"""Train one model on a log, evaluate it, and leave a run record."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from recdl.commands.ingredients import candidates, fresh_folder, settings_of
from recdl.commands.recording import deciding_metric, print_summary, record_evaluations
from recdl.config import TrainSettings, build, build_model
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.splits import Split, Splitter, split_log
from recdl.evaluation.comparison import validation_metric
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.evaluation.records import Ingredient, RunIdentity, RunRecord, RunWriter, check_run_folder
from recdl.metrics.ranking import METRIC_VERSION
from recdl.models.protocol import RankingTask, Recommender
from recdl.signatures import checked_settings


def train(config: Mapping[str, Any]) -> float:
    """Train and evaluate a model, print what came out, and return the metric on validation that sweeps go by.

    Args:
        config: As `recdl.config.compose("train", ...)` gives it.

    Raises:
        RecdlError: If the run cannot be done. Its folder is then never taken for a finished run.
    """
    record = record_run(config)
    print_summary(record)
    return validation_metric(record, deciding_metric(record))


def record_run(config: Mapping[str, Any]) -> RunRecord:
    """Train and evaluate a model, and return the record of the run.

    Whatever the configuration names is constructed, and may refuse its settings, before the log is looked at.

    Raises:
        RecdlError: As `train` does.
    """
    settings = checked_settings(TrainSettings, config)
    name = f"{settings.data['name']}-{settings.names['model']}"
    folder = Path(settings.run_dir) if settings.run_dir else fresh_folder(Path("runs"), name)
    check_run_folder(folder, overwrite=settings.overwrite)
    plan = _Plan.of(settings, folder)
    log = prepare(plan.source, Path(settings.prepared_root), progress=settings.progress)
    split = split_log(plan.splitter, log)
    writer = RunWriter.start(
        folder,
        config=config,
        identity=_identity(settings, log, split, plan.protocol),
        overwrite=settings.overwrite,
    )
    started = time.perf_counter()
    task = RankingTask(split.validation, candidates(split.train), plan.protocol.exclude_history)
    model = plan.model.fit(split.train, task)
    fit_seconds = time.perf_counter() - started
    seconds = record_evaluations(
        writer, model, split, protocol=plan.protocol, seed=settings.seed, progress=settings.progress
    )
    curve = getattr(model, "learning_curve_", [])  # baselines learn in one go and have none
    return writer.finish(fit_seconds=fit_seconds, learning_curve=curve, metrics=seconds)


@dataclass(frozen=True)
class _Plan:
    """Everything that a run is made with, constructed from its configuration."""

    source: Any
    splitter: Splitter
    protocol: EvaluationProtocol
    model: Recommender

    @classmethod
    def of(cls, settings: TrainSettings, folder: Path) -> Self:
        tracking = build(settings.tracking, group="tracking")
        trainer = build(settings.trainer, group="trainer", extras={"folder": folder, "tracking": tracking})
        return cls(
            source=build(settings.data, group="data"),
            splitter=build(settings.split, group="split"),
            protocol=build(settings.evaluation, group="evaluation"),
            model=build_model(settings.model, extras={"trainer": trainer, "seed": settings.seed}),
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
