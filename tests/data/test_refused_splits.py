"""Logs that cannot be cut, and settings of splits that cannot be."""

import pytest

from recdl.data.interactions import Interactions
from recdl.data.splits import (
    LeaveLastOut,
    Split,
    Splitter,
    TemporalSplit,
)
from recdl.errors import ConfigError, DataError
from tests.logs import log_of_events, log_of_items

VIEW, PURCHASE = 0, 1


def cut(splitter: Splitter, log: Interactions) -> Split:
    return splitter.split(log, data_fingerprint="data")


@pytest.mark.parametrize("histories", [[[]], [[0]], [[0], [1]]], ids=["no event", "one event", "one event each"])
def test_a_log_of_one_moment_cannot_be_cut_by_time(histories: list[list[int]]) -> None:
    with pytest.raises(
        DataError, match=r"test_fraction cannot be met: there are \d events to cut, all of one moment"
    ):
        cut(TemporalSplit(), log_of_items(histories, n_items=2))


def test_a_log_of_two_moments_leaves_nothing_for_validation() -> None:
    with pytest.raises(DataError, match="validation_fraction cannot be met: there are 1 events to cut"):
        cut(TemporalSplit(), log_of_items([[0, 1]], n_items=2))


def test_a_part_without_targets_is_refused_with_the_way_out() -> None:
    events = [(0, time, VIEW, 0) for time in range(8)] + [(0, 8, PURCHASE, 1)]
    log = log_of_events(events, n_users=1, n_items=2)
    with pytest.raises(
        DataError, match=r"the validation part .* holds no event of purchase; raise split.validation"
    ):
        cut(TemporalSplit(0.1, 0.2, target_behaviors=("purchase",)), log)


@pytest.mark.parametrize("histories", [[[]], [[0]], [[0, 1], [1, 0]]], ids=["no event", "one event", "two events"])
def test_leaving_the_last_out_of_too_short_histories_is_refused(histories: list[list[int]]) -> None:
    with pytest.raises(DataError, match="no user has two events of any behavior and an event before them"):
        cut(LeaveLastOut(), log_of_items(histories, n_items=2))


@pytest.mark.parametrize("splitter", [TemporalSplit(target_behaviors=("buy",)), LeaveLastOut(("buy",))])
def test_an_unknown_target_behavior_is_refused_by_name(splitter: Splitter) -> None:
    log = log_of_events([(0, day, VIEW, day) for day in range(5)], n_users=1, n_items=5)
    with pytest.raises(DataError, match="no behavior 'buy'; it has view, purchase"):
        cut(splitter, log)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
@pytest.mark.parametrize("name", ["test_fraction", "validation_fraction"])
def test_a_fraction_outside_0_and_1_is_refused(name: str, fraction: float) -> None:
    with pytest.raises(ConfigError, match=rf"split\.{name} must lie between 0 and 1"):
        TemporalSplit(**{name: fraction})  # type: ignore[arg-type]


def test_an_unknown_rule_of_asking_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be per_user or per_event, but is 'per_session'"):
        TemporalSplit(queries="per_session")  # type: ignore[arg-type]


@pytest.mark.parametrize("splitter", [TemporalSplit, LeaveLastOut])
def test_an_empty_choice_of_target_behaviors_is_refused(splitter: type[TemporalSplit | LeaveLastOut]) -> None:
    with pytest.raises(ConfigError, match=r"split\.target_behaviors is empty"):
        splitter(target_behaviors=())
