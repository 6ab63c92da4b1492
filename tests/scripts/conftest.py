import subprocess
from pathlib import Path

import pytest

from tests.scripts.command_line import SHOP, run, succeed

TINY = ("trainer.max_epochs=2", "model.network.embedding_size=8", "model.network.hidden_size=8")


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A working folder with a sweep of four points, two of which fail, and what the sweep said."""
    folder = tmp_path_factory.mktemp("shop")
    points = ["model=popularity,item_knn", "data.filters.min_user_events=1,100000"]
    return folder, run(folder, "train.py", "--multirun", *SHOP, *points, "run_dir=runs/sweep")


@pytest.fixture(scope="session")
def shop(sweep: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """That working folder with three runs on one shop: runs/popularity, runs/knn, runs/lstm."""
    folder, _ = sweep
    for point, name in (("0", "popularity"), ("2", "knn")):
        (folder / "runs" / name).symlink_to(Path("sweep", point))
    succeed(folder, "train.py", *SHOP, "model=lstm", *TINY, "run_dir=runs/lstm")
    return folder


@pytest.fixture(scope="session")
def bundle(shop: Path) -> Path:
    """A bundle of runs/lstm in the working folder."""
    assert succeed(shop, "export.py", "run=runs/lstm", "bundle=bundles/lstm") == "bundles/lstm\n"
    return shop / "bundles" / "lstm"
