"""Train RecTools' SASRec for some seconds and print its rate: `python rectools_sasrec.py log.parquet`.

By the full softmax: its negatives are each position's own, 2,048 of which would take gigabytes a step.
"""

import logging
import time
import warnings
from argparse import Namespace
from typing import Any

import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from timing import Meter, parser, read_indexed, report

_HELD_OUT = 2  # last events of each user that are for validation and test


class StopInTime(Callback):
    """Counts the targets of each step, and stops training once the meter's time is up."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __deepcopy__(self, memo: Any) -> "StopInTime":
        """Stay what it is: RecTools trains with a copy of the trainer, and the meter is read afterwards."""
        return self

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count what was predicted: positions that are no padding."""
        trainer.should_stop = not self._meter.add(int((batch["y"] != 0).sum()))


def main() -> None:
    """Prepare, train, and print one JSON line."""
    options = parser(__doc__.partition(":")[0])
    options.add_argument("--hidden-size", type=int, default=100, help="(default: %(default)s)")
    options.add_argument("--max-length", type=int, default=50, help="of a history (default: %(default)s)")
    options.add_argument("--batch-size", type=int, default=128, help="histories a step (default: %(default)s)")
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(arguments.threads)
    started = time.perf_counter()
    data = _read(arguments)
    preparation = time.perf_counter() - started
    meter = Meter(warm_up=arguments.warm_up, seconds=arguments.seconds)
    _model(arguments, meter).fit(data)
    report(side="rectools SASRec", unit="targets/s", **meter.figures(), preparation_seconds=preparation)


def _read(arguments: Namespace) -> Dataset:
    log = read_indexed(arguments.log)
    train = log[log.groupby("user_id").cumcount(ascending=False) >= _HELD_OUT]
    times = pd.to_datetime(train["timestamp"], unit="s")
    return Dataset.construct(train[["user_id", "item_id"]].assign(weight=1.0, datetime=times))


def _model(arguments: Namespace, meter: Meter) -> SASRecModel:
    def trainer(**_settings: Any) -> Trainer:
        return Trainer(
            max_epochs=1000,
            accelerator="cpu",
            callbacks=[StopInTime(meter)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    return SASRecModel(
        n_factors=arguments.hidden_size,
        n_blocks=2,
        n_heads=1,
        dropout_rate=0.0,
        session_max_len=arguments.max_length,
        batch_size=arguments.batch_size,
        dataloader_num_workers=0,
        get_trainer_func=trainer,
        loss="softmax",
    )


if __name__ == "__main__":
    main()
