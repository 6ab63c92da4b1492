"""Evaluate a finished run under another protocol."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recdl.commands.given import evaluate_file
from recdl.commands.ingredients import (
    fresh_folder,
    learned_from,
    log_of_run,
    model_of_run,
    settings_of,
    split_of_run,
)
from recdl.commands.recording import Asked, print_summary, record_evaluations, record_split
from recdl.config import build
from recdl.errors import ConfigError
from recdl.evaluation.identity import Ingredient
from recdl.evaluation.measures import check_protocol
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.evaluation.records import RunRecord, RunWriter, check_run_folder
from recdl.metrics.ranking import METRIC_VERSION
from recdl.schemas import EvaluateSettings
from recdl.signatures import checked_settings


def evaluate(config: Mapping[str, Any]) -> None:
    """Rank with a finished run's model again, by other rules, and record that as a run of its own.

    What the model learned stays as it is; so does the time it took to learn it.

    Args:
        config: As `recdl.config.compose("evaluate", ...)` gives it.

    Raises:
        RecdlError: If the run or its log is not whole, or the new folder is taken.
    """
    settings = checked_settings(EvaluateSettings, config)
    record = RunRecord.open(Path(settings.run))
    if settings.recommendations is not None:
        evaluate_file(settings, record, Path(settings.recommendations))
        return
    if settings.name is not None:
        raise ConfigError(f"name={settings.name}: is for recommendations=FILE; a run keeps its model's name")
    protocol: EvaluationProtocol = build(settings.evaluation, group="evaluation")
    folder = _folder(settings, record)
    check_run_folder(folder, overwrite=settings.overwrite)
    model = model_of_run(record)
    log = log_of_run(record, prepared=settings.prepared, progress=settings.progress)
    check_protocol(protocol, log.interactions)
    split = split_of_run(record, log)
    name = settings.names["evaluation"]
    changed = {
        "evaluation": settings.evaluation,
        "names": {**record.config.get("names", {}), "evaluation": name},
        "run_dir": settings.run_dir,
    }
    ingredient = Ingredient(name, protocol.fingerprint, settings_of(settings.evaluation))
    writer = RunWriter.start(
        folder,
        config={**record.config, **changed},
        identity=replace(record.identity, protocol=ingredient, metric_version=METRIC_VERSION),
        overwrite=settings.overwrite,
        trials=record.trials,
        trains=False,
    )
    record_split(writer, split)
    learned = learned_from(record, split)
    # A model that was fitted again has learned the answers of validation.
    parts = (
        {"test": split.test}
        if learned is not split.train
        else {"validation": split.validation, "test": split.test}
    )
    seconds = record_evaluations(
        writer,
        model,
        [Asked(part, query_set, learned) for part, query_set in parts.items()],
        protocol=protocol,
        seed=record.identity.seed,
        progress=settings.progress,
    )
    writer.write_state(model.get_state())
    fit_seconds = record.metrics.get("time/fit_seconds")
    evaluated = writer.finish(fit_seconds=fit_seconds, learning_curve=record.learning_curve, metrics=seconds)
    print_summary(evaluated, fitted=False)


def _folder(settings: EvaluateSettings, record: RunRecord) -> Path:
    if settings.run_dir:
        return Path(settings.run_dir)
    identity = record.identity
    return fresh_folder(Path("runs"), f"{identity.data.name}-{identity.model}-{settings.names['evaluation']}")
