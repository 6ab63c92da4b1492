"""What the chosen split asks for, whom it leaves cold, and what it leaks, from the split's own report."""

from collections.abc import Iterator, Mapping
from typing import Any

from recdl.data.diagnosis.findings import Finding, percent
from recdl.data.splits import Split

FEW_QUERIES = 200
"""Test queries below which intervals are wide: 95 % intervals of a rate of one half are then 14 points or more."""


def split_findings(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Say what is the matter with a split.

    Args:
        report: As `Split.report` has it.
    """
    test = report.get("test", {})
    leak = report.get("leak", {})
    leaked = float(leak.get("train_events_after_first_test_target") or 0.0)
    if leaked > 0:
        yield Finding(
            "leak",
            "serious" if leaked > 0.01 else "warning",
            "the split lets models learn from the future",
            str(leak.get("statement", percent(leaked))),
            "Use split=temporal, which cuts at one moment; keep this split only to compare with figures made "
            "with it.",
            leaked,
        )
    queries = int(test.get("queries", 0))
    if 0 < queries < FEW_QUERIES:
        yield Finding(
            "few_queries",
            "warning",
            f"only {queries:,} test queries",
            f"{int(test.get('targets', 0)):,} targets; intervals of the figures will be wide",
            "Raise split.test_fraction, ask for more behaviours (split.target_behaviors), or use "
            "split.queries=per_event.",
            1 - queries / FEW_QUERIES,
        )
    cold = float(test.get("cold_target_share", 0.0))
    if cold > 0.1:
        yield Finding(
            "cold_items",
            "warning" if cold > 0.25 else "notice",
            f"{percent(cold)} of the test targets are items that train has never seen",
            f"no model of interactions can find them: recall cannot exceed {percent(1 - cold)}",
            "They count as misses for every model alike. data.filters.min_item_events makes them fewer; so does "
            "a later cut (a smaller split.test_fraction).",
            cold,
        )
    strangers = float(test.get("cold_user_share", 0.0))
    if strangers > 0.1:
        yield Finding(
            "cold_users",
            "warning" if strangers > 0.5 else "notice",
            f"{percent(strangers)} of the test queries are of users without a train event",
            f"{percent(float(test.get('no_history_share', 0.0)))} have no history at all",
            "Models that know users by their index (neumf, user factors) can only guess for them; item_knn and "
            "lstm read the history instead.",
            strangers,
        )


def split_failed(message: str) -> Finding:
    """Say that the log cannot be split as it was asked."""
    return Finding(
        "no_split",
        "serious",
        "the log cannot be split as asked",
        message,
        "Choose another split (split=temporal, split=leave_last_out) or loosen data.filters.",
        1.0,
    )


def cold_counts(split: Split) -> dict[str, int]:
    """Return how many users and items of the log have no event in train."""
    report = split.report["train"]
    return {
        "users_without_train_event": split.train.n_users - int(report["users"]),
        "items_without_train_event": split.train.n_items - int(report["items"]),
    }
