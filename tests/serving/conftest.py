"""A log of three users with awkward raw ids, and the finished run of a popularity model on it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recdl.data.interactions import Interactions
from recdl.data.prepared import PreparedLog
from recdl.data.vocabulary import Vocabulary
from recdl.evaluation.identity import Ingredient, RunIdentity
from recdl.evaluation.records import RunRecord, RunWriter
from recdl.models.popularity import Popularity
from recdl.models.protocol import Recommender
from recdl.serving.bundle import Bundle, read_bundle, write_bundle
from recdl.serving.manifest import sealed

USERS = ("007", "7", 'müller, "anna"')
ITEMS = ("NA", "a,b", 'say "hi"', "007", "two\nlines", "日本")
NEVER_TRAINED = 5
"""An item of the log without an event in the train part."""
CONFIG = {
    "model": {"_target_": "recdl.models.popularity.Popularity", "behaviors": None},
    "evaluation": {"exclude_history": True},
}
FINGERPRINT = "d" * 64


def prepared_log(folder: Path, *, fingerprint: str = FINGERPRINT) -> PreparedLog:
    """User 0 viewed items 0, 1 and bought 1; user 1 viewed 1; user 2 viewed 2, 1, 3, 5; item 4 is nobody's."""
    interactions = Interactions(
        offsets=np.array([0, 3, 4, 8]),
        items=np.array([0, 1, 1, 1, 2, 1, 3, NEVER_TRAINED], np.int32),
        behaviors=np.array([0, 0, 1, 0, 0, 0, 0, 0], np.int8),
        timestamps=np.array([1, 2, 3, 1, 1, 2, 3, 9]) * 1_000_000,
        n_items=len(ITEMS),
        behavior_names=("view", "purchase"),
    )
    return PreparedLog(folder, interactions, Vocabulary(USERS), Vocabulary(ITEMS), {}, fingerprint)


def train_part(log: PreparedLog) -> Interactions:
    return log.interactions.where(log.interactions.timestamps < 9_000_000)


def finished_run(folder: Path, log: PreparedLog, recommender: Recommender) -> RunRecord:
    identity = RunIdentity(
        model="popularity",
        seed=3,
        data=Ingredient("odd", log.fingerprint, {"path": "/home/somebody/odd.csv"}),
        split=Ingredient("temporal", "5" * 64, {"test_fraction": 0.1}),
        protocol=Ingredient("unseen", "e" * 64, {"confidence": 0.95}),
        metric_version=1,
    )
    evaluation = SimpleNamespace(
        metrics={"ndcg@10": 0.125, "n_queries": 1234.0},
        intervals={"ndcg@10": (0.1, 0.15)},
        per_query=pd.DataFrame({"query": [0]}),
        lists=np.full((1, 1), -1, np.int32),
        groups={},
    )
    writer = RunWriter.start(folder, config=CONFIG, identity=identity)
    writer.write_evaluation("test", evaluation)  # type: ignore[arg-type]
    writer.write_state(recommender.get_state())
    return writer.finish(fit_seconds=0.0)


def change_manifest(folder: Path, **changes: Any) -> None:
    """Change keys of the manifest and seal it again, as somebody who means to mislead would."""
    content = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) | changes
    content.pop("checksum")
    (folder / "manifest.json").write_text(json.dumps(sealed(content)), encoding="utf-8")


@pytest.fixture
def log(tmp_path: Path) -> PreparedLog:
    return prepared_log(tmp_path / "prepared")


@pytest.fixture
def record(tmp_path: Path, log: PreparedLog) -> RunRecord:
    return finished_run(tmp_path / "run", log, Popularity().fit(train_part(log)))


@pytest.fixture
def candidates(log: PreparedLog) -> np.ndarray:
    return np.bincount(train_part(log).items, minlength=len(ITEMS)) > 0


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where nothing lies yet."""
    return tmp_path / "bundle"


@pytest.fixture
def folder(target: Path, record: RunRecord, log: PreparedLog, candidates: np.ndarray) -> Path:
    """The folder of a bundle."""
    write_bundle(target, record, log, candidates=candidates)
    return target


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    """What lies in `folder`."""
    return read_bundle(folder)
