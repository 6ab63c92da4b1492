from pathlib import Path
from typing import Any

import pytest

from recdl.data.queries import Queries
from recdl.errors import DataError
from recdl.models import memory
from recdl.models.als import ALS
from recdl.models.memory import check_memory, free_memory
from recdl.models.neighbors import ItemKNN, UserKNN
from recdl.models.walks import RP3Beta
from tests.logs import log_of_items


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with 1,000 KiB available, in no container."""
    (tmp_path / "meminfo").write_text("MemTotal: 2000 kB\nMemAvailable:   1000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTROL_GROUP", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("system")
def test_what_is_available_is_free() -> None:
    assert free_memory() == 1000 * 1024


def test_a_container_may_leave_less(system: Path) -> None:
    (system / "memory.max").write_text("5000\n")
    (system / "memory.current").write_text("3000\n")
    assert free_memory() == 2000


def test_a_container_without_limit_leaves_all(system: Path) -> None:
    (system / "memory.max").write_text("max\n")
    assert free_memory() == 1000 * 1024


def test_elsewhere_all_there_is_counts_as_free(system: Path) -> None:
    (system / "meminfo").unlink()
    found = free_memory()
    assert found is None or found > 1000 * 1024


@pytest.mark.usefixtures("system")
def test_more_than_is_free_is_refused_with_the_estimate_and_the_way_out() -> None:
    check_memory(1000 * 1024, what="it", advice="do less")
    with pytest.raises(DataError, match=r"all pairs needs 2\.0 GiB of memory, but 0\.0 GiB are free; do less"):
        check_memory(2 << 30, what="all pairs", advice="do less")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ItemKNN(k=100), r"finding the 3 nearest of 3 for each of 3 needs .* lower model\.k"),
        (RP3Beta(k=100), r"finding the 3 nearest of 3 for each of 3 needs .* lower model\.k"),
        (ALS(embedding_size=8), r"ALS of 2 users and 3 items needs .* lower model\.embedding_size \(now 8\)"),
    ],
)
def test_a_baseline_that_would_not_fit_is_refused_before_it_is_tried(
    model: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 50)
    with pytest.raises(DataError, match=message):
        model.fit(log_of_items([[0, 1], [1, 2]], n_items=3))


def test_neighbors_of_too_many_queries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of_items([[0, 1], [1, 2]], n_items=3)
    model = UserKNN().fit(log)
    monkeypatch.setattr(memory, "free_memory", lambda: 50)
    with pytest.raises(DataError, match=r"finding the 2 nearest of 2 for each of 2 needs .* GiB"):
        model.score(Queries.at_end(log))
