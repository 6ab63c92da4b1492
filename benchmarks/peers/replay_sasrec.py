"""Train RePlay's SasRec for some seconds and print its rate: `python replay_sasrec.py log.parquet`.

RePlay has two of them: that of `replay.nn`, and the older one of `replay.models.nn`, which it calls deprecated.
"""

import logging
import tempfile
import time
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import (
    PandasSequentialDataset,
    ParquetModule,
    TensorFeatureInfo,
    TensorFeatureSource,
    TensorSchema,
)
from replay.models.nn.sequential import sasrec as legacy
from replay.nn.lightning import LightningModule
from replay.nn.loss import CESampled
from replay.nn.sequential import SasRec
from replay.nn.transform import UniformNegativeSamplingTransform
from replay.nn.transform.template import make_default_sasrec_transforms
from timing import Meter, parser, read_indexed, report

_HELD_OUT = 2  # last events of each user that are for validation and test
_ITEM = "item_id"
_SHAPE = {"num_blocks": 2, "num_heads": 1}


class StopInTime(lightning.Callback):
    """Counts the targets of each step, and stops training once the meter's time is up."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count what was predicted: positions that are no padding."""
        trainer.should_stop = not self._meter.add(int(batch["target_padding_mask"].sum()))


def main() -> None:
    """Prepare, train, and print one JSON line."""
    options = parser(__doc__.partition(":")[0])
    options.add_argument("--hidden-size", type=int, default=100, help="(default: %(default)s)")
    options.add_argument("--max-length", type=int, default=50, help="of a window (default: %(default)s)")
    options.add_argument("--batch-size", type=int, default=128, help="windows a step (default: %(default)s)")
    options.add_argument("--n-negatives", type=int, help="of a sampled softmax; without it, the full one")
    options.add_argument("--legacy", action="store_true", help="the model of replay.models.nn")
    arguments = options.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(prefix="recdl-replay-") as folder:
        started = time.perf_counter()
        schema, histories = _read(arguments)
        if arguments.legacy:
            model, data = _legacy(arguments, schema, histories)
        else:
            model, data = _current(arguments, schema, histories, Path(folder))
        preparation = time.perf_counter() - started
        meter = Meter(warm_up=arguments.warm_up, seconds=arguments.seconds)
        _trainer(StopInTime(meter)).fit(model, data)
    side = "replay SasRec (legacy)" if arguments.legacy else "replay SasRec"
    report(side=side, unit="targets/s", **meter.figures(), preparation_seconds=preparation)


def _read(arguments: Namespace) -> tuple[TensorSchema, pd.DataFrame]:
    """Return the schema, and a row a user: `user_id`, and `item_id`, an int64 array of its train events."""
    log = read_indexed(arguments.log)
    n_items = int(log[_ITEM].max()) + 1
    train = log[log.groupby("user_id").cumcount(ascending=False) >= _HELD_OUT]
    users, firsts = np.unique(train["user_id"], return_index=True)
    item = TensorFeatureInfo(
        _ITEM,
        FeatureType.CATEGORICAL,
        is_seq=True,
        feature_hint=FeatureHint.ITEM_ID,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, _ITEM)],
        cardinality=n_items,
        padding_value=n_items,
        embedding_dim=arguments.hidden_size,
    )
    histories = np.split(train[_ITEM].to_numpy(), firsts[1:])
    return TensorSchema(item), pd.DataFrame({"user_id": users, _ITEM: histories})


def _current(arguments: Namespace, schema: TensorSchema, histories: pd.DataFrame, folder: Path) -> tuple[Any, Any]:
    """Return the module and data of `replay.nn`."""
    length = arguments.max_length + 1  # an input and its target overlap in all but one event
    windows = [
        {_ITEM: history[start : start + length]}
        for history in histories[_ITEM]
        for start in range(0, len(history) - 1, arguments.max_length)
    ]
    pd.DataFrame(windows).to_parquet(folder / "train.parquet")
    item = schema.item_id_features.item()
    transforms = make_default_sasrec_transforms(schema)["train"]
    model = SasRec.from_params(
        schema,
        embedding_dim=arguments.hidden_size,
        max_sequence_length=arguments.max_length,
        dropout=0.0,
        **_SHAPE,
    )
    if arguments.n_negatives is not None:
        transforms.append(UniformNegativeSamplingTransform(item.cardinality, arguments.n_negatives))
        model = SasRec(model.body, CESampled())
    data = ParquetModule(
        batch_size=arguments.batch_size,
        metadata={"train": {_ITEM: {"shape": length, "padding": item.padding_value}}},
        transforms={"train": transforms},
        train_path=str(folder / "train.parquet"),
    )
    return LightningModule(model), data


def _legacy(arguments: Namespace, schema: TensorSchema, histories: pd.DataFrame) -> tuple[Any, Any]:
    """Return the module and loader of `replay.models.nn`."""
    sampled = {"loss_sample_count": arguments.n_negatives, "negatives_sharing": arguments.n_negatives is not None}
    model = legacy.SasRec(
        schema,
        block_count=_SHAPE["num_blocks"],
        head_count=_SHAPE["num_heads"],
        hidden_size=arguments.hidden_size,
        max_seq_len=arguments.max_length,
        dropout_rate=0.0,
        loss_type="CE",
        **sampled,
    )
    windows = legacy.SasRecTrainingDataset(
        PandasSequentialDataset(schema, "user_id", _ITEM, histories),
        max_sequence_length=arguments.max_length,
        sliding_window_step=arguments.max_length,
    )
    loader = torch.utils.data.DataLoader(windows, batch_size=arguments.batch_size, shuffle=True, num_workers=0)
    return model, loader


def _trainer(callback: lightning.Callback) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=1000,
        limit_val_batches=0,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


if __name__ == "__main__":
    main()
