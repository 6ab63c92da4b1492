"""Runs that read what is known of items: from files to a bundle that recommends new items."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recdl.commands.export import export
from recdl.commands.train import record_run
from recdl.config import build_model, compose
from recdl.data.queries import Queries
from recdl.errors import DataError
from recdl.evaluation.records import RunRecord
from recdl.serving.bundle import read_bundle

N_USERS, N_OLD, N_NEW = 60, 20, 4
"""Of items, the even ones are for even users; the new ones have no event before the test part."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    generator = np.random.default_rng(0)
    rows = []
    for user in range(N_USERS):
        old = generator.choice(N_OLD // 2, 7, replace=False) * 2 + user % 2
        new = N_OLD + 2 * generator.integers(N_NEW // 2) + user % 2
        rows += [f"u{user:02d},i{item:02d},{86400 * day + user}" for day, item in enumerate([*old, new])]
    (folder / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    items = np.arange(N_OLD + N_NEW)
    signs = [[1.0, 0.0, 0.5] if item % 2 else [0.0, 1.0, 0.5] for item in items]
    table = {
        "item_id": [f"i{item:02d}" for item in items],
        "kinds": [["odd", "all"] if item % 2 else ["even", "all"] for item in items],
        "text": pa.array(signs, pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(table), folder / "items.parquet")
    return folder


MODELS = {
    "mf": ("model=mf", "model.network.embedding_size=8", "model.learning_rate=0.03", "trainer.max_epochs=15"),
    "lstm": ("model=lstm", "model.network.embedding_size=16", "model.learning_rate=0.01", "trainer.max_epochs=25"),
}


def run(folder: Path, name: str, *overrides: str, model: str = "mf") -> RunRecord:
    data = (
        "data=csv",
        f"data.path={folder / 'log.csv'}",
        f"data.item_table.path={folder / 'items.parquet'}",
        f"prepared_root={folder / 'prepared'}",
        "split.test_fraction=0.125",
        "split.validation_fraction=0.125",
    )
    quiet = ("progress=false", "trainer.progress_bar=false", "trainer.accelerator=cpu", "tracking=none")
    return record_run(compose("train", [*data, *MODELS[model], *quiet, f"run_dir={folder / name}", *overrides]))


RANKED = ("evaluation.candidates=catalogue", "evaluation.exclude_history=true", "evaluation.cutoffs=[5]")


@pytest.fixture(scope="module")
def untold(folder: Path) -> dict[str, RunRecord]:
    return {model: run(folder, f"untold_{model}", *RANKED, model=model) for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("columns", ["categories: [kinds]", "vectors: [text]"])
def test_new_items_are_found_by_what_is_known_of_them_also_from_a_bundle(
    folder: Path, untold: dict[str, RunRecord], columns: str, model: str
) -> None:
    name = f"{model}_{columns.split(':')[0]}"
    told = run(folder, name, f"model.features.items={{{columns}}}", *RANKED, model=model)
    assert told.metrics["test/cold_targets"] == 0
    assert told.metrics["test/ndcg@5"] > 1.5 * untold[model].metrics["test/ndcg@5"]
    export(compose("export", [f"run={told.folder}", f"bundle={folder / f'{name}_bundle'}"]))
    bundle = read_bundle(folder / f"{name}_bundle")
    assert bundle.candidates.all()
    restored = build_model(bundle.model, extras={"seed": bundle.seed}).set_state(bundle.state)
    odd = bundle.items.indices(["i01", "i03", "i05"]).tolist()
    scores = restored.score(Queries.anonymous([odd]))[0]
    new = [
        scores[bundle.items.indices([f"i{item}" for item in (N_OLD + rest, N_OLD + 2 + rest)])] for rest in (0, 1)
    ]
    assert new[1].min() > new[0].max()


def test_new_items_are_misses_where_only_those_of_train_are_ranked(folder: Path) -> None:
    trained = run(folder, "trained", *RANKED, "evaluation.candidates=trained", "trainer.max_epochs=1")
    assert trained.metrics["test/cold_targets"] == 1
    assert trained.metrics["test/hr@5"] == 0


def test_a_column_that_the_table_lacks_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"^model\.features\.items: the table of items has no column 'brand'"):
        run(folder, "lacking", "model.features.items={categories: [brand]}")
