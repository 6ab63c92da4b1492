"""Evaluate a fitted model into the record of its run, and show what came out."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from recdl.commands.ingredients import candidates
from recdl.data.interactions import Interactions
from recdl.data.queries import QuerySet
from recdl.data.splits import Split
from recdl.evaluation.evaluate import SAMPLED, evaluate
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.evaluation.records import RunRecord, RunWriter
from recdl.evaluation.results import TESTED
from recdl.evaluation.sampling import sampled_warning
from recdl.metrics.ratings import RATING_METRICS
from recdl.metrics.registry import WHOLE_METRICS
from recdl.models.protocol import Recommender


@dataclass(frozen=True, eq=False)
class Asked:
    """A part of a split that a model is asked.

    Attributes:
        part: "validation" or "test".
        query_set: The questions.
        learned_from: What the model was fitted on.
    """

    part: str
    query_set: QuerySet
    learned_from: Interactions


def record_split(writer: RunWriter, split: Split) -> None:
    """Write what the split holds, and show what it warns of."""
    writer.write_split_report(split.report)
    for warning in split.report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


def record_evaluations(
    writer: RunWriter,
    model: Recommender,
    asked: Sequence[Asked],
    *,
    protocol: EvaluationProtocol,
    seed: int,
    progress: bool,
) -> dict[str, float]:
    """Evaluate a model on some parts, write the results, and return the seconds each took, by metric name."""
    if protocol.sampled is not None:
        print(f"warning: {sampled_warning(protocol.sampled)}", file=sys.stderr)
    seconds = {}
    for one in asked:
        started = time.perf_counter()
        evaluation = evaluate(
            model,
            one.query_set,
            candidates=candidates(one.learned_from, protocol.candidates),
            protocol=protocol,
            train=one.learned_from,
            seed=seed,
            progress=progress,
        )
        seconds[f"time/{one.part}_seconds"] = time.perf_counter() - started
        writer.write_evaluation(one.part, evaluation)
    return seconds


def console() -> Console:
    """Return standard output: as wide as the terminal, or 120 characters where there is none."""
    return Console(width=None if sys.stdout.isatty() else 120)


def deciding_metric(record: RunRecord) -> str:
    """Return the metric that runs of a sweep are told apart by: the trainer's `monitor`, if it was evaluated."""
    known = [name.removeprefix("validation/") for name in record.metrics if name.startswith("validation/")]
    monitor = str(record.config["trainer"].get("monitor", ""))
    ranking = [name for name in known if "@" in name]
    if monitor in known or not ranking:
        return monitor
    return next((name for name in ranking if name.startswith("ndcg@")), ranking[0])


@contextmanager
def plain_lines() -> Iterator[None]:
    """Write to standard error, with the time, what the training inside the block has to tell: a line an epoch."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("recdl.training")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def print_summary(record: RunRecord, *, fitted: bool = True) -> None:
    """Print the usual metrics of a run, how long it took to fit if it just was, and where its record lies.

    The usual ones are shown at every cutoff, the others at the middle one; `metrics.json` has all.
    """
    confidence = float(record.identity.protocol.settings["confidence"])
    among = ", among sampled candidates" if f"test/{SAMPLED}" in record.metrics else ""
    table = Table(title=f"{record.identity.model} on {record.identity.data.name}{among}", title_justify="left")
    table.add_column("metric")
    for column in ("validation", "test", f"{confidence:.0%} interval of test"):
        table.add_column(column, justify="right")
    for name, value in record.metrics.items():
        metric = name.removeprefix("test/")
        if metric == name or not _is_shown(metric, record):
            continue
        ends = record.intervals.get(name)
        interval = "" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"
        validation = record.metrics.get(f"validation/{metric}")
        table.add_row(metric, "" if validation is None else f"{validation:.4f}", f"{value:.4f}", interval)
    console().print(table)
    if fitted:
        print(f"fitted in {record.metrics['time/fit_seconds']:.1f} s: {_learned(record)}")
        print(
            f"model: {record.folder / 'model'}, for recommend.py once export.py run={record.folder} has packed it"
        )
    print(f"run record: {record.folder}")


def _is_shown(metric: str, record: RunRecord) -> bool:
    family, at, cutoff = metric.partition("@")
    if not at:
        return metric in (*RATING_METRICS, *WHOLE_METRICS)
    cutoffs = sorted({int(name.rpartition("@")[2]) for name in record.metrics if "@" in name})
    middle = str(cutoffs[(len(cutoffs) - 1) // 2])
    return "/" not in family and (cutoff == middle or family in (*TESTED, "coverage"))


def _learned(record: RunRecord) -> str:
    """Say what a run has learned: how much, and in how many epochs."""
    said = f"{int(record.metrics.get('model/n_parameters', 0)):,} parameters"
    curve, monitor = record.learning_curve, f"validation/{record.config['trainer']['monitor']}"
    if not curve:
        return said
    said += f" in {len(curve)} epochs"
    if monitor in curve[0]:
        best = max(curve, key=lambda entry: float(entry[monitor]))
        said += f", the best of them epoch {best['epoch']} ({monitor} {best[monitor]:.4f})"
    return said
