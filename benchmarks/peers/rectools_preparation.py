"""Prepare and split a CSV log with RecTools, and print the seconds: `python rectools_preparation.py log.csv`."""

import argparse
import json
import time

import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.model_selection import LastNSplitter


def main() -> None:
    """Prepare, and print one JSON line."""
    options = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    options.add_argument("log", help="a CSV file of user_id, item_id, timestamp")
    options.add_argument("--core", type=int, default=5, help="events that users and items must have")
    arguments = options.parse_args()
    started = time.perf_counter()
    log = pd.read_csv(arguments.log).drop_duplicates()
    n_before = -1
    while len(log) != n_before:  # RecTools leaves filtering to its user
        n_before = len(log)
        for name in ("user_id", "item_id"):
            log = log[log.groupby(name)[name].transform("size") >= arguments.core]
    log = log.rename(columns={"timestamp": Columns.Datetime})
    log[Columns.Datetime] = pd.to_datetime(log[Columns.Datetime], unit="s")
    log[Columns.Weight] = 1.0
    dataset = Dataset.construct(log)
    splitter = LastNSplitter(2, filter_cold_users=False, filter_cold_items=False, filter_already_seen=False)
    ((train, _, _),) = splitter.split(dataset.interactions)
    seconds = time.perf_counter() - started
    counts = {"events": len(log), "users": dataset.user_id_map.size, "items": dataset.item_id_map.size}
    print(json.dumps({"seconds": seconds, **counts, "train_events": len(train)}))


if __name__ == "__main__":
    main()
