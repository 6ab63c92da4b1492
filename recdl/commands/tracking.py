"""Log what came of a run beside its record: hyperparameters with final metrics, and its vectors of items."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recdl.data.interactions import Interactions
from recdl.data.prepared import PreparedLog
from recdl.evaluation.background import item_labels
from recdl.evaluation.records import RunRecord
from recdl.models.protocol import ItemEmbedded, Recommender
from recdl.training.final_tracking import FinalTracking, ItemVectors, Setting
from recdl.training.tracking import Tracking

_FURTHER = ("time/fit_seconds", "model/n_parameters", "model/state_bytes")


def track(
    tracking: Tracking, record: RunRecord, model: Recommender, log: PreparedLog, learned_from: Interactions
) -> None:
    """Log a finished run, where the tracking has something to show of such.

    Args:
        tracking: Where.
        record: The run.
        model: Fitted.
        log: That it was trained on.
        learned_from: The part of it that the model learned from.
    """
    if not isinstance(tracking, FinalTracking):
        return
    items = None
    if tracking.projector_items and isinstance(model, ItemEmbedded):
        items = _vectors(model, log, learned_from, tracking.projector_items)
    tracking.finish(record.folder, settings=hyperparameters(record), metrics=final_metrics(record), items=items)


def hyperparameters(record: RunRecord) -> dict[str, Setting]:
    """Return the model's name, the seed, and all settings of model and trainer, by their full key."""
    flat: dict[str, Setting] = {"model": record.identity.model, "seed": record.identity.seed}
    for group in ("model", "trainer"):
        flat |= _flatten(record.config.get(group, {}), group)
    return flat


def final_metrics(record: RunRecord) -> dict[str, float]:
    """Return what runs are told apart by: metrics at the cutoff that validation went by, time and size.

    All metrics at all cutoffs would make a table of a hundred columns; the run record has them.
    """
    monitor = str(record.config.get("trainer", {}).get("monitor", ""))
    at_cutoff = [name for name in record.metrics if "@" in name]
    cutoff = f"@{monitor.rpartition('@')[2]}"
    if not any(name.endswith(cutoff) for name in at_cutoff):
        cutoff = f"@{max((name.rpartition('@')[2] for name in at_cutoff), key=int, default='')}"
    return {
        name: float(value)
        for name, value in record.metrics.items()
        if name in _FURTHER or (name.startswith(("validation/", "test/")) and name.endswith(cutoff))
    }


def _flatten(settings: Mapping[str, Any], prefix: str) -> dict[str, Setting]:
    flat: dict[str, Setting] = {}
    for key, value in settings.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, name)
        elif key not in ("_target_", "_partial_", "progress_bar"):
            # A truth value is a number to TensorBoard, and would be shown as one.
            flat[name] = value if isinstance(value, Setting) and not isinstance(value, bool) else str(value)
    return flat


def _vectors(model: ItemEmbedded, log: PreparedLog, learned_from: Interactions, most: int) -> ItemVectors:
    """Return the vectors of the items with most events, what these are called, and how many events they have."""
    events = np.bincount(learned_from.items, minlength=learned_from.n_items)
    shown = np.argsort(-events, kind="stable")[:most]
    labels = item_labels(log.items, log.item_table, shown)
    rows = [[label, f"{count}"] for label, count in zip(labels, events[shown].tolist(), strict=True)]
    return ItemVectors(model.item_embeddings()[shown], ("item", "events"), rows)
