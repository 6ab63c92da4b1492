"""A comparison as Markdown, for papers and pull requests, and as CSV, for whatever comes next."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from recdl.evaluation import seed_words, wording
from recdl.evaluation.comparison import ComparedRun, Comparison
from recdl.evaluation.details import Details
from recdl.evaluation.records import RunRecord
from recdl.evaluation.results import PART, primary_of

_CSV_HEAD = (
    "run",
    "model",
    "seed",
    "metric",
    "value",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "adjusted_p_value",
    "significant",
)
_UNKNOWN = "\N{EN DASH}"
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~])")


def csv_table(comparison: Comparison, further_seeds: Sequence[RunRecord] = ()) -> str:
    """Return a row a run and figure, with its interval and its difference to the reference where it has these.

    Runs with further seeds of the models come last, untested: their model is, by the means over seeds.

    Metrics on test have their names ("ndcg@10"); everything else has those of the run record
    ("validation/ndcg@10", "time/fit_seconds"). Numbers are whole, for further calculation; empty is not known.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_HEAD)
    for run in comparison.sorted_runs:
        own = [run.label, run.model, run.seed]
        for name, figure in run.figures.items():
            tested = figure.difference is not None
            writer.writerow(
                [
                    *own,
                    name,
                    figure.value,
                    *(figure.interval or ("", "")),
                    figure.difference if tested else "",
                    *(figure.difference_interval or ("", "")),
                    figure.p_value if tested else "",
                    figure.adjusted_p_value if tested else "",
                    str(figure.significant).lower() if tested else "",
                ]
            )
        others = {name: value for name, value in run.metrics.items() if not _is_figure(run, name)}
        for name, value in others.items():
            writer.writerow([*own, name, value, *[""] * (len(_CSV_HEAD) - 5)])
    figures = {f"{PART}/{name}": name for name in comparison.runs[0].figures}
    for record in further_seeds:
        own = [record.identity.model, record.identity.model, record.identity.seed]
        for name, value in record.metrics.items():
            ends = record.intervals.get(name, ("", ""))
            writer.writerow([*own, figures.get(name, name), value, *ends, *[""] * (len(_CSV_HEAD) - 7)])
    return text.getvalue()


def markdown(comparison: Comparison, details: Details) -> str:
    """Return the report in GitHub's Markdown: figures, cost, segments, how it was measured."""
    parts = [
        f"## {wording.count(len(comparison.runs), 'run')} on {_plain(comparison.data.name)}",
        _plain(
            wording.finding(comparison)
            if details.seeds is None
            else seed_words.finding(details.seeds, comparison.primary)
        ),
        _plain(wording.subject(comparison)),
        *(f"> **Left out: {_plain(one.name)}.** {_plain(one.reason)}" for one in details.left_out),
        *(
            f"> **{_plain(label)}:** {_plain(sentence)}"
            for label, sentences in details.notes.items()
            for sentence in sentences
        ),
        *_seeds(details),
        *_one_seed(details),
        _figures(comparison),
        _list(wording.legend(comparison)),
        "### Cost",
        _cost(comparison),
        *_segments(comparison, details),
        *_groupings(comparison, details),
        *_bias(comparison, details),
        *_win_loss(details),
        "### How it was measured",
        _list(
            [*wording.rules(comparison), *(f"Not shown: {one}" for one in details.missing), *_parts(comparison)]
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_figure(run: ComparedRun, name: str) -> bool:
    return name.startswith("test/") and name.removeprefix("test/") in run.figures


def _figures(comparison: Comparison) -> str:
    rows = []
    for run in comparison.sorted_runs:
        reference = " (reference)" if run.label == comparison.reference and len(comparison.runs) > 1 else ""
        cells = [f"{_plain(run.label)}{reference}"]
        for name in comparison.metrics:
            figure, decimals = run.figures[name], wording.digits(comparison, name)
            value = wording.number(figure.value, decimals)
            cell = f"**{value}**" if figure.best else value
            cell += f" {mark}" if (mark := wording.mark(figure)) else ""
            cell += f" [{wording.interval(figure.interval, decimals)}]" if figure.interval else ""
            cells.append(cell)
        rows.append(cells)
    return _table(["run", *(wording.metric_name(name) for name in comparison.metrics)], rows)


def _cost(comparison: Comparison) -> str:
    validation = f"validation/{comparison.primary}"
    decimals = wording.digits(comparison, comparison.primary)
    rows = [
        [
            _plain(run.label),
            wording.number(run.metrics[validation], decimals) if validation in run.metrics else _UNKNOWN,
            wording.duration(run.fit_seconds) or _UNKNOWN,
            wording.count(run.n_parameters) or _UNKNOWN,
            wording.size(run.state_bytes) or _UNKNOWN,
            wording.size(wording.peak_bytes(run)) or _UNKNOWN,
            str(run.seed),
            wording.trials(run),
        ]
        for run in comparison.sorted_runs
    ]
    name = wording.metric_name(comparison.primary)
    heads = [
        "run",
        f"validation {name}",
        "fit",
        "learned numbers",
        "stored state",
        "peak memory",
        "seed",
        "settings tried",
    ]
    return _table(heads, rows)


def _segments(comparison: Comparison, details: Details) -> Iterator[str]:
    for one in details.segmentations:
        yield f"### {one.name}: {wording.metric_name(one.metric)}"
        heads = ["run", *(f"{segment.name} ({segment.size:,})" for segment in one.segments), "gap"]
        rows = [
            [
                _plain(run.label),
                *(wording.number(segment.figures[run.label].value) for segment in one.segments),
                wording.number(one.gap(run.label)),
            ]
            for run in comparison.sorted_runs
            if run.label in one.segments[0].figures
        ]
        yield _table(heads, rows)
        yield one.note


def _seeds(details: Details) -> Iterator[str]:
    found = details.seeds
    if found is None:
        return
    yield "### Over seeds"
    rows = []
    for group in seed_words.best_first(found, primary_of(found.metrics)):
        reference = " (reference)" if group.label == found.reference and len(found.groups) > 1 else ""
        cells = [f"{_plain(group.label)}{reference}"]
        for name in found.metrics:
            figure = group.figures[name]
            said = [seed_words.over_seeds(figure), seed_words.seed_mark(figure, name)]
            compared = seed_words.seed_difference(figure)
            cells.append(" ".join([one for one in said if one] + ([f"({compared})"] if compared else [])))
        rows.append([*cells, ", ".join(map(str, group.seeds)), wording.count(group.trials)])
    heads = ["model", *(wording.metric_name(name) for name in found.metrics), "seeds", "settings tried"]
    yield _table(heads, rows)
    yield _list(seed_words.seeds_legend(found))


def _one_seed(details: Details) -> Iterator[str]:
    if details.seeds is not None:
        yield "### Runs"
        if details.further_seeds:
            yield _plain(seed_words.one_seed(details.seeds))


def _groupings(comparison: Comparison, details: Details) -> Iterator[str]:
    for one in details.groupings:
        yield f"### {_plain(one.name)}: {wording.metric_name(one.metric)}"
        runs = [run.label for run in comparison.sorted_runs if run.label in one.labels]
        heads = ["run", *(f"{_plain(group.name)} ({group.size:,})" for group in one.groups), "gap"]
        rows = [
            [
                _plain(label),
                *(
                    _UNKNOWN if (value := group.figures.get(label)) is None else wording.number(value)
                    for group in one.groups
                ),
                wording.number(one.gap(label)),
            ]
            for label in runs
        ]
        yield _table(heads, rows)


def _bias(comparison: Comparison, details: Details) -> Iterator[str]:
    bias = details.bias
    if bias is None:
        return
    yield f"### Popularity of what is in lists of {bias.k}"
    named = [("*what was learned from*", bias.log), ("*what was chosen*", bias.targets)]
    named += [
        (_plain(run.label), bias.runs[run.label]) for run in comparison.sorted_runs if run.label in bias.runs
    ]
    rows = [
        [name, *(wording.percent(share) for share in one.shares.values()), wording.count(one.n_items)]
        for name, one in named
    ]
    yield _table(["", *bias.log.shares, "distinct items"], rows)


def _win_loss(details: Details) -> Iterator[str]:
    result = details.win_loss
    if result is None:
        return
    first, second = _plain(result.first), _plain(result.second)
    yield f"### User by user: {first} and {second}, {wording.metric_name(result.metric)}"
    rows = [
        [
            one.group,
            *(f"{part:,} ({wording.percent(part / one.n)})" for part in (one.first, one.alike, one.second)),
        ]
        for one in result.balances
    ]
    yield _table(["users", f"{first} is better", "alike", f"{second} is better"], rows)


def _not_shown(details: Details) -> Iterator[str]:
    return (f"Not shown: {one}" for one in details.missing)


def _parts(comparison: Comparison) -> Iterator[str]:
    for name in ("data", "split", "protocol"):
        part = getattr(comparison, name)
        yield f"{name.capitalize()}: {part.name} (fingerprint {part.fingerprint[:8]})."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(sentence)}" for sentence in sentences)


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup: names are the user's own."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
