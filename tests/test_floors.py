"""A module imports only from its own floor or from those below, and no two modules need each other."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import recdl

PACKAGE = Path(recdl.__file__).parent
FLOORS = {
    "recdl": 0,  # the version
    "recdl.errors": 0,
    "recdl.compiling": 0,
    "recdl.storage": 0,
    "recdl.threads": 0,
    "recdl.metrics": 1,
    "recdl.data": 2,
    "recdl.models": 3,
    "recdl.training": 4,
    "recdl.evaluation": 5,
    "recdl.serving": 6,
    "recdl.schemas": 7,
    "recdl.signatures": 7,
    "recdl.search": 7,
    "recdl.config": 7,
    "recdl.commands": 8,
}
OUTSIDE = ("scripts", "tests", "benchmarks", "configs")
"""What stands on top of the package, or beside it: nothing in the package may import it."""


def modules(package: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path) -> Iterator[str]:
    """The dotted names a module imports, wherever in it, and of `from a import b` both a and a.b."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def floor(name: str) -> int | None:
    """The floor of the module, by its longest prefix; only the package itself stands at `recdl`."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 1, -1))
    return FLOORS["recdl"] if name == "recdl" else next((FLOORS[one] for one in prefixes if one in FLOORS), None)


def needed(names: set[str], packages: set[str]) -> set[str]:
    """The modules among `names`: `from recdl.data import splits` needs the module, not also its package."""
    return {name for name in names if name not in packages or not any(one.startswith(f"{name}.") for one in names)}


def violations(package: Path) -> list[str]:
    """Everything in the package that breaks the house's rule, in words."""
    paths = modules(package)
    packages = {name for name, path in paths.items() if path.name == "__init__.py"}
    problems = [
        f"{name} has no floor; give it one in tests/test_floors.py" for name in paths if floor(name) is None
    ]
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        names = set(imported(name, path))
        problems += [f"{name} imports {one}" for one in sorted(names) if one.split(".")[0] in OUTSIDE]
        graph[name] = needed(names & set(paths), packages)
        for one in sorted(graph[name]):
            if (floor(one) or 0) > (floor(name) or 0):
                problems.append(f"{name} (floor {floor(name)}) imports {one} (floor {floor(one)})")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        problems.append(f"modules import each other: {' <- '.join(error.args[1])}")
    return problems


def plant(root: Path, **contents: str) -> Path:
    """A package `recdl` whose modules, named like `data__splits`, hold the given source."""
    for name, source in contents.items():
        path = root.joinpath("recdl", *name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source, encoding="utf-8")
    return root / "recdl"


def test_every_module_imports_only_from_its_floor_or_below_and_without_cycles() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    "source",
    [
        "from recdl.models.popularity import Popularity",
        "from recdl.models import popularity",
        "import recdl.models.popularity as p",
        "from ..models import popularity",
        "from ..models.popularity import Popularity",
        "def late():\n    from recdl.models.popularity import Popularity",
    ],
)
def test_an_import_from_a_higher_floor_is_found(tmp_path: Path, source: str) -> None:
    package = plant(tmp_path, models__popularity="", data__splits=source)
    assert violations(package) == ["recdl.data.splits (floor 2) imports recdl.models.popularity (floor 3)"]


def test_an_import_from_a_lower_floor_is_allowed(tmp_path: Path) -> None:
    package = plant(tmp_path, data__splits="", models__popularity="from recdl.data import splits")
    assert violations(package) == []


def test_two_modules_of_one_floor_that_import_each_other_are_found(tmp_path: Path) -> None:
    package = plant(tmp_path, data__a="from recdl.data.b import x", data__b="from recdl.data import a")
    (problem,) = violations(package)
    assert problem.startswith("modules import each other: recdl.data.")


def test_a_module_without_a_floor_is_found(tmp_path: Path) -> None:
    assert violations(plant(tmp_path, utils="")) == [
        "recdl.utils has no floor; give it one in tests/test_floors.py"
    ]


def test_an_import_of_what_stands_on_top_of_the_package_is_found(tmp_path: Path) -> None:
    assert violations(plant(tmp_path, data__a="import scripts.train")) == ["recdl.data.a imports scripts.train"]


def test_the_configuration_is_read_without_loading_torch_lightning_or_ibis() -> None:
    slow = ("torch", "pytorch_lightning", "ibis")
    program = f"import sys, recdl, recdl.config; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
