"""Write a run's model as a bundle, to be served elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recdl.commands.ingredients import candidates, learned_from, log_of_run, model_of_run, split_of_run
from recdl.evaluation.records import RunRecord
from recdl.schemas import ExportSettings
from recdl.serving.bundle import check_bundle_folder, write_bundle
from recdl.serving.checkpoints import read_model_checkpoint
from recdl.signatures import checked_settings


def export(config: Mapping[str, Any]) -> None:
    """Write a bundle and print the folder it lies in.

    Args:
        config: As `recdl.config.compose("export", ...)` gives it.

    Raises:
        RecdlError: If the run or its log is not whole, or the folder is taken.
    """
    settings = checked_settings(ExportSettings, config)
    record = RunRecord.open(Path(settings.run))
    folder = Path(settings.bundle) if settings.bundle else Path("bundles", record.folder.resolve().name)
    check_bundle_folder(folder, overwrite=settings.overwrite)
    checkpoint = None if settings.checkpoint is None else read_model_checkpoint(record, settings.checkpoint)
    model = model_of_run(record, None if checkpoint is None else checkpoint.state)  # it fits what the bundle says
    onnx = None
    if settings.onnx:
        from recdl.serving.onnx_model import onnx_model

        onnx = onnx_model(model, seed=record.identity.seed)
    log = log_of_run(record, prepared=settings.prepared, progress=settings.progress)
    rule = record.config["evaluation"].get("candidates", "trained")  # a run of an earlier version has none
    allowed = candidates(learned_from(record, split_of_run(record, log)), rule)
    write_bundle(
        folder,
        record,
        log,
        candidates=allowed,
        checkpoint=checkpoint,
        onnx=onnx,
        overwrite=settings.overwrite,
    )
    print(folder)
