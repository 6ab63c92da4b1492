from pathlib import Path

import pytest

from recdl.models import memory
from recdl.models.memory import free_memory


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
