"""Prepare and split a CSV log with RecBole, and print the seconds: `python recbole_preparation.py log.csv`."""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from recbole.config import Config
from recbole.data import create_dataset

_NAME = "log"
_COLUMNS = {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}


def main() -> None:
    """Prepare, and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    options.add_argument("log", help="a CSV file of user_id, item_id, timestamp")
    options.add_argument("--core", type=int, default=5, help="events that users and items must have")
    arguments = options.parse_args()
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    log = Path(arguments.log).resolve()
    with tempfile.TemporaryDirectory(prefix="recdl-recbole-") as folder, contextlib.chdir(folder):
        _write_atomic(log, Path(folder))
        started = time.perf_counter()
        enough = f"[{arguments.core},inf)"
        settings = {
            "data_path": folder,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "user_inter_num_interval": enough,
            "item_inter_num_interval": enough,
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
        }
        dataset = create_dataset(Config(model="BPR", dataset=_NAME, config_dict=settings))
        train, _, _ = dataset.build()
        seconds = time.perf_counter() - started
    counts = {"events": len(dataset.inter_feat), "users": dataset.user_num - 1, "items": dataset.item_num - 1}
    print(json.dumps({"seconds": seconds, **counts, "train_events": len(train.inter_feat)}))


def _write_atomic(log: Path, folder: Path) -> None:
    """Write the log the way RecBole reads it; this is not counted."""
    (folder / _NAME).mkdir()
    for number, part in enumerate(pd.read_csv(log, dtype=str, chunksize=1_000_000)):
        path = folder / _NAME / f"{_NAME}.inter"
        part.rename(columns=_COLUMNS).to_csv(path, sep="\t", index=False, header=not number, mode="a")


if __name__ == "__main__":
    main()
