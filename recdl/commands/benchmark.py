"""Train several models, and baselines beside them, on one log with several seeds, and compare them."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import recdl
from recdl.commands.apart import train_apart
from recdl.commands.application import complain
from recdl.commands.compare import Shown, print_comparison
from recdl.commands.contenders import COMPARISON, Contender, contenders, space_of, tuned
from recdl.commands.ingredients import check_refit
from recdl.commands.together import check_alone
from recdl.config import build
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.splits import split_log
from recdl.errors import RecdlError, RecordError
from recdl.evaluation.details import LeftOut
from recdl.evaluation.measures import check_protocol
from recdl.evaluation.records import RunRecord
from recdl.evaluation.unfinished import UnfinishedRun
from recdl.schemas import BenchmarkSettings
from recdl.search.space import Dimension
from recdl.signatures import checked_settings
from recdl.storage import fingerprint

_SHARED = ("data", "split", "tracking", "evaluation", "refit", "seed")
_OWN = ("model", "trainer")


def benchmark(config: Mapping[str, Any]) -> None:
    """Train each of `models` and `baselines`, compare the runs that were finished, and say where everything lies.

    Runs that are whole, of the same settings, data and version, are used again, as are trials of settings. What
    kept a model from being trained stands in the report.

    Args:
        config: As `recdl.config.compose("benchmark", ...)` gives it.

    Raises:
        RecdlError: If one of `models` could not be trained; the others are compared before.
    """
    settings = checked_settings(BenchmarkSettings, config)
    runners = contenders(config, settings)
    check_alone(build(settings.trainer, group="trainer", extras={"folder": None, "tracking": None}))
    spaces = {one.name: space_of(one) for one in runners} if settings.tuning.trials > 1 else {}
    folder = Path(settings.run_dir) if settings.run_dir else _folder(config)
    log = prepare(
        build(settings.data, group="data"),
        Path(settings.prepared_root),
        engine=build(settings.engine, group="engine"),
        progress=settings.progress,
    )
    _check_ingredients(settings, log)
    runs = _Runs(settings, folder, log.fingerprint, sum(len(one.seeds) for one in runners))
    try:
        for one in runners:
            runs.add(one, spaces.get(one.name, ()))
    except (KeyboardInterrupt, SystemExit):
        if runs.finished:
            kept = ", ".join(runs.finished)
            print(f"finished, and used again by the same command: {kept} (in {folder})", file=sys.stderr)
        print("the same command goes on from here, also with what was cut off", file=sys.stderr)
        raise
    if runs.finished:
        shown = Shown(left_out=runs.left_out, one_seed=True)
        print_comparison(list(runs.finished.values()), shown, folder / COMPARISON)
        print(f"runs: {folder}")
        _tell_of_chance(runners)
    if runs.left_out:
        names = "; ".join(one.name for one in runs.left_out)
        said = f"no run of {names}, see above; the others are kept and used again"
        if runs.failed:
            raise RecordError(said)
        print(f"warning: {said}", file=sys.stderr)


@dataclass(eq=False)
class _Runs:
    """What became of the runs so far.

    Attributes:
        settings: Of the benchmark.
        folder: Of the benchmark.
        data: Fingerprint of the prepared log.
        n_runs: How many there will be.
        finished: Records, by what each run is called.
        left_out: Runs that could not be had.
        failed: Whether one of them is of a model that was asked for.
        begun: Runs that were looked at so far.
    """

    settings: BenchmarkSettings
    folder: Path
    data: str
    n_runs: int
    finished: dict[str, RunRecord] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    failed: bool = False
    begun: int = 0

    def add(self, contender: Contender, space: Sequence[Dimension]) -> None:
        """Tune a contender, if there is a budget for it, and run it with each of its seeds."""
        try:
            point, tried = self._tuned(contender, space)
        except RecdlError as error:
            self._fail(contender, contender.name, error)
            self.begun += len(contender.seeds)
            return
        for seed in contender.seeds:
            self.begun += 1
            try:
                self._run(contender, contender.run(self.folder, seed, point), tried)
            except RecdlError as error:
                self._fail(contender, contender.label(seed), error)

    def _tuned(self, contender: Contender, space: Sequence[Dimension]) -> tuple[dict[str, Any], int]:
        trials = self.settings.tuning.trials
        if space and trials > 1:
            print(f"{contender.name}: choosing among {trials} settings by validation", flush=True)
        return tuned(
            contender,
            space,
            self.folder,
            trials=trials,
            log=self.data,
            overwrite=self.settings.overwrite,
        )

    def _run(self, contender: Contender, point: Mapping[str, Any], tried: int) -> None:
        label = contender.label(point["seed"])
        record = None if self.settings.overwrite else _finished(point, data=self.data)
        doing = "training" if record is None else "finished before, used again"
        if record is None and not self.settings.overwrite and _is_cut_off(point, data=self.data):
            doing = "going on with what was cut off"
            point = {**point, "resume": point["run_dir"], "overwrite": False}
        print(f"{label}: {doing} ({self.begun} of {self.n_runs})", flush=True)
        record = record or train_apart(point)
        if record.trials != tried:
            record.write_trials(tried)
        self.finished[label] = record

    def _fail(self, contender: Contender, label: str, error: RecdlError) -> None:
        complain(error)
        self.left_out.append(LeftOut(label, str(error)))
        self.failed |= not contender.beside


def _check_ingredients(settings: BenchmarkSettings, log: PreparedLog) -> None:
    """Check once what every run shares, so that it is not told by each of them.

    Raises:
        RecdlError: If the log cannot be split or measured as the settings say.
    """
    check_protocol(build(settings.evaluation, group="evaluation"), log.interactions)
    split = split_log(build(settings.split, group="split"), log)
    if settings.refit:
        check_refit(split)


def _folder(config: Mapping[str, Any]) -> Path:
    key = fingerprint({name: config[name] for name in (*_SHARED, "trainer")})
    return Path("runs", f"benchmark-{config['data']['name']}-{key[:12]}")


def _finished(point: Mapping[str, Any], *, data: str) -> RunRecord | None:
    try:
        record = RunRecord.open(Path(point["run_dir"]))
    except RecordError:
        return None
    return record if _is_of(record.config, record.record, point, data) else None


def _is_cut_off(point: Mapping[str, Any], *, data: str) -> bool:
    """Whether the folder of a run holds a beginning of it."""
    try:
        begun = UnfinishedRun.open(Path(point["run_dir"]))
    except RecdlError:
        return False
    return _is_of(begun.config, begun.started, point, data)


def _is_of(config: Mapping[str, Any], started: Mapping[str, Any], point: Mapping[str, Any], data: str) -> bool:
    return (
        all(config.get(key) == point[key] for key in (*_SHARED, *_OWN))
        and started["identity"]["data"]["fingerprint"] == data
        and started["versions"]["recdl"] == recdl.__version__
    )


def _tell_of_chance(runners: Sequence[Contender]) -> None:
    """Say what one seed of a model leaves open, and how to have more."""
    once = ", ".join(one.name for one in runners if one.random and len(one.seeds) == 1)
    if once:
        print(
            f"one seed each: what {once} reached is partly chance; benchmark.py with the same settings and seeds=5"
            " runs each four times more, beside these"
        )
