"""What is said of models by the means over their seeds, in every form of a report."""

from rich import box
from rich.table import Table
from rich.text import Text

from recdl.evaluation import wording
from recdl.evaluation.results import primary_of
from recdl.evaluation.seeds import SeedComparison, SeedFigure, SeedGroup
from recdl.metrics.registry import better


def finding(comparison: SeedComparison, metric: str) -> str:
    """Say in a sentence what came out over seeds: the best of single runs would be the luckiest one."""
    best = best_first(comparison, metric)[0]
    figure = best.figures[metric]
    seeds = f" over {len(best.seeds)} seeds" if len(best.seeds) > 1 else ""
    text = f"{best.label} has the highest {wording.metric_name(metric)}, {over_seeds(figure)}{seeds}"
    others = [group.figures[metric] for group in comparison.groups if group is not best]
    if not others:
        return f"{text}. There is no other model to compare it with."
    if figure.difference is None:
        worse = sum(other.significant for other in others)
        return f"{text}; it is the reference, and {worse} of the {len(others)} others are significantly worse."
    if figure.significant:
        more = seed_difference(figure)
        return f"{text}: significantly more than the reference, {comparison.reference} ({more})."
    return f"{text}, but the difference to the reference, {comparison.reference}, may be chance."


def one_seed(comparison: SeedComparison) -> str:
    """Say of which models one run stands for several seeds in what shows single runs."""
    several = [group for group in comparison.groups if len(group.seeds) > 1]
    seeds = sorted({group.seeds[0] for group in several})
    named = ", ".join(group.label for group in several)
    return f"Of {named} one run stands here and below: seed {', '.join(map(str, seeds))}."


def over_seeds(figure: SeedFigure) -> str:
    """Write a mean with its standard deviation: "0.1234 ± 0.0012"; of a single seed the figure alone."""
    deviation = "" if figure.deviation is None else f" ± {wording.number(figure.deviation)}"
    return f"{wording.number(figure.mean)}{deviation}"


def seed_difference(figure: SeedFigure) -> str:
    """Write a difference to the reference with its p-value; nothing for the reference itself."""
    if figure.difference is None:
        return ""
    sign = "+" if figure.difference >= 0 else ""
    return f"{sign}{wording.number(figure.difference)}, {wording.p_value(figure.adjusted_p_value)}"


def seed_mark(figure: SeedFigure, metric: str) -> str:
    """Return the sign of a significant difference: ▲ better, ▼ worse than the reference."""
    if not figure.significant or not figure.difference or better(metric) == "neither":
        return ""
    return "▲" if (figure.difference > 0) == (better(metric) == "more") else "▼"


def seeds_legend(comparison: SeedComparison) -> list[str]:
    """Return how to read the means over seeds."""
    sentences = ["Means over the seeds of each model, ± their standard deviation."]
    if comparison.n_tests:
        sentences.append(
            f"Differences are to {comparison.reference}, with p of a t test over users and seeds, corrected for"
            f" {wording.count(comparison.n_tests, 'test')} (Holm); ▲ and ▼ mark those below"
            f" {1 - comparison.confidence:.2g}."
        )
    if any(len(group.seeds) == 1 for group in comparison.groups):
        sentences.append("Of a model with one seed, the seed is taken as part of the model.")
    return sentences


def best_first(comparison: SeedComparison, metric: str) -> list[SeedGroup]:
    """Return the models, the best mean of a metric first."""
    sign = 1.0 if better(metric) == "less" else -1.0
    return sorted(comparison.groups, key=lambda group: sign * group.figures[metric].mean)


def is_best(comparison: SeedComparison, group: SeedGroup, metric: str) -> bool:
    """Whether there are several models and none has a better mean."""
    first = best_first(comparison, metric)[0].figures[metric].mean
    return len(comparison.groups) > 1 and better(metric) != "neither" and group.figures[metric].mean == first


def each_seed(group: SeedGroup, metric: str) -> str:
    """Write the figure of every seed: "seed 0: 0.1234, seed 1: 0.1250"."""
    pairs = zip(group.seeds, group.figures[metric].by_seed, strict=True)
    return ", ".join(f"seed {seed}: {wording.number(value)}" for seed, value in pairs)


def seeds_table(comparison: SeedComparison) -> Table:
    """Return the means over the seeds for a terminal: a row a model, the best first."""
    first = primary_of(comparison.metrics)
    shown = tuple(dict.fromkeys([first, *comparison.metrics]))[:4]
    table = Table(
        title=Text("means over seeds, with their standard deviation"),
        caption=Text(" ".join(seeds_legend(comparison)[1:])),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("run", overflow="fold")
    table.add_column("seeds", justify="right")
    for name in shown:
        table.add_column(Text(wording.metric_name(name)), no_wrap=True)
    for group in best_first(comparison, first):
        label = group.label + ("\n(reference)" if group.label == comparison.reference else "")
        cells = (_cell(group.figures[name], name) for name in shown)
        table.add_row(Text(label), str(len(group.seeds)), *cells)
    return table


def _cell(figure: SeedFigure, metric: str) -> Text:
    cell = Text(f"{over_seeds(figure)} {seed_mark(figure, metric)}".rstrip())
    if figure.difference is not None:
        cell.append(f"\n{seed_difference(figure)}", style="bold" if figure.significant else "dim")
    return cell
