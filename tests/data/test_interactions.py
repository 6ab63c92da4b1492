"""The encoded log: what it promises, and what it refuses to be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recdl.data import interactions
from recdl.data.interactions import Interactions
from recdl.errors import DataError, RecordError
from tests.logs import log_of_events

LOG = log_of_events([(0, 10, 0, 2), (0, 20, 1, 2), (2, 5, 0, 0), (2, 5, 0, 1), (2, 7, 0, 0)], n_users=4, n_items=3)


def parts(log: Interactions) -> list[list[int]]:
    return [log.offsets.tolist(), log.items.tolist(), log.behaviors.tolist(), log.timestamps.tolist()]


def test_users_are_told_from_the_offsets() -> None:
    assert LOG.n_users == 4
    assert LOG.n_events == 5
    assert LOG.users.tolist() == [0, 0, 2, 2, 2]


def test_behaviors_have_codes() -> None:
    assert LOG.behavior_codes(["purchase", "view"]).tolist() == [1, 0]


def test_a_behavior_that_is_not_in_the_log_is_named() -> None:
    with pytest.raises(DataError, match="no behavior 'buy'; it has view, purchase"):
        LOG.behavior_codes(["buy"])


def test_a_part_keeps_users_items_and_behaviors() -> None:
    part = LOG.where(LOG.behaviors == 0)
    assert parts(part) == [[0, 1, 1, 4, 4], [2, 0, 1, 0], [0, 0, 0, 0], [10, 5, 5, 7]]
    assert (part.n_users, part.n_items, part.behavior_names) == (4, 3, LOG.behavior_names)


def test_nothing_is_a_part_too() -> None:
    assert parts(LOG.where(np.zeros(5, np.bool_))) == [[0, 0, 0, 0, 0], [], [], []]


@pytest.mark.parametrize("block", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"items": np.array([2, 2, 0, 3, 0], np.int32)}, "outside the catalogue"),
        ({"items": np.array([2, 2, -1, 1, 0], np.int32)}, "outside the catalogue"),
        ({"items": LOG.items.astype(np.int64)}, "items must be a flat array of int32"),
        ({"items": LOG.items[:4]}, "differ in length"),
        ({"behaviors": np.array([0, 1, 0, 2, 0], np.int8)}, "unnamed behavior"),
        ({"offsets": np.array([0, 2, 2, 4, 4], np.int64)}, "span the events"),
        ({"offsets": np.array([0, 2, 1, 5, 5], np.int64)}, "not fall"),
        ({"timestamps": np.array([10, 9, 5, 5, 7], np.int64)}, "fall within a user"),
        ({"timestamps": np.array([10, 20, 5, 5, 4], np.int64)}, "fall within a user"),
    ],
)
def test_arrays_that_are_no_log_are_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], complaint: str, block: int
) -> None:
    monkeypatch.setattr(interactions, "_BLOCK", block)
    replace(LOG)
    with pytest.raises(AssertionError, match=complaint):
        replace(LOG, **changes)


def test_what_is_saved_is_loaded_without_being_read_into_memory(tmp_path: Path) -> None:
    LOG.save(tmp_path)
    loaded = Interactions.load(tmp_path, n_items=3, behavior_names=LOG.behavior_names)
    assert parts(loaded) == parts(LOG)
    assert isinstance(loaded.items, np.memmap)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    LOG.save(tmp_path)
    (tmp_path / "behaviors.npy").unlink()
    with pytest.raises(RecordError, match=r"behaviors\.npy is missing or damaged"):
        Interactions.load(tmp_path, n_items=3, behavior_names=LOG.behavior_names)


def test_an_array_cut_short_is_named(tmp_path: Path) -> None:
    LOG.save(tmp_path)
    path = tmp_path / "timestamps.npy"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RecordError, match=r"timestamps\.npy is missing or damaged"):
        Interactions.load(tmp_path, n_items=3, behavior_names=LOG.behavior_names)


def test_arrays_that_do_not_fit_each_other_are_damage(tmp_path: Path) -> None:
    LOG.save(tmp_path)
    np.save(tmp_path / "items.npy", np.array([2, 2, 0, 7, 0], np.int32))
    with pytest.raises(RecordError, match=r"is damaged \(an item index lies outside the catalogue"):
        Interactions.load(tmp_path, n_items=3, behavior_names=LOG.behavior_names)
