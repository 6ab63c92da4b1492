"""A checkpoint of a run in place of what the run kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recdl.errors import RecordError
from recdl.evaluation.records import RunRecord
from recdl.models.protocol import State

_NETWORK, _AVERAGE, _ENCODERS = "network.", "average.network.", "encoders."


@dataclass(frozen=True, eq=False)
class ModelCheckpoint:
    """What a model had learned at some epoch of its run.

    Attributes:
        name: Of the file.
        state: For `set_state`.
        metrics: On validation at that epoch ("validation/ndcg@10"); none where the run has no such figure.
    """

    name: str
    state: State
    metrics: Mapping[str, float]


def read_model_checkpoint(record: RunRecord, name: str) -> ModelCheckpoint:
    """Read a checkpoint of a run.

    Args:
        record: The run.
        name: Of a file in the run's `checkpoints`, or its path.

    Raises:
        RecordError: If there is none, it is damaged, or it is of another model.
    """
    from recdl.training.checkpoints import read_checkpoint

    path = _find(record, name)
    content = read_checkpoint(path)
    weights = content.get("module")
    if not isinstance(weights, Mapping):
        raise RecordError(f"{path} holds no weights of a model")
    known = record.state()
    state = dict(known)
    for key, array in known.items():
        found = _weights_of(weights, key)
        if found is None:
            continue
        if tuple(found.shape) != array.shape:
            raise RecordError(
                f"{path} is a checkpoint of another model: its {key} is of shape {tuple(found.shape)}, that of the"
                f" run in {record.folder} of {array.shape}"
            )
        state[key] = found.detach().cpu().numpy()
    missing = [key for key in known if key.startswith(_NETWORK) and _weights_of(weights, key) is None]
    if missing or not any(key.startswith(_NETWORK) for key in known):
        what = f"it has no {missing[0]}" if missing else "the run's model is no network that epochs are kept of"
        raise RecordError(f"{path} is a checkpoint of another model: {what}")
    return ModelCheckpoint(path.name, state, _metrics(record, content))


def _find(record: RunRecord, name: str) -> Path:
    folder = record.folder / "checkpoints"
    for path in (folder / name, Path(name)):
        if path.is_file():
            return path
    found = ", ".join(sorted(path.name for path in folder.glob("*.ckpt"))) or "none"
    raise RecordError(f"the run in {record.folder} has no checkpoint {name}; it has {found}")


def _weights_of(weights: Mapping[str, Any], key: str) -> Any:
    """Return a part of the model's state from a module's: of a running average, where there is one."""
    if key.startswith(_NETWORK):
        own = key.removeprefix(_NETWORK)
        return weights.get(f"{_AVERAGE}{own}", weights.get(key))
    if key.startswith(_ENCODERS):
        return weights.get(f"sides.{key}")
    return None


def _metrics(record: RunRecord, content: Mapping[str, Any]) -> dict[str, float]:
    epoch = content.get("epoch")
    if epoch is None:  # written on the way: it is of no epoch's end
        return {}
    entry = next((entry for entry in record.learning_curve if entry["epoch"] == epoch), {})
    return {name: value for name, value in entry.items() if name.startswith("validation/")}
