"""What is logged once a run has finished: its hyperparameters with final metrics, and its vectors of items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Setting = str | int | float
"""What a hyperparameter is logged as."""


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """What a model has learned of items, to be looked at.

    Attributes:
        vectors: (n, d) float32.
        columns: Names of what is known of each item.
        rows: (n) of these, as text.
    """

    vectors: npt.NDArray[np.float32]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@runtime_checkable
class FinalTracking(Protocol):
    """A tracking that shows finished runs side by side."""

    @property
    def projector_items(self) -> int:
        """How many items' vectors `finish` takes, the most popular ones; 0: none."""
        ...

    def finish(
        self,
        folder: Path,
        *,
        settings: Mapping[str, Setting],
        metrics: Mapping[str, float],
        items: ItemVectors | None,
    ) -> None:
        """Log the hyperparameters of a finished run with its final metrics, and what it learned of items."""
        ...


def write_final_events(
    folder: Path, *, settings: Mapping[str, Setting], metrics: Mapping[str, float], items: ItemVectors | None
) -> None:
    """Write a run's row of TensorBoard's HParams tab, its final metrics as scalars, and the projector's items.

    Args:
        folder: Of the run's event files.
        settings: Hyperparameters by name.
        metrics: By name.
        items: None shows none.
    """
    from torch.utils.tensorboard.summary import hparams
    from torch.utils.tensorboard.writer import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for summary in hparams(dict(settings), dict(metrics)):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for name, value in metrics.items():
            writer.add_scalar(name, value)
        if items is not None:
            # A row a line: line breaks and tabs would tear the table apart.
            rows = [[" ".join(cell.split()) for cell in row] for row in items.rows]
            writer.add_embedding(
                np.ascontiguousarray(items.vectors), rows, tag="items", metadata_header=list(items.columns)
            )
