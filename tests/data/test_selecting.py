"""Parts of a log that are too large for memory."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data import selecting
from recdl.data.interactions import Interactions
from tests.logs import log_of_items

HISTORIES = st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=6).filter(any)


@given(HISTORIES, st.integers(0, 1000), st.integers(1, 5))
def test_a_part_of_a_log_equals_a_brute_force_twin_whatever_the_block(
    histories: list[list[int]], seed: int, block: int
) -> None:
    log = log_of_items(histories, n_items=5)
    mask = np.random.default_rng(seed).random(log.n_events) < 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selecting, "_BLOCK", block)
        part = log.where(mask)
    kept = iter(mask.tolist())
    expected = [[item for item in history if next(kept)] for history in histories]
    bounds = zip(part.offsets[:-1], part.offsets[1:], strict=True)
    assert [part.items[start:end].tolist() for start, end in bounds] == expected


def test_many_events_of_a_mapped_log_are_mapped_too_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selecting, "_IN_MEMORY", 4)
    monkeypatch.setattr(selecting, "_BLOCK", 3)
    folder = tmp_path / "log"
    folder.mkdir()
    whole = log_of_items([[0, 1, 2, 3], [4, 3, 2, 1]], n_items=5)
    whole.save(folder)
    log = Interactions.load(folder, n_items=5, behavior_names=whole.behavior_names)
    part = log.where(np.array([1, 1, 0, 1, 1, 1, 1, 0], np.bool_))
    assert isinstance(part.items, np.memmap)
    assert part.items.tolist() == [0, 1, 3, 4, 3, 2]
    assert part.timestamps.tolist() == whole.timestamps[[0, 1, 3, 4, 5, 6]].tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_few_events_are_held_in_memory(tmp_path: Path) -> None:
    whole = log_of_items([[0, 1, 2]], n_items=3)
    whole.save(tmp_path)
    log = Interactions.load(tmp_path, n_items=3, behavior_names=whole.behavior_names)
    assert not isinstance(log.where(np.array([True, False, True])).items, np.memmap)
