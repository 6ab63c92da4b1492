from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.networks.lstm import LSTM
from recdl.models.protocol import RankingTask
from recdl.training.augmentation import Augmentation
from recdl.training.sequence import SequenceRecommender
from recdl.training.sequence_losses import SequenceLoss
from recdl.training.settings import TrainerSettings
from tests.conftest import GROUP
from tests.logs import log_of_items

WHOLE = Augmentation()
TwoTastes = tuple[Interactions, RankingTask]


@pytest.mark.parametrize("name", ["embedding_size", "hidden_size", "n_layers"])
def test_a_network_of_no_size_is_refused_before_there_is_data(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^model.network: embedding_size, hidden_size and n_layers must be at least"
    ):
        SequenceRecommender(partial(LSTM, **{name: 0}))


def _model(
    *,
    seed: int = 0,
    max_epochs: int = 40,
    max_length: int = 10,
    loss: Literal["auto", "full", "sampled"] = "auto",
    n_negatives: int = 8,
    learning_rate: float = 0.02,
    augmentation: Augmentation = WHOLE,
    averaging: float = 0.0,
) -> SequenceRecommender:
    network = partial(LSTM, embedding_size=16, hidden_size=16, embedding_dropout=0.0, hidden_dropout=0.0)
    trainer = TrainerSettings(accelerator="cpu", max_epochs=max_epochs, patience=max_epochs, progress_bar=False)
    return SequenceRecommender(
        network,
        learning_rate=learning_rate,
        batch_size=16,
        max_length=max_length,
        augmentation=augmentation,
        averaging=averaging,
        loss=SequenceLoss(kind=loss, n_negatives=n_negatives),
        trainer=trainer,
        seed=seed,
    )


@pytest.fixture(scope="module")
def fitted(two_tastes: TwoTastes) -> SequenceRecommender:
    return _model(loss="full").fit(two_tastes[0])


def _next_items(task: RankingTask) -> list[int]:
    return task.query_set.target_items.tolist()


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_the_next_step_of_every_walk_is_found(two_tastes: TwoTastes, loss: Literal["full", "sampled"]) -> None:
    train, task = two_tastes
    scores = _model(loss=loss).fit(train).score(Queries.at_end(train))
    assert scores.argmax(1).tolist() == _next_items(task)


def test_a_new_visitor_is_scored_from_its_history_alone(fitted: SequenceRecommender) -> None:
    scores = fitted.score(Queries.anonymous([[0, 1, 2], [8, 9], [5, 6], [13, 14, 15]]))
    assert scores.argmax(1).tolist() == [3, 10, 7, 8]


def test_who_asks_does_not_matter(fitted: SequenceRecommender, two_tastes: TwoTastes) -> None:
    known = Queries.at_end(two_tastes[0])[:3]
    unknown = replace(known, users=np.full(3, -1, np.int32))
    np.testing.assert_array_equal(fitted.score(known), fitted.score(unknown))


def test_scores_do_not_depend_on_the_batch_or_on_padding(fitted: SequenceRecommender) -> None:
    queries = Queries.anonymous([[0, 1, 2, 3, 4, 5, 6], [], [8], [9, 10]])
    alone = np.concatenate([fitted.score(queries[row : row + 1]) for row in range(4)])
    np.testing.assert_allclose(fitted.score(queries), alone, rtol=1e-4, atol=1e-5)


def test_scores_do_not_depend_on_how_many_are_read_at_once(
    fitted: SequenceRecommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = Queries.anonymous([[item % 16 for item in range(length)] for length in (5, 0, 9, 2, 9, 1, 5)])
    at_once = fitted.score(queries)
    monkeypatch.setattr("recdl.training.visits._EVENTS_AT_ONCE", 12)
    np.testing.assert_allclose(fitted.score(queries), at_once, rtol=1e-5, atol=1e-6)


def test_only_the_latest_events_of_a_long_history_count(two_tastes: TwoTastes) -> None:
    model = _model(max_length=3, max_epochs=2).fit(two_tastes[0])
    queries = Queries.anonymous([[9, 9, 0, 1, 2], [4, 0, 1, 2], [0, 1, 2]])
    scores = model.score(queries)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    np.testing.assert_allclose(scores[0], scores[2], rtol=1e-5)


def test_a_visitor_without_history_is_offered_what_histories_begin_with() -> None:
    train = log_of_items([[3, user % 3] for user in range(60)], n_items=5)
    scores = _model(max_epochs=15).fit(train).score(Queries.anonymous([[]]))
    assert scores.argmax() == 3


def test_equal_seeds_give_equal_scores_and_others_do_not(two_tastes: TwoTastes) -> None:
    queries = Queries.at_end(two_tastes[0])
    first, second, other = (
        _model(seed=seed, max_epochs=2, loss="sampled").fit(two_tastes[0]).score(queries) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_auto_samples_only_where_the_catalogue_is_large(two_tastes: TwoTastes) -> None:
    queries = Queries.at_end(two_tastes[0])

    def scores(loss: Literal["auto", "full", "sampled"], n_negatives: int) -> np.ndarray:
        return _model(loss=loss, n_negatives=n_negatives, max_epochs=2).fit(two_tastes[0]).score(queries)

    assert np.array_equal(scores("auto", 8), scores("full", 8))  # 16 items are twice 8, not more
    assert np.array_equal(scores("auto", 7), scores("sampled", 7))


def test_the_best_epoch_on_validation_is_kept(two_tastes: TwoTastes) -> None:
    train, task = two_tastes
    model = _model(max_epochs=6).fit(train, task)
    values = [entry["validation/ndcg@10"] for entry in model.learning_curve_]
    again = _model(max_epochs=int(np.argmax(values)) + 1).fit(train)
    assert np.array_equal(model.score(Queries.at_end(train)), again.score(Queries.at_end(train)))


def test_the_state_gives_equal_scores_in_another_model(fitted: SequenceRecommender, two_tastes: TwoTastes) -> None:
    other = _model(loss="full").set_state(fitted.get_state())
    queries = Queries.at_end(two_tastes[0])
    assert np.array_equal(other.score(queries), fitted.score(queries))


def test_a_state_without_its_sizes_is_refused() -> None:
    with pytest.raises(RecordError, match="no array 'sizes'"):
        _model().set_state({})


def test_a_state_of_two_sizes_is_refused(fitted: SequenceRecommender) -> None:
    with pytest.raises(RecordError, match="2 'sizes', not 3; train and export it again"):
        _model().set_state({**fitted.get_state(), "sizes": np.array([16, 1])})


def test_a_log_without_events_is_refused() -> None:
    with pytest.raises(DataError, match=r"no event to learn from"):
        _model().fit(log_of_items([[], []], n_items=GROUP))


def test_settings_that_must_be_positive_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"model.max_length must be above 0, not 0"):
        _model(max_length=0)


def _asked(item: int = 0, behavior: int = 0, times: tuple[int, int] = (1, 2)) -> Queries:
    queries = Queries.anonymous([[1, item]], [[0, behavior]])
    return replace(queries, timestamps=np.array(times, np.int64) * 10**6)


def test_what_no_log_had_is_refused(fitted: SequenceRecommender) -> None:
    with pytest.raises(DataError, match="item index 16, but the model was fitted on 16 items"):
        fitted.score(_asked(item=16))
    with pytest.raises(DataError, match="holds behavior 1, but the model was fitted on a log of 1 behaviors"):
        fitted.score(_asked(behavior=1))


def test_a_behavior_or_a_gap_that_training_never_saw_tells_nothing(two_tastes: TwoTastes) -> None:
    train = replace(two_tastes[0], behavior_names=("view", "cart", "purchase"))
    model = _model(max_epochs=2).fit(train)
    carts, purchases, views = (model.score(_asked(behavior=behavior)) for behavior in (1, 2, 0))
    np.testing.assert_array_equal(carts, purchases)
    assert not np.array_equal(carts, views)
    a_day, a_year = (model.score(_asked(times=(1, 86_400 * days))) for days in (1, 365))
    np.testing.assert_array_equal(a_day, a_year)


def test_time_that_runs_backwards_counts_as_none_passed(fitted: SequenceRecommender) -> None:
    np.testing.assert_array_equal(fitted.score(_asked(times=(9, 2))), fitted.score(_asked(times=(9, 9))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"item_dropout": 1.0}, r"augmentation.item_dropout must be at least 0 and below 1, not 1.0"),
        ({"mask": -0.1}, r"augmentation.mask must be at least 0 and below 1, not -0.1"),
        ({"crop": 1.5}, r"augmentation.crop must lie between 0 and 1, not 1.5"),
    ],
)
def test_what_is_taken_from_histories_must_leave_something(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation(**settings)


@pytest.mark.parametrize("which", ["item_dropout", "mask", "crop"])
def test_with_less_told_the_next_step_is_still_found_and_other_weights_are_learned(
    two_tastes: TwoTastes, fitted: SequenceRecommender, which: str
) -> None:
    train, task = two_tastes
    scores = _model(loss="full", augmentation=Augmentation(**{which: 0.2})).fit(train).score(Queries.at_end(train))
    assert scores.argmax(1).tolist() == _next_items(task)
    assert not np.allclose(scores, fitted.score(Queries.at_end(train)))


def test_a_diverging_loss_stops_the_run_with_advice(two_tastes: TwoTastes) -> None:
    with pytest.raises(DataError, match=r"it diverged; lower model.learning_rate"):
        _model(max_epochs=30, learning_rate=1e30).fit(two_tastes[0])


def test_the_average_of_the_weights_is_scored_and_kept_in_place_of_the_last_ones(two_tastes: TwoTastes) -> None:
    queries = Queries.at_end(two_tastes[0])
    last = _model(max_epochs=3).fit(two_tastes[0])
    average = _model(max_epochs=3, averaging=0.9).fit(two_tastes[0])
    as_good_as_none = _model(max_epochs=3, averaging=1e-9).fit(two_tastes[0])
    assert not np.allclose(average.score(queries), last.score(queries), atol=1e-3)
    np.testing.assert_allclose(as_good_as_none.score(queries), last.score(queries), rtol=1e-4, atol=1e-5)


def test_with_an_average_the_next_step_is_found(two_tastes: TwoTastes) -> None:
    train, task = two_tastes
    scores = _model(averaging=0.9).fit(train).score(Queries.at_end(train))
    assert scores.argmax(1).tolist() == _next_items(task)


def test_an_average_must_move() -> None:
    with pytest.raises(ConfigError, match=r"model\.averaging must be below 1, not 1"):
        SequenceRecommender(LSTM, averaging=1.0)
