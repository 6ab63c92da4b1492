import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.diagnosis.findings import Finding
from recdl.data.diagnosis.rhythm import Rhythm, count_sessions, measure_rhythm, rhythm_findings
from recdl.data.interactions import Interactions
from tests.logs import Event, log_of_events

SECOND = 1_000_000


def log_of_gaps(gaps: np.ndarray, *, a_user: int = 50) -> Interactions:
    """Users with the given gaps, in seconds."""
    events = [
        (user, int(time * SECOND), 0, 0)
        for user, mine in enumerate(np.split(gaps, len(gaps) // a_user))
        for time in np.cumsum(mine)
    ]
    return log_of_events(events, n_users=len(gaps) // a_user, n_items=1)


def found(rhythm: Rhythm, *, events: int, resolution: str = "second") -> dict[str, Finding]:
    return {one.key: one for one in rhythm_findings(rhythm, events=events, resolution=resolution)}


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 5), st.just(0), st.integers(0, 9)), min_size=1, max_size=40
    )
)
def test_ties_and_gaps_are_those_of_plain_loops(events: list[Event]) -> None:
    log = log_of_events(events, n_users=3, n_items=10)
    times = [[time for user, time, _, _ in sorted(events) if user == mine] for mine in range(3)]
    rhythm = measure_rhythm(log, resolution="microsecond")
    assert rhythm.gaps == sum(max(len(one) - 1, 0) for one in times)
    assert rhythm.ties == sum(one.count(time) > 1 for one in times for time in one)
    assert rhythm.tied_users == sum(len(set(one)) < len(one) for one in times)
    assert rhythm.largest_tie == max(one.count(time) for one in times for time in one)
    assert sum(rhythm.bins) == sum(len(set(one)) - 1 for one in times if one)


def test_a_log_full_of_ties_is_told_and_one_without_is_not() -> None:
    tied = log_of_events([(0, time // 3, 0, time) for time in range(30)], n_users=1, n_items=30)
    told = found(measure_rhythm(tied, resolution="microsecond"), events=30)["ties"]
    assert told.severity == "warning"
    assert told.title == "100 % of the events share their time with another event of their user"
    assert "up to 3 at one time" in told.evidence
    free = log_of_events([(0, time, 0, time) for time in range(30)], n_users=1, n_items=30)
    assert "ties" not in found(measure_rhythm(free, resolution="microsecond"), events=30)


def test_sessions_are_cut_where_the_gap_is_longer() -> None:
    events = [(0, 0, 0, 0), (0, 10 * SECOND, 0, 0), (0, 21 * SECOND, 0, 0), (1, 0, 0, 0)]
    assert count_sessions(log_of_events(events, n_users=3, n_items=1), 10.0) == 3


@pytest.mark.parametrize(("within", "between", "low", "high"), [(30, 86_400, 300, 7_200), (2, 3_600, 20, 600)])
def test_the_suggested_gap_lies_between_two_kinds_of_gaps(within: int, between: int, low: int, high: int) -> None:
    generator = np.random.default_rng(0)
    means = np.where(generator.random(5_000) < 0.7, np.log(within), np.log(between))
    log = log_of_gaps(np.exp(generator.normal(means, 0.7)))
    rhythm = measure_rhythm(log, resolution="microsecond")
    assert rhythm.suggested_gap is not None
    assert low <= rhythm.suggested_gap <= high
    assert rhythm.sessions == count_sessions(log, rhythm.suggested_gap)


@pytest.mark.parametrize("middle", [60, 86_400 * 7])
def test_gaps_of_one_kind_suggest_nothing(middle: int) -> None:
    gaps = np.exp(np.random.default_rng(0).normal(np.log(middle), 1.0, 5_000))
    rhythm = measure_rhythm(log_of_gaps(gaps), resolution="microsecond")
    assert rhythm.suggested_gap is None
    assert "sessions" not in found(rhythm, events=5_000)


def test_days_have_no_sessions() -> None:
    gaps = np.full(5_000, 86_400.0)
    assert measure_rhythm(log_of_gaps(gaps), resolution="day").suggested_gap is None


def test_a_session_that_ends_at_another_time_than_is_customary_is_told() -> None:
    generator = np.random.default_rng(0)
    means = np.where(generator.random(5_000) < 0.7, np.log(2), np.log(3_600))
    rhythm = measure_rhythm(log_of_gaps(np.exp(generator.normal(means, 0.7))), resolution="microsecond")
    assert found(rhythm, events=5_000)["sessions"].severity == "notice"


def test_a_log_of_single_events_has_no_gaps() -> None:
    log = log_of_events([(user, 0, 0, 0) for user in range(5)], n_users=5, n_items=1)
    rhythm = measure_rhythm(log, resolution="second")
    assert (rhythm.gaps, rhythm.median_gap, rhythm.sessions) == (0, None, 5)
    assert found(rhythm, events=5) == {}
