"""What is known of a whole evaluation before it is made: constant, perfect and renumbered scores, shared work."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries, QuerySet
from recdl.evaluation.evaluate import Evaluation, evaluate
from recdl.evaluation.protocol import EvaluationProtocol
from recdl.metrics.registry import METRICS
from recdl.training.processes import Processes
from tests.evaluation.shared_ranking import figures

N_ITEMS, N_USERS = 31, 12
PROTOCOL = EvaluationProtocol(
    metrics=tuple(
        name for name in METRICS if "category" not in name and name not in ("miscalibration", "weighted_ndcg")
    ),
    cutoffs=(3, 10),
    exclude_history=True,
    user_groups=("activity", "newness"),
    item_groups=("popularity",),
    n_bootstrap=20,
)


class Table:
    """Scores by user."""

    def __init__(self, table: npt.NDArray[np.float32]) -> None:
        self.table = table

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        return self.table[queries.users]


def _log() -> Interactions:
    rng = np.random.default_rng(3)
    items = np.concatenate([rng.choice(10 + 2 * user, 5, replace=False) for user in range(N_USERS)])
    return Interactions(
        offsets=np.arange(0, 5 * N_USERS + 1, 5),
        items=items.astype(np.int32),
        behaviors=np.zeros(len(items), np.int8),
        timestamps=np.arange(len(items)),
        n_items=N_ITEMS,
        behavior_names=("view",),
    )


def _asked(log: Interactions, targets: npt.NDArray[np.int64]) -> QuerySet:
    return QuerySet(Queries.at_end(log), np.arange(N_USERS + 1), targets.astype(np.int32))


def _evaluate(log: Interactions, targets: npt.NDArray[np.int64], table: npt.NDArray[np.float32]) -> Evaluation:
    everything = np.ones(N_ITEMS, np.bool_)
    return evaluate(
        Table(table),  # type: ignore[arg-type]
        _asked(log, targets),
        candidates=everything,
        protocol=PROTOCOL,
        train=log,
    )


def _targets(log: Interactions) -> npt.NDArray[np.int64]:
    """Return an item for each user that it has not had."""
    rng = np.random.default_rng(4)
    return np.array(
        [rng.choice(np.setdiff1d(np.arange(N_ITEMS), log.items[5 * u : 5 * u + 5])) for u in range(N_USERS)]
    )


def test_a_constant_scorer_gets_exactly_what_the_middle_place_gives() -> None:
    # 31 items less the five of the history: 26, of which the middle place is 13.5.
    log = _log()
    found = _evaluate(log, _targets(log), np.zeros((N_USERS, N_ITEMS), np.float32)).metrics
    assert found["auc"] == 0.5
    for name in ("hr@10", "recall@10", "ndcg@10", "mrr@10", "map@10", "rbp@10", "serendipity@10"):
        assert found[name] == 0, name
    assert found["repeat@10"] == 0


def test_an_oracle_gets_exactly_the_most() -> None:
    log = _log()
    targets = _targets(log)
    table = np.zeros((N_USERS, N_ITEMS), np.float32)
    table[np.arange(N_USERS), targets] = 1
    found = _evaluate(log, targets, table).metrics
    for name in ("auc", "hr@3", "recall@3", "capped_recall@3", "ndcg@3", "dcg@3", "mrr@3", "map@3"):
        assert found[name] == 1, name
    assert found["precision@3"] == pytest.approx(1 / 3)
    assert found["rbp@3"] == pytest.approx(0.2)


def test_the_worst_scorer_gets_nothing() -> None:
    log = _log()
    targets = _targets(log)
    table = np.ones((N_USERS, N_ITEMS), np.float32)
    table[np.arange(N_USERS), targets] = 0
    found = _evaluate(log, targets, table).metrics
    assert found["auc"] == found["hr@10"] == 0


@pytest.mark.parametrize("seed", range(3))
def test_renumbering_the_items_changes_no_figure(seed: int) -> None:
    log = _log()
    targets = _targets(log)
    table = np.random.default_rng(seed).permuted(
        np.tile(np.arange(N_ITEMS, dtype=np.float32), (N_USERS, 1)), axis=1
    )
    new = np.random.default_rng(seed + 9).permutation(N_ITEMS)
    renumbered = np.empty_like(table)
    renumbered[:, new] = table
    before = _evaluate(log, targets, table)
    after = _evaluate(replace(log, items=new[log.items].astype(np.int32)), new[targets], renumbered)
    for name, value in before.metrics.items():
        if "popularity/recall" not in name:  # equally popular items go to the head or the middle by their index
            assert after.metrics[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name
    for name, ends in before.intervals.items():
        assert after.intervals[name] == pytest.approx(ends), name


def test_two_processes_measure_to_the_bit_what_one_does(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.evaluation.shared_ranking",
                str(place),
                "2",
                str(tmp_path / "meeting"),
                str(tmp_path),
            ],
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for place in range(2)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    alone = figures(Processes()).tolist()
    assert [np.load(tmp_path / f"{place}.npy").tolist() for place in range(2)] == [alone, alone]
