from typing import Any

import pytest

from recdl.data.diagnosis.findings import Finding
from recdl.data.diagnosis.held_out import cold_counts, split_failed, split_findings
from recdl.data.splits import LeaveLastOut, TemporalSplit
from tests.logs import log_of_events, log_of_items

GOOD = {
    "queries": 500,
    "targets": 900,
    "cold_target_share": 0.02,
    "cold_user_share": 0.03,
    "no_history_share": 0.0,
}


def found(leak: float = 0.0, **changes: Any) -> dict[str, Finding]:
    report = {
        "test": GOOD | changes,
        "leak": {"train_events_after_first_test_target": leak, "statement": "Some of it."},
    }
    return {finding.key: finding for finding in split_findings(report)}


def test_a_good_split_gives_no_finding() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("changes", "key", "severity"),
    [
        ({"leak": 0.005}, "leak", "warning"),
        ({"leak": 0.3}, "leak", "serious"),
        ({"queries": 40}, "few_queries", "warning"),
        ({"cold_target_share": 0.2}, "cold_items", "notice"),
        ({"cold_target_share": 0.71}, "cold_items", "warning"),
        ({"cold_user_share": 0.2}, "cold_users", "notice"),
        ({"cold_user_share": 0.6}, "cold_users", "warning"),
    ],
)
def test_what_is_the_matter_with_a_split_is_told(changes: dict[str, Any], key: str, severity: str) -> None:
    told = found(**changes)
    assert {name: finding.severity for name, finding in told.items()} == {key: severity}


def test_a_split_that_leaks_is_told_from_its_report_and_one_in_time_is_not() -> None:
    events = [(user, 10 * user + step, 0, step) for user in range(20) for step in range(5)]
    log = log_of_events(events, n_users=20, n_items=5)
    for splitter, leaks in ((LeaveLastOut(), True), (TemporalSplit(), False)):
        report = splitter.split(log, data_fingerprint="x").report
        assert ("leak" in {finding.key for finding in split_findings(report)}) == leaks


def test_users_and_items_without_a_train_event_are_counted() -> None:
    log = log_of_items([[0, 1, 2], [0], [0, 1, 3]], n_items=4)
    split = TemporalSplit(test_fraction=0.3, validation_fraction=0.3).split(log, data_fingerprint="x")
    counts = cold_counts(split)
    assert counts["users_without_train_event"] == sum(
        split.train.offsets[user] == split.train.offsets[user + 1] for user in range(3)
    )
    assert counts["items_without_train_event"] == 4 - len(set(split.train.items.tolist()))


def test_a_log_that_cannot_be_split_is_a_finding() -> None:
    assert (split_failed("why").severity, split_failed("why").evidence) == ("serious", "why")
