"""Figures and rules of a comparison in words."""

from collections.abc import Mapping
from typing import Any

from recdl.evaluation.comparison import ComparedRun, Comparison, Figure
from recdl.evaluation.evaluate import SAMPLED
from recdl.evaluation.results import PART
from recdl.evaluation.significance import queries_needed

METRIC_MEANINGS = {
    "hr": "share of the queries with at least one target in the list",
    "recall": "share of a query's targets that are in the list",
    "precision": "share of the list that are targets",
    "f1": "harmonic mean of precision and recall",
    "ndcg": "how high in the list the targets stand, 1 if all are on top; a place counts less the lower it is",
    "mrr": "one over the place of the first target in the list, 0 if there is none",
    "map": "mean of the precision at the place of each target in the list",
    "capped_recall": "share of the targets that the list could hold at most that are in it",
    "dcg": "as NDCG, not divided by what would be the most",
    "rbp": "what a user who goes on to the next place four times out of five would find, on average",
    "weighted_ndcg": "as NDCG, a target counting by its behaviour or the log's number",
    "auc": "how often a target stands above an item that is none",
    "serendipity": "share of the list that are targets and that the most popular items would not have shown",
    "coverage": "share of the catalogue that is in any query's list",
    "gini": "how unevenly the lists show the catalogue: 0 all items alike, 1 one alone; less is better",
    "entropy": "how evenly the lists show the catalogue, in bits",
    "popularity": "train events of the items in the list, on average",
    "novelty": "how rare the items in the list are among users, in bits, on average",
    "diversity": "how seldom two items of the list have the same users: 0 always, 1 never",
    "category_diversity": "how seldom two items of the list have the same categories: 0 always, 1 never",
    "repeat": "share of the list that the user has had before",
    "miscalibration": "how far the list's mix of categories is from that of the user's history; less is better",
}
_MINUS = "\N{MINUS SIGN}"
_NAMES = {
    "hr": "HR",
    "ndcg": "NDCG",
    "dcg": "DCG",
    "weighted_ndcg": "Weighted NDCG",
    "capped_recall": "Capped recall",
    "category_diversity": "Category diversity",
    "mrr": "MRR",
    "map": "MAP",
    "f1": "F1",
    "rbp": "RBP",
    "auc": "AUC",
}


_TESTS = {"permutation": "paired randomization test", "bootstrap": "paired bootstrap test"}


def metric_name(metric: str) -> str:
    """Return how a metric is written: "NDCG@10" for "ndcg@10"."""
    name, at, cutoff = metric.partition("@")
    return f"{_NAMES.get(name, name.capitalize())}{at}{cutoff}"


def digits(comparison: Comparison, metric: str) -> int:
    """Return how many decimals a metric is written with, alike for all runs: more where all are small."""
    highest = max(abs(run.figures[metric].value) for run in comparison.runs)
    return 4 if highest >= 0.02 or highest == 0 else 5 if highest >= 0.002 else 6


def number(value: float, decimals: int = 4) -> str:
    """Write a metric: "0.1234"."""
    return f"{value:.{decimals}f}".replace("-", _MINUS)


def interval(ends: tuple[float, float] | None, decimals: int = 4) -> str:
    """Write an interval: "0.1100 to 0.1300"."""
    return "" if ends is None else f"{number(ends[0], decimals)} to {number(ends[1], decimals)}"


def difference(figure: Figure, decimals: int = 4) -> str:
    """Write a figure's difference to the reference: "+0.0123"; nothing for the reference itself."""
    if figure.difference is None:
        return ""
    return f"{'+' if figure.difference >= 0 else ''}{number(figure.difference, decimals)}"


def p_value(value: float | None) -> str:
    """Write a p-value: "p = 0.031", "p < 0.001"."""
    if value is None:
        return ""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def mark(figure: Figure) -> str:
    """Return the sign of a significant difference: ▲ better, ▼ worse than the reference; none where neither is."""
    if not figure.significant or not figure.difference or figure.better == "neither":
        return ""
    return "▲" if (figure.difference > 0) == (figure.better == "more") else "▼"


def duration(seconds: float | None) -> str:
    """Write a time span in the unit that fits: "0.35 s", "12 s", "3.5 min", "2.1 h"."""
    if seconds is None:
        return ""
    for unit, name, limit in ((1, "s", 100), (60, "min", 100 * 60), (3600, "h", float("inf"))):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.0f} {name}" if value >= 10 else f"{value:.2g} {name}"
    raise AssertionError("a time span is finite")


def count(value: float | None, noun: str = "", plural: str | None = None) -> str:
    """Write a whole number with its thousands apart, and a noun in the fitting number."""
    if value is None:
        return ""
    if not noun:
        return f"{value:,.0f}"
    return f"{value:,.0f} {noun if value == 1 else plural or f'{noun}s'}"


def size(n_bytes: float | None) -> str:
    """Write a size in memory: "512 B", "3.4 MiB"."""
    if n_bytes is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if n_bytes >= 100 or unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"


def percent(share: float) -> str:
    """Write a share as a percentage, in two digits or more."""
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def settings(values: Mapping[str, Any]) -> str:
    """Write settings on one line: "cutoffs=[5, 10], exclude_history=False"."""
    return ", ".join(f"{key}={value}" for key, value in values.items())


def subject(comparison: Comparison) -> str:
    """Say in one sentence what was compared."""
    return (
        f"{count(len(comparison.runs), 'run')} on {comparison.data.name} ({comparison.split.name} split), "
        f"scored on {count(comparison.n_queries, 'test query', 'test queries')} of "
        f"{count(comparison.n_users, 'user')} with {count(comparison.n_targets, 'target')} in all."
    )


def finding(comparison: Comparison) -> str:
    """Say in one or two sentences what came out."""
    best = comparison.sorted_runs[0]
    figure, metric = best.figures[comparison.primary], metric_name(comparison.primary)
    decimals = digits(comparison, comparison.primary)
    value = number(figure.value, decimals)
    if figure.interval:
        value += f" ({percent(comparison.confidence)} interval {interval(figure.interval, decimals)})"
    if len(comparison.runs) == 1:
        return f"{metric} is {value}. There is no other run to compare it with."
    text = f"{best.label} has the highest {metric}, {value}"
    if best.label == comparison.reference:
        others = [run.figures[comparison.primary] for run in comparison.runs if run is not best]
        worse = sum(other.significant for other in others)
        return f"{text}; it is the reference, and {worse} of the {len(others)} others are significantly worse."
    if figure.significant:
        more = difference(figure, decimals)
        return f"{text}: significantly more than the reference, {comparison.reference} ({more})."
    return f"{text}, but the difference to the reference, {comparison.reference}, may be chance."


def sampled(comparison: Comparison) -> str:
    """Warn of figures among given candidates; nothing where all items are ranked."""
    given = comparison.runs[0].metrics.get(f"{PART}/{SAMPLED}")
    if given is None:
        return ""
    return (
        f"Sampled candidates: each query ranks about {given:.0f} items that the protocol gives, not the catalogue."
        " Such figures are far higher than those of full ranking, and may order models differently (Krichene &"
        " Rendle, 2020)."
    )


def rules(comparison: Comparison) -> list[str]:
    """Say how the figures were measured, a sentence a rule."""
    said = [
        sampled(comparison) or "Candidates are all items with an event in train; all are ranked, none is sampled."
    ]
    excluded = comparison.protocol.settings.get("exclude_history")
    if excluded is not None:
        said.append(
            "The items of a query's own history are taken out of its candidates."
            if excluded
            else "The items of a query's own history stay candidates: they may be recommended again."
        )
    said.append(
        "Ties: among equally scored items a target stands where it would on average in random order, so that a "
        "model that scores everything alike gets chance figures."
    )
    if comparison.cold_target_share is not None:
        said.append(
            f"{percent(comparison.cold_target_share)} of the targets have no event in train: no model here can "
            "find them, and they count as misses."
        )
    if comparison.masked_target_share:
        said.append(
            f"{percent(comparison.masked_target_share)} of the targets stand in their query's history, which is "
            "taken out: they count as misses."
        )
    leak = comparison.split_report.get("leak", {}).get("statement")
    if leak:
        said.append(f"What train knows of the future: {leak[:1].lower()}{leak[1:]}")
    return said


def legend(comparison: Comparison) -> list[str]:
    """Say what the intervals, marks and p-values of a comparison mean, a sentence each."""
    sure, chance = percent(comparison.confidence), f"{1 - comparison.confidence:.2g}"
    said = [
        f"Each figure is a mean over the test queries; the range with it is a {sure} bootstrap interval: were "
        "other users of the same kind asked, most means would lie in it.",
    ]
    if len(comparison.runs) > 1:
        said += [
            f"A difference with its p-value is to the reference, {comparison.reference}, query by query. p is how "
            "often a difference of that size or more would come about by chance if the two were equally good "
            f"({_TESTS[comparison.test]} over users), corrected by Holm's method for the "
            f"{count(comparison.n_tests, 'test')} here.",
            f"▲ significantly better, ▼ significantly worse than the reference (corrected p below {chance}); "
            "without a mark the difference may be chance. Intervals of two runs may overlap and the runs still "
            "differ significantly, since the test compares them on the same queries.",
            "The best figure of each metric is set in bold.",
            *_could_be_seen(comparison),
        ]
    return said


def short_legend(comparison: Comparison) -> str:
    """Say the same in the few lines that fit under a table in a terminal."""
    text = f"Means with {percent(comparison.confidence)} bootstrap intervals."
    if len(comparison.runs) > 1:
        text += (
            f" Differences to {comparison.reference} with p of a {_TESTS[comparison.test]}, corrected for "
            f"{count(comparison.n_tests, 'test')} (Holm); ▲ better, ▼ worse where p is below "
            f"{1 - comparison.confidence:.2g}."
        )
    if comparison.cold_target_share:
        text += (
            f" {percent(comparison.cold_target_share)} of the targets are unknown to train and count as misses."
        )
    return f"{text} {sampled(comparison)}".strip()


def _could_be_seen(comparison: Comparison) -> list[str]:
    """Say how small a difference these queries show."""
    sizes = [run.figures[comparison.primary].detectable for run in comparison.runs]
    known = [size for size in sizes if size]
    if not known:
        return []
    decimals = digits(comparison, comparison.primary)
    return [
        f"With {count(comparison.n_queries, 'query', 'queries')} a single test sees a difference of"
        f" {number(max(known), decimals)} in {metric_name(comparison.primary)} to {comparison.reference} four"
        " times out of five; a smaller one may well be missed."
    ]


def queries_needed_for(comparison: Comparison, size: float | None) -> list[str]:
    """Say how many queries it would take to see a difference of a size in the main metric, a sentence a run."""
    if size is None:
        return []
    said = []
    for run in comparison.sorted_runs:
        seen = run.figures[comparison.primary].detectable
        if seen:
            needed = queries_needed(size, seen, comparison.n_queries)
            said.append(
                f"{run.label}: to see a difference of {size:g} in {metric_name(comparison.primary)} to"
                f" {comparison.reference} four times out of five takes about {count(needed, 'query', 'queries')}"
                f" (there are {count(comparison.n_queries)})."
            )
    return said


def trials(run: ComparedRun) -> str:
    """Say how many settings were tried before those of a run were chosen: "1 (untuned)", "20".

    Of lists that were made elsewhere it is not known.
    """
    if run.fit_seconds is None:
        return "\N{EN DASH}"
    return "1 (untuned)" if run.trials == 1 else count(run.trials)


def tuned(run: ComparedRun) -> str:
    """Say the same where nothing stands above it: "untuned", "of 20 settings", "made elsewhere"."""
    if run.fit_seconds is None:
        return "made elsewhere"
    return "untuned" if run.trials == 1 else f"of {count(run.trials)} settings"


def peak_bytes(run: ComparedRun) -> int | None:
    """Return the most memory that the process of a run held."""
    peak: int | None = (run.provenance.get("peak_memory") or {}).get("resident_bytes")
    return peak


def run_facts(run: ComparedRun) -> dict[str, str]:
    """Return what there is to know of how a run came about, by name."""
    known = run.provenance
    git, hardware = (known.get(key) or {} for key in ("git", "hardware"))
    facts = {
        "Folder": str(run.folder),
        "Command": " ".join(known.get("command") or []),
        "Seed": str(run.seed),
        "Settings tried": trials(run),
        "Settings that differ": settings({key: value for key, value in run.settings.items() if key != "seed"}),
        "Code": f"{git['commit'][:12]}{', with local changes' if git.get('dirty') else ''}" if git else "",
        "Versions": settings(known.get("versions") or {}),
        "Hardware": "; ".join([str(hardware.get("cpu", "")), *hardware.get("gpus", [])]) if hardware else "",
        "Peak memory": size(peak_bytes(run)),
        "Finished": str(known.get("finished") or ""),
    }
    return {name: fact for name, fact in facts.items() if fact}
