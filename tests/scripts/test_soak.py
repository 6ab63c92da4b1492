"""For minutes: train, kill, go on, evaluate, again and again; nothing may drift, nothing may be left open."""

import os
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from recdl.data.interactions import Interactions
from recdl.data.sampling import Negatives
from recdl.models.networks.neumf import NeuMF
from recdl.models.protocol import RankingTask
from recdl.models.ranking import rank
from recdl.training.factorization import FactorizationRecommender
from recdl.training.settings import CheckpointSettings, TrainerSettings
from recdl.training.tracking import TensorBoardTracking
from tests.scripts.command_line import SHOP, succeed
from tests.scripts.test_resuming import NETWORK, cut_off, outcome, position, started

pytestmark = pytest.mark.slow

_CYCLES = 60
_STEADY = 20  # cycles after which nothing more may grow
_MEMORY = 32 * 2**20


class _StopError(Exception):
    """Ends a fit after an epoch."""


def _model(folder: Path, *, stop_after: int | None) -> FactorizationRecommender:
    def stop(entry: Mapping[str, float]) -> None:
        if entry["epoch"] == stop_after:
            raise _StopError

    trainer = TrainerSettings(
        accelerator="cpu",
        max_epochs=6,
        patience=6,
        checkpoint=CheckpointSettings(every_steps=3),
        progress_bar=False,
        tracking=TensorBoardTracking(),
        folder=folder,
        resume=stop_after is None or stop_after > 1,
        after_epoch=stop,
    )
    network = partial(NeuMF, mf_embedding_size=8, mlp_embedding_size=8, mlp_sizes=(8, 4), dropout=0.2)
    return FactorizationRecommender(
        network, loss="bpr", negatives=Negatives(n=2), batch_size=4, learning_rate=0.02, trainer=trainer
    )


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count what is open")
def test_cycles_of_stopping_and_going_on_drift_nowhere_and_leave_nothing_open(
    two_tastes: tuple[Interactions, RankingTask], tmp_path: Path
) -> None:
    expected: tuple[bytes, bytes] | None = None
    n_open = memory = 0
    for cycle in range(_CYCLES):
        folder = tmp_path / f"run{cycle}"
        for stop_after in (1, 3):
            with pytest.raises(_StopError):
                _model(folder, stop_after=stop_after).fit(*two_tastes)
        model = _model(folder, stop_after=None).fit(*two_tastes)
        ranks = rank(model, two_tastes[1], k=10).ranks
        weights = b"".join(np.asarray(array).tobytes() for array in model.get_state().values())
        expected = expected or (weights, ranks.tobytes())
        assert (weights, ranks.tobytes()) == expected, f"cycle {cycle}"
        if cycle == _STEADY:
            n_open, memory = _open_files(), _resident()
    assert _open_files() <= n_open
    assert _resident() - memory < _MEMORY


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    arguments = [
        *SHOP,
        *NETWORK,
        "trainer.max_epochs=40",
        "trainer.patience=40",
        "trainer.checkpoint.every_steps=2",
    ]
    succeed(tmp_path, "train.py", *arguments, "run_dir=runs/whole")
    cut = tmp_path / "runs" / "cut"
    process = started(tmp_path, *arguments, "run_dir=runs/cut")
    for kill in range(8):
        epochs = 4 * (kill + 1)
        cut_off(process, cut, at=(epochs, kill), by=(signal.SIGKILL, signal.SIGTERM)[kill % 2])
        assert position(cut) >= (epochs, kill)
        time.sleep(0.1)
        process = started(tmp_path, "resume=runs/cut")
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed
    assert outcome(cut) == outcome(tmp_path / "runs" / "whole")
