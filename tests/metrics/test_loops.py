"""Both ways to add up the cosines of a list, by the members of its sets and by their bits."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from recdl.metrics import lists as of_lists
from recdl.metrics import loops
from recdl.metrics.lists import Lists, Sets


def _case(n_members: int, share: float) -> tuple[npt.NDArray[np.int32], list[set[int]], Sets]:
    """Forty lists of at most six of thirty items, some of which have no member; the last places may be empty."""
    generator = np.random.default_rng(n_members)
    has = generator.random((30, n_members)) < share
    has[::7] = False
    sets = [set(np.flatnonzero(row).tolist()) for row in has]
    offsets = np.concatenate([[0], np.cumsum(has.sum(axis=1))]).astype(np.int64)
    items = np.array([generator.permutation(30)[:6] for _ in range(40)], np.int32)
    items[np.arange(6) >= generator.integers(0, 7, (40, 1))] = -1
    return items, sets, Sets(offsets, np.nonzero(has)[1].astype(np.int32), n_members)


def _cosine(one: set[int], other: set[int]) -> float:
    return len(one & other) / math.sqrt(len(one) * len(other)) if one and other else 0.0


@pytest.mark.parametrize(
    ("n_members", "share"), [(1, 0.5), (63, 0.5), (64, 0.9), (65, 0.9), (700, 0.01), (700, 0.6)]
)
@pytest.mark.parametrize("way", ["add_similarities", "add_similarities_of_bits", None])
def test_similarities_of_lists_are_the_sums_of_the_cosines_of_their_pairs(
    n_members: int, share: float, way: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, members, sets = _case(n_members, share)
    if way is not None:  # the other one is not to be gone
        other = "add_similarities" if way == "add_similarities_of_bits" else "add_similarities_of_bits"
        monkeypatch.setattr(loops, other, None)
        monkeypatch.setattr(of_lists, "_WORDS_A_MEMBER", math.inf if way == "add_similarities_of_bits" else 0.0001)
    found = Lists(items, np.ones(30, np.bool_)).similarity(sets)
    for row, sums in zip(items.tolist(), found, strict=True):
        for length in range(1, 7):
            shown = [item for item in row[:length] if item >= 0]
            pairs = [(a, b) for x, a in enumerate(shown) for b in shown[:x]]
            assert sums[length - 1] == pytest.approx(sum(_cosine(members[a], members[b]) for a, b in pairs))


def test_bits_that_would_take_too_much_memory_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    items, _, sets = _case(700, 0.6)
    expected = Lists(items, np.ones(30, np.bool_)).similarity(sets)
    monkeypatch.setattr(of_lists, "_MOST_BYTES", 100)
    monkeypatch.setattr(loops, "set_bits", None)
    np.testing.assert_allclose(Lists(items, np.ones(30, np.bool_)).similarity(sets), expected)
