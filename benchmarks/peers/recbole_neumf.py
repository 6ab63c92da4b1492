"""Train RecBole's NeuMF for some seconds and print its rate: `python recbole_neumf.py log.parquet`."""

import contextlib
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from timing import Meter, parser, read_indexed, report

_NAME = "log"


class EndlessLoader:
    """Gives the batches of RecBole's own loader, epoch after epoch, until the meter's time is up."""

    shuffle = False  # asked for by the trainer; the loader within shuffles by itself

    def __init__(self, loader: Any, meter: Meter) -> None:
        self._loader = loader
        self._meter = meter

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        while True:
            for batch in self._loader:
                yield batch
                if not self._meter.add(len(batch)):  # asked for the next batch: this one's step is done
                    return


def main() -> None:
    """Prepare, train, and print one JSON line."""
    options = parser(__doc__.partition(":")[0])
    options.add_argument("--batch-size", type=int, default=4096, help="samples a step (default: %(default)s)")
    options.add_argument("--n-negatives", type=int, default=4, help="a positive (default: %(default)s)")
    arguments = options.parse_args()
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    log = Path(arguments.log).resolve()
    # RecBole leaves a folder of TensorBoard events wherever it is run.
    with tempfile.TemporaryDirectory(prefix="recdl-recbole-") as folder, contextlib.chdir(folder):
        write_atomic(log, Path(folder), _NAME)
        started = time.perf_counter()
        config = Config(model="NeuMF", dataset=_NAME, config_dict=_settings(arguments, folder))
        init_seed(config["seed"], True)
        train, _, _ = data_preparation(config, create_dataset(config))
        preparation = time.perf_counter() - started
        model = get_model("NeuMF")(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], "NeuMF")(config, model)
        torch.set_num_threads(arguments.threads)
        meter = Meter(warm_up=arguments.warm_up, seconds=arguments.seconds)
        trainer._train_epoch(EndlessLoader(train, meter), 0)
    report(side="recbole NeuMF", unit="samples/s", **meter.figures(), preparation_seconds=preparation)


def write_atomic(log: Path, folder: Path, name: str) -> None:
    """Write the log the way RecBole reads it; this is not counted as its preparation."""
    (folder / name).mkdir()
    read_indexed(log).rename(
        columns={"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
    ).to_csv(folder / name / f"{name}.inter", sep="\t", index=False)


def _settings(arguments: Namespace, folder: str) -> dict[str, Any]:
    negatives = {"distribution": "uniform", "sample_num": arguments.n_negatives, "alpha": 1.0, "dynamic": False}
    return {
        "data_path": folder,
        "checkpoint_dir": folder,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "mf_embedding_size": 16,
        "mlp_embedding_size": 32,
        "mlp_hidden_size": [32, 16],
        "dropout_prob": 0.0,
        "learner": "adam",
        "learning_rate": 1e-3,
        "train_batch_size": arguments.batch_size,
        "train_neg_sample_args": {**negatives, "candidate_num": 0},
        "device": "cpu",
        "use_gpu": False,
        "gpu_id": "",
        "worker": 0,
        "show_progress": False,
        "state": "ERROR",
    }


if __name__ == "__main__":
    main()
