"""What is asked for after each event, against a loop that looks for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.interactions import Interactions
from recdl.data.targets import SequenceTargets, TargetFinder
from recdl.data.windows import NO_BEHAVIOR, SequenceBatches
from recdl.errors import ConfigError, DataError
from tests.logs import Event, log_of_events

VIEW, CART, PURCHASE = 0, 1, 2
NAMES = ("view", "cart", "purchase")
N_ITEMS = 4

events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 2), st.integers(0, N_ITEMS - 1)), min_size=1
)
settings = st.builds(
    SequenceTargets,
    behaviors=st.sampled_from([None, ("purchase",), ("cart", "purchase")]),
    every_position=st.booleans(),
    baskets=st.booleans(),
)


def _log(rows: list[Event]) -> Interactions:
    return log_of_events(rows, n_users=4, n_items=N_ITEMS, behavior_names=NAMES)


def _asked(log: Interactions, user: int, known: int, wanted: SequenceTargets) -> list[int]:
    """Return the items that are asked for when `known` events of a user are, none or in rising order."""
    own = slice(log.offsets[user], log.offsets[user + 1])
    items, times = log.items[own].tolist(), log.timestamps[own].tolist()
    counts = [wanted.behaviors is None or NAMES[code] in wanted.behaviors for code in log.behaviors[own]]
    if wanted.baskets and known > 0 and times[known - 1] == times[known]:
        return []  # in the middle of a basket
    first = next((place for place in range(known, len(items)) if counts[place]), None)
    if first is None:
        return []
    far = times[first] != times[known] if wanted.baskets else first != known
    if wanted.behaviors is not None and not wanted.every_position and far:
        return []
    if not wanted.baskets:
        return [items[first]]
    return sorted({item for item, time, c in zip(items, times, counts, strict=True) if c and time == times[first]})


def _all_asked(log: Interactions, wanted: SequenceTargets) -> list[list[int]]:
    lengths = np.diff(log.offsets).tolist()
    return [_asked(log, user, known, wanted) for user in range(4) for known in range(lengths[user])]


@given(rows=events, wanted=settings)
def test_what_is_asked_for_after_each_event_is_what_a_loop_finds(
    rows: list[Event], wanted: SequenceTargets
) -> None:
    log = _log(rows)
    if not any(_all_asked(log, wanted)):
        return
    finder = TargetFinder(log, wanted)
    user = np.repeat(np.arange(4), np.diff(log.offsets))
    starts, ends = log.offsets[user], log.offsets[user + 1]
    found = finder.find(np.arange(log.n_events), starts, ends)
    asked = found >= 0
    expected = _all_asked(log, wanted)
    assert asked.tolist() == [bool(items) for items in expected]
    if wanted.baskets:
        baskets = finder.baskets(found[asked], ends[asked])
        sets = np.split(baskets.items, np.cumsum(baskets.counts)[:-1])
        assert [one.tolist() for one in sets] == [items for items in expected if items]
    else:
        assert log.items[found[asked]].tolist() == [items[0] for items in expected if items]


@given(rows=events, wanted=settings, max_length=st.integers(1, 5))
def test_no_target_is_lost_by_leaving_out_what_has_none(
    rows: list[Event], wanted: SequenceTargets, max_length: int
) -> None:
    log = _log(rows)
    expected = sorted(items for items in _all_asked(log, wanted) if items)
    if not expected:
        return
    found: list[list[int]] = []
    for batch in SequenceBatches(log, batch_size=2, max_length=max_length, seed=0, targets=wanted):
        if batch.basket_items is None or batch.basket_counts is None:
            found += [[item] for item in batch.targets[batch.mask].tolist()]
        else:
            assert len(batch.basket_counts) == batch.mask.sum()
            found += [part.tolist() for part in batch.basket_items.split(batch.basket_counts.tolist())]
    assert sorted(found) == expected


def test_each_event_up_to_a_purchase_asks_for_it_and_what_follows_the_last_is_not_read() -> None:
    log = _log([(0, 1, VIEW, 3), (0, 2, CART, 1), (0, 3, PURCHASE, 1), (0, 4, VIEW, 0), (1, 1, VIEW, 2)])
    wanted = SequenceTargets(behaviors=("purchase",))
    (batch,) = SequenceBatches(log, batch_size=2, max_length=9, seed=0, targets=wanted)
    assert batch.items.tolist() == [[N_ITEMS + 1, 3, 1]]
    assert batch.targets.tolist() == [[1, 1, 1]]
    near = replace(wanted, every_position=False)
    (batch,) = SequenceBatches(log, batch_size=2, max_length=9, seed=0, targets=near)
    assert batch.targets[batch.mask].tolist() == [1]
    assert batch.mask.tolist() == [[False, False, True]]


def test_after_a_basket_the_whole_next_one_is_asked_for_also_across_windows() -> None:
    log = _log([(0, 1, VIEW, 3), (0, 1, VIEW, 2), (0, 5, VIEW, 0), (0, 5, VIEW, 1), (0, 5, PURCHASE, 1)])
    batches = SequenceBatches(log, batch_size=1, max_length=3, seed=0, targets=SequenceTargets(baskets=True))
    asked = {tuple(batch.mask[0].tolist()): batch for batch in batches}
    (first, second) = (asked[mask] for mask in ((True, False, True), (False, False)))
    assert first.basket_items is not None and second.basket_items is not None
    assert first.basket_items.tolist() == [2, 3, 0, 1]
    assert first.basket_counts is not None and first.basket_counts.tolist() == [2, 2]
    assert not len(second.basket_items)


def test_the_behavior_of_the_very_next_event_is_told_at_every_position_if_it_is_asked_for() -> None:
    log = _log([(0, 1, VIEW, 3), (0, 2, CART, 1), (0, 3, PURCHASE, 1), (0, 4, VIEW, 0), (1, 1, CART, 2)])
    wanted = SequenceTargets(behaviors=("purchase",), behavior_weight=0.5)
    (batch,) = SequenceBatches(log, batch_size=2, max_length=9, seed=0, targets=wanted)
    assert batch.next_behaviors is not None
    rows = {tuple(row) for row in batch.next_behaviors.tolist()}
    assert rows == {(VIEW, CART, PURCHASE, VIEW), (CART, *[NO_BEHAVIOR] * 3)}
    (plain,) = SequenceBatches(log, batch_size=2, max_length=9, seed=0)
    assert plain.next_behaviors is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"behaviors": ()}, r"targets.behaviors is empty; name some, as \[purchase\], or set it to null"),
        ({"weights": {"cart": 0.0}}, "targets.weights.cart must be above 0, and finite, not 0.0"),
        ({"weights": {"cart": 2.0}, "baskets": True}, "targets.weights are of events, but a basket has several"),
        ({"behavior_weight": -1.0}, "targets.behavior_weight must be 0 or more, and finite, not -1.0"),
        ({"behavior_weight": float("nan")}, "targets.behavior_weight must be 0 or more, and finite, not nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SequenceTargets(**arguments)


def test_a_behavior_that_the_log_lacks_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="the log has no behavior 'buy'; it has view, cart"):
        TargetFinder(_log([(0, 1, VIEW, 0)]), SequenceTargets(behaviors=("buy",)))


def test_a_behavior_that_is_weighed_must_be_one_of_the_logs() -> None:
    with pytest.raises(ConfigError, match="the log has no behavior 'buy'"):
        TargetFinder(_log([(0, 1, VIEW, 0)]), SequenceTargets(weights={"buy": 2.0}))


def test_targets_weigh_as_their_behavior_does() -> None:
    log = _log([(0, 1, VIEW, 3), (0, 2, CART, 1), (0, 3, PURCHASE, 1), (1, 4, PURCHASE, 0)])
    wanted = SequenceTargets(weights={"purchase": 5.0, "cart": 0.5})
    (batch,) = SequenceBatches(log, batch_size=2, max_length=9, seed=0, targets=wanted)
    assert batch.weights is not None
    pairs = zip(batch.targets[batch.mask].tolist(), batch.weights.tolist(), strict=True)
    assert sorted(pairs) == [(0, 5.0), (1, 0.5), (1, 5.0), (3, 1.0)]


def test_a_log_without_an_event_that_is_asked_for_is_refused() -> None:
    with pytest.raises(DataError, match="the train part holds no event of cart, purchase"):
        TargetFinder(_log([(0, 1, VIEW, 0)]), SequenceTargets(behaviors=("cart", "purchase")))


def test_baskets_need_times() -> None:
    log = replace(_log([(0, 1, VIEW, 0)]), timed=False)
    with pytest.raises(DataError, match="the events of a basket share a time, but this log has no times"):
        TargetFinder(log, SequenceTargets(baskets=True))
