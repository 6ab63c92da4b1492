import sys
from pathlib import Path

import pytest

from recdl.data.interactions import Interactions
from recdl.errors import ConfigError
from recdl.models.networks.matrix_factorization import MatrixFactorization
from recdl.models.protocol import RankingTask
from recdl.storage import write_text
from recdl.training.factorization import FactorizationRecommender
from recdl.training.settings import TrainerSettings
from recdl.training.tracking import MLflowTracking, Tracking, WandbTracking


def fit(folder: Path, tracking: Tracking, log: tuple[Interactions, RankingTask]) -> list[dict[str, float]]:
    """Fit a small network for two epochs in a run's folder, and return its learning curve."""
    write_text(folder / "config.yaml", "model: {learning_rate: 0.003}\ntrainer: {max_epochs: 2}\nseed: 5\n")
    trainer = TrainerSettings(
        max_epochs=2, accelerator="cpu", progress_bar=False, folder=folder, tracking=tracking, monitor="ndcg@3"
    )
    model = FactorizationRecommender(MatrixFactorization, trainer=trainer).fit(*log)
    return model.learning_curve_


# MLflow asks SQLAlchemy for what 2.1 calls deprecated.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_mlflow_has_the_curve_and_the_settings(
    tmp_path: Path, two_tastes: tuple[Interactions, RankingTask]
) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    curve = fit(tmp_path / "run", MLflowTracking(experiment="shop", uri=uri), two_tastes)
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("shop").experiment_id])
    assert run.info.run_name == "run"
    assert (run.data.params["model/learning_rate"], run.data.params["seed"]) == ("0.003", "5")
    told = [point.value for point in client.get_metric_history(run.info.run_id, "validation/ndcg3")]
    assert told == pytest.approx([entry["validation/ndcg@3"] for entry in curve])


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_fit_that_goes_on_goes_on_with_its_run_in_mlflow_and_a_new_one_does_not(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    tracking = MLflowTracking(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    loggers = [tracking.logger(tmp_path / "run", step=step) for step in (0, 7, 0)]
    first, gone_on, anew = (getattr(logger, "run_id", None) for logger in loggers)
    assert first == gone_on != anew


def test_weights_and_biases_offline_leaves_its_run_in_the_runs_folder(
    tmp_path: Path, two_tastes: tuple[Interactions, RankingTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    fit(tmp_path / "run", WandbTracking(project="shop", offline=True), two_tastes)
    summary = dict(wandb.run.summary)
    config = dict(wandb.run.config)
    wandb.finish()
    (found,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert list(found.glob("*.wandb"))
    assert "validation/ndcg@3" in summary
    assert config["model"] == {"learning_rate": 0.003}


@pytest.mark.parametrize(("name", "tracking"), [("mlflow", MLflowTracking()), ("wandb", WandbTracking())])
def test_what_is_not_installed_is_told_with_its_extra(
    name: str, tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigError, match=rf"^tracking={name} needs the package '{name}': .*recdl\[{name}\]"):
        tracking.logger(tmp_path, step=0)
