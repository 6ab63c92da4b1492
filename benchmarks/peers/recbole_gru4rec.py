"""Train RecBole's GRU4Rec for some seconds and print its rate: `python recbole_gru4rec.py log.parquet`.

It stores each history once for every event that it predicts, and predicts one event of each.
"""

import contextlib
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from recbole_neumf import EndlessLoader, write_atomic
from timing import Meter, parser, report

_NAME = "log"


def main() -> None:
    """Prepare, train, and print one JSON line."""
    options = parser(__doc__.partition(":")[0])
    options.add_argument("--hidden-size", type=int, default=100, help="(default: %(default)s)")
    options.add_argument("--max-length", type=int, default=50, help="of a history (default: %(default)s)")
    options.add_argument("--batch-size", type=int, default=2048, help="targets a step (default: %(default)s)")
    arguments = options.parse_args()
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    log = Path(arguments.log).resolve()
    with tempfile.TemporaryDirectory(prefix="recdl-recbole-") as folder, contextlib.chdir(folder):
        write_atomic(log, Path(folder), _NAME)
        started = time.perf_counter()
        config = Config(model="GRU4Rec", dataset=_NAME, config_dict=_settings(arguments, folder))
        init_seed(config["seed"], True)
        train, _, _ = data_preparation(config, create_dataset(config))
        preparation = time.perf_counter() - started
        model = get_model("GRU4Rec")(config, train.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], "GRU4Rec")(config, model)
        torch.set_num_threads(arguments.threads)
        meter = Meter(warm_up=arguments.warm_up, seconds=arguments.seconds)
        trainer._train_epoch(EndlessLoader(train, meter), 0)
    report(side="recbole GRU4Rec", unit="targets/s", **meter.figures(), preparation_seconds=preparation)


def _settings(arguments: Namespace, folder: str) -> dict[str, Any]:
    return {
        "data_path": folder,
        "checkpoint_dir": folder,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "embedding_size": arguments.hidden_size,
        "hidden_size": arguments.hidden_size,
        "num_layers": 1,
        "dropout_prob": 0.0,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "MAX_ITEM_LIST_LENGTH": arguments.max_length,
        "learner": "adam",
        "learning_rate": 1e-3,
        "train_batch_size": arguments.batch_size,
        "device": "cpu",
        "use_gpu": False,
        "gpu_id": "",
        "worker": 0,
        "show_progress": False,
        "state": "ERROR",
    }


if __name__ == "__main__":
    main()
