"""Where losses, metrics and hyperparameters are logged, beside the run record."""

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from omegaconf import OmegaConf

from recdl.errors import ConfigError
from recdl.storage import write_text
from recdl.training.final_tracking import ItemVectors, Setting, write_final_events

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

_EVENTS = "events.out.tfevents."


class Tracking(Protocol):
    """Makes the Lightning logger of one run."""

    def logger(self, folder: Path, *, step: int) -> "Logger | None":
        """Return a logger for the run whose folder is `folder`, or None to log nowhere.

        What an earlier process has logged there at `step` and later steps counts no more: it is done again.
        """
        ...


@dataclass(frozen=True)
class TensorBoardTracking:
    """TensorBoard event files in the run's folder.

    Attributes:
        subfolder: Where in the run's folder; `tensorboard --logdir runs` finds them all.
        projector_items: Of how many items, the most popular ones, the projector shows the vectors; 0: none.
    """

    subfolder: str = "tensorboard"
    projector_items: int = 2000

    def logger(self, folder: Path, *, step: int) -> "Logger | None":
        """Return a TensorBoard logger."""
        from pytorch_lightning.loggers import TensorBoardLogger

        _let_come_first(folder / self.subfolder)
        # TensorBoard itself passes over what lies at or after `purge_step` in earlier files.
        return TensorBoardLogger(folder, name=self.subfolder, version="", default_hp_metric=False, purge_step=step)

    def finish(
        self,
        folder: Path,
        *,
        settings: Mapping[str, Setting],
        metrics: Mapping[str, float],
        items: ItemVectors | None,
    ) -> None:
        """Write the run's row of the HParams tab, its final metrics as scalars, and the projector's items."""
        write_final_events(folder / self.subfolder, settings=settings, metrics=metrics, items=items)


def _let_come_first(folder: Path) -> None:
    """Rename the event files of earlier processes where they would be read after those of this one.

    They are read in the order of their names, which begin with the second that they were made in: a clock that was
    set back, or two processes within a second, would turn it.
    """
    earlier = sorted(folder.glob(f"{_EVENTS}*"))
    if earlier and earlier[-1].name >= f"{_EVENTS}{int(time.time()):010d}":
        for number, path in enumerate(earlier):
            path.rename(path.with_name(f"{_EVENTS}{number:010d}.{path.name.removeprefix(_EVENTS)}"))


@dataclass(frozen=True)
class NoTracking:
    """Logs nowhere but in the run record."""

    def logger(self, folder: Path, *, step: int) -> "Logger | None":
        """Return None."""
        return None


@dataclass(frozen=True)
class MLflowTracking:
    """Runs of an MLflow experiment, in a database or on a server; its metrics have no @: ndcg@10 is ndcg10 there.

    Attributes:
        experiment: What the experiment is called.
        uri: Of the store: `sqlite:///mlflow.db`, `http://host:5000`, ...
    """

    experiment: str = "recdl"
    uri: str = "sqlite:///mlflow.db"

    def logger(self, folder: Path, *, step: int) -> "Logger | None":
        """Return an MLflow logger, told of the run's settings; a fit that goes on goes on with its run there.

        MLflow keeps every value of a step; the latest, which is shown, is the one that counts.

        Raises:
            ConfigError: If MLflow is not installed.
        """
        _check_installed("mlflow")
        from pytorch_lightning.loggers import MLFlowLogger

        noted = folder / "mlflow-run.txt"
        run_id = noted.read_text(encoding="utf-8").strip() if step and noted.is_file() else None
        logger = MLFlowLogger(self.experiment, run_name=folder.name, tracking_uri=self.uri, run_id=run_id)
        if run_id is None:
            logger.log_hyperparams(_settings(folder))
            write_text(noted, f"{logger.run_id}\n")
        return logger


@dataclass(frozen=True)
class WandbTracking:
    """Runs of a Weights & Biases project.

    Attributes:
        project: What the project is called.
        offline: Whether runs stay in the run's folder until `wandb sync`; WANDB_MODE=offline does the same.
    """

    project: str = "recdl"
    offline: bool = False

    def logger(self, folder: Path, *, step: int) -> "Logger | None":
        """Return a Weights & Biases logger, told of the run's settings.

        A fit that goes on is a run of its own there, in one group with the run before it: steps that were told
        cannot be taken back.

        Raises:
            ConfigError: If wandb is not installed.
        """
        _check_installed("wandb")
        import wandb
        from pytorch_lightning.loggers import WandbLogger

        wandb.finish()  # of an earlier fit in this process, whose curves would go on in this one's
        folder.mkdir(parents=True, exist_ok=True)
        logger = WandbLogger(
            folder.name, save_dir=folder, offline=self.offline, project=self.project, group=folder.name
        )
        logger.log_hyperparams(_settings(folder))
        return logger


def _check_installed(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"tracking={name} needs the package {name!r}: pip install 'recdl[{name}]'")


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings of the run in `folder`, or of the one it is a part of, that say nothing of paths."""
    for place in (folder, folder.parent):
        if (place / "config.yaml").is_file():
            config = OmegaConf.to_container(OmegaConf.load(place / "config.yaml"), resolve=False)
            assert isinstance(config, dict), "a run writes a mapping"
            return {name: config[name] for name in ("model", "trainer", "seed", "refit") if name in config}
    return {}
