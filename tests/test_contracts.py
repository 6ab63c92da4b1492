"""What every model in configs/model promises the rest of recdl; the models are found on disk by themselves."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load, save

from recdl import config
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import DataError, RecordError
from recdl.models.protocol import ItemEmbedded, RankingTask, Recommender
from recdl.training.settings import TrainerSettings
from tests.logs import log_of_events, log_of_items

MODELS = sorted(path.stem for path in (config.CONFIGS / "model").glob("*.yaml"))
N_USERS, N_ITEMS, GROUP = 20, 12, 5
NO_EVENTS, UNTOUCHED = N_USERS - 1, N_ITEMS - 1
"""A user and an item that are in the log's vocabulary, but not in train."""

pytestmark = pytest.mark.parametrize("name", MODELS)


@cache
def node(name: str) -> dict[str, Any]:
    chosen: dict[str, Any] = config.compose("train", [f"model={name}"])["model"]
    return chosen


def unfitted(name: str, *, max_epochs: int = 2) -> Recommender:
    trainer = TrainerSettings(max_epochs=max_epochs, accelerator="cpu", progress_bar=False)
    model: Recommender = config.build_model(node(name), extras={"trainer": trainer, "seed": 0})
    return model


@cache
def train() -> Interactions:
    """Two tastes seen through two behaviours, with a user without events and an item that nobody touched."""
    rng = np.random.default_rng(0)
    events = [
        (user, time, int(rng.integers(2)), int(rng.integers(GROUP)) + GROUP * (user % 2))
        for user in range(N_USERS)
        for time in range(1 + user % 7)
        if user != NO_EVENTS
    ]
    return log_of_events(events, n_users=N_USERS, n_items=N_ITEMS)


@cache
def fitted(name: str) -> Recommender:
    return unfitted(name).fit(train())


@cache
def queries() -> Queries:
    """Known users, one of them without events, and visitors with short, long and empty histories; read-only."""
    known = Queries.at_end(train(), np.array([NO_EVENTS, 0, 5, 6], np.int32))
    visitors = Queries.anonymous([[], [0], [1, 1, 1], [UNTOUCHED], list(range(10)) * 9])
    shift = len(known.items)
    joined = Queries(
        users=np.append(known.users, visitors.users),
        starts=np.append(known.starts, visitors.starts + shift),
        ends=np.append(known.ends, visitors.ends + shift),
        items=np.append(known.items, visitors.items),
        behaviors=np.append(known.behaviors, visitors.behaviors),
        timestamps=np.append(known.timestamps, visitors.timestamps),
    )
    for array in (joined.users, joined.starts, joined.ends, joined.items, joined.behaviors, joined.timestamps):
        array.flags.writeable = False
    return joined


def assert_equal_scores(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> None:
    """Equal but for the order in which a matrix product of another shape sums."""
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_it_is_a_recommender(name: str) -> None:
    assert isinstance(unfitted(name), Recommender)


def test_scores_are_finite_float32_one_row_a_query_and_one_column_an_item(name: str) -> None:
    scores = fitted(name).score(queries())
    assert scores.shape == (len(queries()), N_ITEMS)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_vectors_of_items_are_finite_one_an_item(name: str) -> None:
    model = fitted(name)
    if isinstance(model, ItemEmbedded):
        vectors = model.item_embeddings()
        assert vectors.shape[0] == N_ITEMS and vectors.dtype == np.float32
        assert np.isfinite(vectors).all()


def test_models_that_learn_vectors_of_items_give_them(name: str) -> None:
    learns = name in ("als", "mf", "gmf", "mlp", "neumf", "lstm", "gru", "sasrec", "cnn")
    assert isinstance(unfitted(name), ItemEmbedded) or not learns


def test_no_queries_get_no_scores(name: str) -> None:
    assert fitted(name).score(queries()[:0]).shape == (0, N_ITEMS)


def test_scores_in_a_batch_equal_scores_one_at_a_time(name: str) -> None:
    alone = [fitted(name).score(queries()[row : row + 1]) for row in range(len(queries()))]
    assert_equal_scores(fitted(name).score(queries()), np.concatenate(alone))


def test_the_order_of_a_batch_changes_no_score(name: str) -> None:
    order = np.random.default_rng(1).permutation(len(queries()))
    assert_equal_scores(fitted(name).score(queries()[order]), fitted(name).score(queries())[order])


def test_scoring_again_gives_the_same(name: str) -> None:
    first = fitted(name).score(queries())
    np.testing.assert_array_equal(fitted(name).score(queries()), first)


def test_nothing_outside_a_history_changes_its_scores(name: str) -> None:
    """Not what the visitor does later, and not what stands before it in the flat arrays."""
    log = train()
    visitors = np.full(log.n_users, -1, np.int32)
    half = log.offsets[:-1] + np.diff(log.offsets) // 2
    within = np.arange(log.n_events) < np.repeat(half, np.diff(log.offsets))
    now = Queries(visitors, log.offsets[:-1], half, log.items, log.behaviors, log.timestamps)
    changed = Queries(
        visitors,
        log.offsets[:-1],
        half,
        np.where(within, log.items, (log.items + 1) % N_ITEMS).astype(np.int32),
        np.where(within, log.behaviors, 1 - log.behaviors).astype(np.int8),
        np.where(within, log.timestamps, log.timestamps + 10**6),
    )
    np.testing.assert_array_equal(fitted(name).score(changed), fitted(name).score(now))


def test_a_log_mapped_from_disk_gives_the_same_as_one_in_memory(name: str, tmp_path: Path) -> None:
    train().save(tmp_path)
    mapped = Interactions.load(tmp_path, n_items=N_ITEMS, behavior_names=train().behavior_names)
    scores = unfitted(name).fit(mapped).score(Queries.at_end(mapped))
    np.testing.assert_array_equal(scores, fitted(name).score(Queries.at_end(train())))


def test_the_same_seed_gives_the_same_scores(name: str) -> None:
    again = unfitted(name).fit(train())
    np.testing.assert_array_equal(again.score(queries()), fitted(name).score(queries()))


def test_fitting_again_forgets_what_was_learned_before(name: str) -> None:
    other = log_of_items([[0, 1, 2], [2, 1, 0], [3, 4, 0]], n_items=5)
    model = unfitted(name, max_epochs=1).fit(train()).fit(other)
    fresh = unfitted(name, max_epochs=1).fit(other)
    np.testing.assert_array_equal(model.score(Queries.at_end(other)), fresh.score(Queries.at_end(other)))


def test_the_state_survives_safetensors_and_gives_equal_scores(name: str) -> None:
    stored = save({key: np.ascontiguousarray(array) for key, array in fitted(name).get_state().items()})
    restored = unfitted(name).set_state(load(stored))
    np.testing.assert_array_equal(restored.score(queries()), fitted(name).score(queries()))


def test_a_state_that_lacks_an_array_is_refused_by_its_name(name: str) -> None:
    state = fitted(name).get_state()
    for missing in state:
        with pytest.raises(RecordError, match=re.escape(re.sub(r"^(members\.\w+\.)?(network\.)?", "", missing))):
            unfitted(name).set_state({key: array for key, array in state.items() if key != missing})


def test_a_log_without_events_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"(no|nothing|empty)\b"):
        unfitted(name).fit(log_of_items([[], []], n_items=3))


def test_a_log_of_one_user_with_one_event_is_learned_or_refused(name: str) -> None:
    log = log_of_items([[1]], n_items=3)
    try:
        scores = unfitted(name).fit(log).score(Queries.at_end(log))
    except DataError:
        return
    assert np.isfinite(scores).all()


def test_it_can_be_fitted_with_a_validation_task(name: str, two_tastes: tuple[Interactions, RankingTask]) -> None:
    log, task = two_tastes
    scores = unfitted(name).fit(log, task).score(task.query_set.queries)
    assert np.isfinite(scores).all()
