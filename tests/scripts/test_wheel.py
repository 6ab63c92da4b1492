"""The package as it is installed from a wheel: without the checkout, its configs inside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _run(folder: Path, *command: str, installed: Path | None = None) -> str:
    environment = dict(os.environ)
    if installed is not None:
        environment["PYTHONPATH"] = str(installed)
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's files and nothing else of the project."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(folder, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("recdl-*.whl")
    target = folder / "installed"
    _run(folder, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel))
    return target


@pytest.mark.slow
def test_the_wheel_brings_its_configs_and_types(installed: Path) -> None:
    said = _run(installed.parent, "-c", "import recdl.config as c; print(c.CONFIGS)", installed=installed)
    assert Path(said.strip()) == installed / "recdl" / "configs"
    assert (installed / "recdl" / "py.typed").is_file()
    assert (installed / "recdl" / "evaluation" / "templates" / "comparison.html.j2").is_file()


@pytest.mark.slow
def test_a_verb_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    main = ("-c", "import sys; from recdl.commands import main; sys.argv[0] = 'recdl'; main()")
    assert "prepared_root" in _run(tmp_path, *main, "train", "--help", installed=installed)
    shop = ("data.n_users=60", "data.n_items=40", "data.n_categories=5", "progress=false")
    _run(tmp_path, *main, "train", "model=popularity", *shop, "run_dir=run", installed=installed)
    assert (tmp_path / "run" / "record.json").is_file()
