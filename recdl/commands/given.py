"""Evaluate recommendations that were made elsewhere by the rules of a run, and record that as a run beside it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from recdl.commands.ingredients import fresh_folder, learned_from, log_of_run, split_of_run
from recdl.commands.recording import Asked, print_summary, record_evaluations, record_split
from recdl.config import build, compose
from recdl.errors import ConfigError
from recdl.evaluation.given_lists import given_notes, read_given_lists
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.evaluation.records import RunRecord, RunWriter, check_run_folder
from recdl.metrics.ranking import METRIC_VERSION
from recdl.models.given import GivenLists, state_of
from recdl.schemas import EvaluateSettings


def evaluate_file(settings: EvaluateSettings, record: RunRecord, path: Path) -> None:
    """Evaluate a file of recommendations by the data, split and protocol of a run.

    Args:
        settings: Of `evaluate`.
        record: The run whose rules count; its model is not looked at.
        path: The file.

    Raises:
        RecdlError: If the file, the run or its log cannot be used as it is, or the new folder is taken.
    """
    _refuse_another_protocol(settings, record)
    protocol: EvaluationProtocol = build(record.config["evaluation"], group="evaluation")
    name = settings.name or path.name.partition(".")[0]
    folder = Path(settings.run_dir or fresh_folder(Path("runs"), f"{record.identity.data.name}-{name}"))
    check_run_folder(folder, overwrite=settings.overwrite)
    log = log_of_run(record, prepared=settings.prepared, progress=settings.progress)
    split = split_of_run(record, log)
    given = read_given_lists(path, users=log.users, items=log.items, query_set=split.test)
    notes = given_notes(given.counts.to_json(), protocol.cutoffs)
    own: dict[str, Any] = {
        "model": {"_target_": f"{GivenLists.__module__}.{GivenLists.__name__}"},
        "names": {**record.config.get("names", {}), "model": name},
        "run_dir": settings.run_dir,
        "start_from": [],
        "recommendations": {"file": path.name, **given.counts.to_json(), "notes": notes},
    }
    writer = RunWriter.start(
        folder,
        config={**record.config, **own},
        identity=replace(record.identity, model=name, metric_version=METRIC_VERSION),
        overwrite=settings.overwrite,
        trains=False,
    )
    record_split(writer, split)
    for note in notes:
        print(f"{name}: {note}")
    model = GivenLists().set_state(state_of(given.users, given.lists, len(log.items)))
    seconds = record_evaluations(
        writer,
        model,
        [Asked("test", split.test, learned_from(record, split))],
        protocol=protocol,
        seed=record.identity.seed,
        progress=settings.progress,
    )
    writer.write_state(model.get_state(), learned=False)
    print_summary(writer.finish(fit_seconds=None, metrics=seconds), fitted=False)


def _refuse_another_protocol(settings: EvaluateSettings, record: RunRecord) -> None:
    """Refuse a protocol on the command line that is not the run's: the figures are to stand beside the run's."""
    default = compose("evaluate", [f"run='{settings.run}'"])["evaluation"]
    if settings.evaluation not in (default, record.config["evaluation"]):
        raise ConfigError(
            "evaluation: recommendations=FILE is evaluated by the protocol of the run, and another was given;"
            f" evaluate {record.folder} by that one first, and give the new run"
        )
