"""Measure recdl's training and evaluation through `scripts/train.py`, with a peer's training before and after.

Each line of output is one measurement, as JSON; README.md says how to read them.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from logs import add_log_options, find_log
from measuring import available_cores, emit, last_json, run

from recdl.config import build, compose
from recdl.data.preparation import prepare
from recdl.data.sampling import Pairs
from recdl.errors import RecdlError

_HERE = Path(__file__).resolve().parent
_TRAIN = _HERE.parent / "scripts" / "train.py"

_NEUMF = {
    "model": "neumf",
    "model.network.mf_embedding_size": 16,
    "model.network.mlp_embedding_size": 32,
    "model.network.mlp_sizes": "[32,16]",
    "model.network.dropout": 0.0,
    "model.network.item_bias": "false",
    "model.learning_rate": 1e-3,
    "model.batch_size": 819,  # positives: with their negatives 4,095 samples, as RecBole makes of 4,096
    "model.loss": "bce",
    "model.negatives.n": 4,
}
_LSTM = {
    "model": "lstm",
    "model.network.embedding_size": 100,
    "model.network.hidden_size": 100,
    "model.network.embedding_dropout": 0.0,
    "model.network.hidden_dropout": 0.0,
    "model.learning_rate": 1e-3,
    "model.batch_size": 128,
    "model.max_length": 50,
    "model.loss.n_negatives": 2048,
}
_SASREC = {
    "model": "sasrec",
    "model.network.embedding_size": 100,
    "model.network.n_layers": 2,
    "model.network.n_heads": 1,
    "model.network.feedforward_size": 100,
    "model.network.embedding_dropout": 0.0,
    "model.network.hidden_dropout": 0.0,
    "model.learning_rate": 1e-3,
    "model.batch_size": 128,
    "model.max_length": 50,
    "model.loss.n_negatives": 2048,
}
MODELS = {
    "neumf": _NEUMF,
    "lstm-full": _LSTM | {"model.loss.kind": "full"},
    "lstm-sampled": _LSTM | {"model.loss.kind": "sampled"},
    "sasrec-full": _SASREC | {"model.loss.kind": "full"},
    "sasrec-sampled": _SASREC | {"model.loss.kind": "sampled"},
}
"""What is trained, with which settings."""

_SAMPLED = ["--n-negatives", "2048"]
PEERS = {
    ("recbole", "neumf"): ["recbole_neumf.py", "--batch-size", "4096", "--n-negatives", "4"],
    ("lazy", "neumf"): ["lazy_loop.py", "--batch-size", "819", "--n-negatives", "4"],
    ("recbole", "lstm-full"): ["recbole_gru4rec.py"],
    ("recbole", "lstm-sampled"): ["recbole_gru4rec.py"],
    ("bare", "lstm-sampled"): ["lstm_loop.py", *_SAMPLED],
    ("rectools", "sasrec-full"): ["rectools_sasrec.py"],
    ("replay", "lstm-full"): ["replay_sasrec.py"],
    ("replay", "lstm-sampled"): ["replay_sasrec.py", *_SAMPLED],
    ("replay", "sasrec-full"): ["replay_sasrec.py"],
    ("replay", "sasrec-sampled"): ["replay_sasrec.py", *_SAMPLED],
    ("replay-legacy", "lstm-full"): ["replay_sasrec.py", "--legacy"],
    ("replay-legacy", "lstm-sampled"): ["replay_sasrec.py", "--legacy", *_SAMPLED],
}
"""The program that trains a peer's counterpart of a model."""


def main() -> None:
    """Measure the peer, recdl, and the peer again."""
    arguments = _arguments()
    log = find_log(arguments.log, arguments.folder)
    common = {"model": arguments.model, "log": arguments.log, "threads": arguments.threads}
    overrides = _overrides(arguments, log)
    try:
        config = compose("train", overrides)
        per_epoch = _samples(config)  # prepares the log too, so that the run to be measured only opens it
    except RecdlError as error:
        raise SystemExit(f"error: {error}") from error
    before = _measure_peer(arguments, log, common)
    ours = _measure_recdl(arguments, overrides, per_epoch, Path(config["run_dir"]), common)
    after = _measure_peer(arguments, log, common)
    if before is not None and after is not None:
        # Against the better of its two runs: what slowed the other down was not the peer.
        rate = max(before, after)
        emit(**common, ratio=ours / rate, against=arguments.peer, ours=ours, peer=[round(before), round(after)])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS, help="what to train")
    add_log_options(parser)
    parser.add_argument("--epochs", type=int, default=3, help="the first is not counted (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=available_cores(), help="of either side (default: all cores, %(default)s)"
    )
    parser.add_argument("--peer", choices=sorted({peer for peer, _ in PEERS}), help="whom to measure beside it")
    parser.add_argument("--peer-python", metavar="PATH", help="the Python of the peer's environment")
    parser.add_argument("--peer-seconds", type=float, default=15.0, help="each time (default: %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of train.py")
    arguments = parser.parse_args()
    if (arguments.peer is None) != (arguments.peer_python is None):
        parser.error("--peer and --peer-python go together")
    if arguments.peer is not None and (arguments.peer, arguments.model) not in PEERS:
        parser.error(f"--peer {arguments.peer} has no counterpart of {arguments.model}")
    if arguments.epochs < 2:
        parser.error("--epochs must be at least 2: the first is not counted")
    return arguments


def _measure_peer(arguments: argparse.Namespace, log: Path, common: dict[str, Any]) -> float | None:
    """Print a line, and return the peer's rate; None without a peer."""
    if arguments.peer is None:
        return None
    program, *options = PEERS[arguments.peer, arguments.model]
    seconds = ["--seconds", str(arguments.peer_seconds), "--threads", str(arguments.threads)]
    command = [arguments.peer_python, _HERE / "peers" / program, log, *options, *seconds]
    printed, cost = run(command, threads=arguments.threads)
    figures = last_json(printed)
    emit(**figures, **common, **cost.row())
    return float(figures["rate"])


def _overrides(arguments: argparse.Namespace, log: Path) -> list[str]:
    """Return the command line of `scripts/train.py`."""
    folder = arguments.folder.resolve()
    settings = {
        "data": "parquet",
        "data.path": log,
        "split": "leave_last_out",
        **MODELS[arguments.model],
        "trainer.accelerator": "cpu",
        "trainer.max_epochs": arguments.epochs,
        "trainer.patience": arguments.epochs,
        "prepared_root": folder / "prepared",
        "run_dir": folder / "runs" / f"{arguments.model}-{log.stem}",
        "overwrite": "true",
    }
    return [f"{key}={value}" for key, value in settings.items()] + arguments.set


def _measure_recdl(
    arguments: argparse.Namespace, overrides: list[str], per_epoch: int, folder: Path, common: dict[str, Any]
) -> float:
    """Print a line, and return recdl's rate, given what an epoch trains on and where the run record goes."""
    _, cost = run([sys.executable, _TRAIN, *overrides], threads=arguments.threads, capture=False)
    epochs = [entry["seconds"] for entry in json.loads((folder / "learning_curve.json").read_text())]
    metrics = json.loads((folder / "metrics.json").read_text())
    epoch = statistics.median(epochs[1:])
    emit(
        side="recdl",
        unit="samples/s" if arguments.model == "neumf" else "targets/s",
        rate=per_epoch / epoch,
        epoch_seconds=epoch,
        epochs=[round(seconds, 2) for seconds in epochs],
        evaluation_seconds=metrics["time/test_seconds"],
        evaluation_to_epoch=metrics["time/test_seconds"] / epoch,
        **common,
        settings=arguments.set,
        **cost.row(),
    )
    return per_epoch / epoch


def _samples(config: dict[str, Any]) -> int:
    """Return what an epoch trains on: pairs with their negatives, or events that are predicted."""
    prepared = prepare(build(config["data"], group="data"), Path(config["prepared_root"]), progress=False)
    splitter = build(config["split"], group="split")
    train = splitter.split(prepared.interactions, data_fingerprint=prepared.fingerprint).train
    if config["names"]["model"] == "neumf":
        return len(Pairs.of(train).users) * (1 + config["model"]["negatives"]["n"])
    return train.n_events


if __name__ == "__main__":
    main()
