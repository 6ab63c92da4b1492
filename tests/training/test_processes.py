import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recdl.training.cores import share_of_cores
from recdl.training.processes import Processes, part
from tests.training.sharing import NAMES, Model, fitted, preferences

_COUNT = 2
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what two processes learned together."""
    folder = tmp_path_factory.mktemp("shared")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(_COUNT):
        named = {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(_COUNT), "OMP_NUM_THREADS": "1"}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(_ROOT)}
        arguments = ["-m", "tests.training.sharing", str(rank), str(_COUNT), str(port), str(folder)]
        started.append(
            subprocess.Popen([sys.executable, *arguments], env={**os.environ, **named, **where}, cwd=_ROOT)
        )
    assert [process.wait(timeout=300) for process in started] == [0] * _COUNT
    return folder


@pytest.fixture(scope="module", params=NAMES)
def alone(request: pytest.FixtureRequest) -> tuple[str, Model]:
    return request.param, fitted(request.param)


def test_two_processes_learn_what_one_does(shared: Path, alone: tuple[str, Model]) -> None:
    name, model = alone
    place = NAMES.index(name)
    first, second = (np.load(shared / f"{place}-{rank}.npy") for rank in range(_COUNT))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, preferences(model), atol=1e-4)
    curves = [json.loads((shared / f"{place}-{rank}.json").read_text()) for rank in range(_COUNT)]
    for entry, *others in zip(model.learning_curve_, *curves, strict=True):
        for other in others:
            assert other == pytest.approx(entry | {"seconds": other["seconds"]}, rel=1e-4)


@pytest.mark.parametrize("rank", range(_COUNT))
def test_tensors_of_all_sizes_and_types_are_added_up_in_place(shared: Path, rank: int) -> None:
    *found, scalar = torch.load(shared / f"sums-{rank}.pt", weights_only=True)
    assert scalar == 2.0
    for tensor in found:
        torch.testing.assert_close(
            tensor, 3 * torch.arange(tensor.shape[1]).to(tensor.dtype)[None], rtol=0, atol=0
        )


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < _COUNT, reason="needs a core for each process")
def test_processes_of_one_machine_keep_to_cores_of_their_own_while_they_train(shared: Path) -> None:
    found = [json.loads((shared / f"cores-{rank}.json").read_text()) for rank in range(_COUNT)]
    allowed = found[0][0]
    assert [before for before, *_ in found] == [after for *_, after in found] == [allowed] * _COUNT
    assert found[0][1] + found[1][1] == allowed


@pytest.mark.parametrize(
    ("allowed", "shares"),
    [
        ([[0, 1, 2, 3]] * 2, [[0, 1], [2, 3]]),
        ([[4, 5, 9]] * 2, [[4], [5, 9]]),
        ([[0, 1], [2, 3]], [[0, 1], [2, 3]]),
        ([[7]] * 2, [[7], [7]]),
    ],
    ids=["one set of all", "no even number", "shared out by a launcher", "fewer than processes"],
)
def test_cores_that_all_may_use_are_shared_out(allowed: list[list[int]], shares: list[list[int]]) -> None:
    assert [share_of_cores(allowed, place) for place in range(2)] == shares


def test_a_step_in_parts_is_the_same_step(alone: tuple[str, Model]) -> None:
    name, model = alone
    np.testing.assert_allclose(preferences(fitted(name, accumulate=3)), preferences(model), atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_the_parts_of_rows_are_all_of_them_once(n: int, count: int) -> None:
    parts = [part(n, place, count) for place in range(count)]
    assert [row for one in parts for row in range(n)[one]] == list(range(n))
    sizes = [one.stop - one.start for one in parts]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_waits_for_nobody() -> None:
    alone = Processes.current()
    assert alone == Processes(0, 1) and alone.first
    with alone.one_by_one():
        alone.wait()
    assert alone.told(5) == 5 and alone.gathered("a") == ["a"] and alone.share(9) == slice(0, 9)
