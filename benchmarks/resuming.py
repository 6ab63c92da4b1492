"""Time what it costs that a run can be killed and gone on with, in one process, and what a start takes.

machinery    what is done at every batch so that it can be gone on with, and to find a gradient that is no number:
             shares of a NeuMF epoch
checkpoints  what is written at the default interval, and after each epoch that is the best so far: share of time
start        seconds from the command `train.py` to its first checkpoint after one step, on a prepared log, and
             those that its imports take

python benchmarks/resuming.py --log S
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from logs import add_log_options, find_log
from measuring import available_cores, emit
from neighbors import interactions
from peers.timing import read_indexed

from recdl.data.interactions import Interactions
from recdl.data.sampling import Negatives
from recdl.models.networks.neumf import NeuMF
from recdl.training.checkpoints import CheckpointFolder
from recdl.training.course import Course
from recdl.training.factorization import FactorizationRecommender
from recdl.training.modules import FitModule
from recdl.training.settings import CheckpointSettings, TrainerSettings

_TRAIN = Path(__file__).resolve().parents[1] / "scripts" / "train.py"
# As the command does it.
_IMPORTS = "import gc; gc.disable(); import recdl.commands.train, recdl.training.factorization; print(flush=True)"


def main() -> None:
    """Measure each task and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_log_options(parser)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="what is measured")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is done (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of torch (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    path = find_log(arguments.log, arguments.folder)
    for task in arguments.tasks:
        emit(task=task, log=arguments.log, threads=arguments.threads, **TASKS[task](path, arguments.rounds))


class _Clock:
    """Adds up what some methods take.

    Attributes:
        seconds: By method.
        calls: By method.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def timed(self, owner: type, name: str) -> Any:
        """Return a patch of a method that is timed."""
        method: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                self.seconds[name] += time.perf_counter() - started
                self.calls[name] += 1

        return patch.object(owner, name, call)


def _fitted(log: Interactions, epochs: int, checkpoint: CheckpointSettings, folder: str) -> float:
    """Return the seconds of all epochs but the first."""
    trainer = TrainerSettings(
        accelerator="cpu", max_epochs=epochs, progress_bar=False, checkpoint=checkpoint, folder=Path(folder)
    )
    model = FactorizationRecommender(
        NeuMF, loss="bce", negatives=Negatives(n=4), batch_size=819, trainer=trainer
    ).fit(log)
    return sum(entry["seconds"] for entry in model.learning_curve_)


def _machinery(path: Path, rounds: int) -> dict[str, Any]:
    log, clock = interactions(read_indexed(path)), _Clock()
    never = CheckpointSettings(every_minutes=1e9)
    with (
        tempfile.TemporaryDirectory() as folder,
        clock.timed(Course, "on_train_batch_start"),
        clock.timed(FitModule, "_check_gradient"),
    ):
        seconds = _fitted(log, rounds, never, folder)
    return {
        "share": clock.seconds["on_train_batch_start"] / seconds,
        "share_of_gradient_check": clock.seconds["_check_gradient"] / seconds,
        "epoch_seconds": seconds / rounds,
    }


def _checkpoints(path: Path, rounds: int) -> dict[str, Any]:
    log, clock = interactions(read_indexed(path)), _Clock()
    steps = CheckpointSettings(every_minutes=None, every_steps=200)
    with (
        tempfile.TemporaryDirectory() as folder,
        clock.timed(Course, "_write"),
        clock.timed(CheckpointFolder, "write_finished"),
    ):
        seconds = _fitted(log, rounds, steps, folder)
        size = sum(one.stat().st_size for one in Path(folder).rglob("finished.ckpt"))
        clock_best = _Clock()
        with clock_best.timed(CheckpointFolder, "write_best"):
            best = CheckpointFolder(Path(folder) / "best")
            weights = torch.load(next(Path(folder).rglob("finished.ckpt")), weights_only=True)["module"]
            for epoch in range(rounds):
                best.write_best(epoch, weights, best=lambda n: [n - 1])
    one = clock.seconds["_write"] / clock.calls["_write"]
    best_seconds = clock_best.seconds["write_best"] / rounds
    epoch = (seconds - clock.seconds["_write"]) / rounds
    return {
        "share": one / max(60 * (CheckpointSettings().every_minutes or 1), 50 * one) + best_seconds / epoch,
        "seconds_to_write": one,
        "seconds_to_write_best": best_seconds,
        "epoch_seconds": epoch,
        "weights_mb": size / 2**20,
    }


def _start(path: Path, rounds: int) -> dict[str, Any]:
    found, imports = [], []
    columns = "{user: user_id, item: item_id, behavior: null, timestamp: timestamp}"
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):  # the first prepares the log
            run = Path(folder) / f"run{number}"
            arguments = [
                "data=parquet",
                f"data.path={path}",
                f"data.columns={columns}",
                f"prepared_root={folder}/prepared",
                "model=neumf",
                "trainer.checkpoint.every_steps=1",
                "progress=false",
                f"run_dir={run}",
            ]
            started = time.perf_counter()
            process = subprocess.Popen([sys.executable, str(_TRAIN), *arguments], stdout=subprocess.DEVNULL)
            while not list(run.glob("checkpoints/last-*.ckpt")):
                if process.poll() is not None:
                    sys.exit(f"train.py ended with status {process.returncode} before its first step")
                time.sleep(0.005)
            found.append(time.perf_counter() - started)
            process.kill()
            process.wait()
            started = time.perf_counter()
            with subprocess.Popen([sys.executable, "-c", _IMPORTS], stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                imports.append(time.perf_counter() - started)
    return {"seconds": min(found[1:]), "imports": min(imports[1:])}


TASKS = {"machinery": _machinery, "checkpoints": _checkpoints, "start": _start}


if __name__ == "__main__":
    main()
