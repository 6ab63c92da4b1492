import pytest

from recdl.data.diagnosis.findings import Finding, duration, percent, ranked


def test_findings_are_ranked_by_severity_and_then_by_weight() -> None:
    findings = [
        Finding("a", "notice", "", "", "", 1.0),
        Finding("b", "serious", "", "", "", 0.1),
        Finding("c", "warning", "", "", "", 0.2),
        Finding("d", "warning", "", "", "", 0.9),
    ]
    assert [finding.key for finding in ranked(findings)] == ["b", "d", "c", "a"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.123, "12 %"),
        (0.0123, "1.2 %"),
        (0.0004, "0.04 %"),
        (1e-6, "under 0.01 %"),
        (0.9999, "99.9 %"),
    ],
)
def test_a_share_is_never_written_as_nothing_or_all_unless_it_is(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (45, "45 s"), (1_800, "30 min"), (9_000, "2.5 h"), (864_000, "10 days"), (1e8, "3.2 years")],
)
def test_a_span_is_written_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text
