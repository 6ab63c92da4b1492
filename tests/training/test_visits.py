from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import DataError
from recdl.models.networks.cnn import CNN
from recdl.models.networks.events import EventInputs
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.sasrec import SASRec
from recdl.training.sequence import SequenceRecommender
from recdl.training.settings import TrainerSettings
from recdl.training.visits import Visits
from tests.logs import log_of_events

SECOND = 10**6


def _log() -> Interactions:
    generator = np.random.default_rng(0)
    events = [
        (user, int(time), int(generator.integers(2)), int(generator.integers(6)))
        for user in range(12)
        for time in np.sort(generator.integers(1, 10**4, 9)) * SECOND
    ]
    return log_of_events(events, n_users=12, n_items=6)


def _fitted(network: Any, *, max_length: int) -> SequenceRecommender:
    trainer = TrainerSettings(accelerator="cpu", max_epochs=2, progress_bar=False)
    make = partial(network, embedding_size=8, inputs=EventInputs(positions=4))
    return SequenceRecommender(make, learning_rate=0.02, max_length=max_length, trainer=trainer).fit(_log())


def _between(starts: npt.ArrayLike, ends: npt.ArrayLike) -> Queries:
    """Events of the log's users, as positions within each user's."""
    log = _log()
    nobody, firsts = np.full(log.n_users, -1, np.int32), log.offsets[:-1]
    return Queries.of_log(log, nobody, firsts + np.asarray(starts), firsts + np.asarray(ends))


def _assert_equal(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> None:
    """Equal but for the order in which products of other shapes sum."""
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("network", [LSTM, GRU, CNN, SASRec])
@pytest.mark.parametrize("max_length", [1, 4, 50])
def test_scores_of_visits_that_go_on_equal_those_of_their_histories_from_scratch(
    network: Any, max_length: int
) -> None:
    """Twelve visits at once, of which each does nothing, one thing or several, step by step."""
    model, generator = _fitted(network, max_length=max_length), np.random.default_rng(1)
    ends = generator.integers(0, 4, 12)
    state = model.begin(_between(np.zeros(12, np.int64), ends))
    for _ in range(5):
        _assert_equal(model.score_state(state), model.score(_between(np.zeros(12, np.int64), ends)))
        more = np.minimum(ends + generator.integers(0, 4, 12), 9)
        state = model.advance(state, _between(ends, more))
        ends = more
    assert (ends == 9).any() and (ends < 9).any()
    _assert_equal(model.score_state(state), model.score(_between(np.zeros(12, np.int64), ends)))


@pytest.mark.parametrize("network", [LSTM, SASRec])
def test_one_event_at_a_time_equals_all_at_once(network: Any) -> None:
    model = _fitted(network, max_length=5)
    state = model.begin(_between([0] * 12, [0] * 12))
    for n in range(9):
        state = model.advance(state, _between([n] * 12, [n + 1] * 12))
    _assert_equal(model.score_state(state), model.score_state(model.begin(_between([0] * 12, [9] * 12))))


def test_a_recurrent_network_reads_an_event_once_until_the_window_is_full() -> None:
    model = _fitted(LSTM, max_length=4)
    shapes: list[tuple[int, ...]] = []
    model.network_.embedding.register_forward_hook(
        lambda _module, inputs, _outputs: shapes.append(tuple(inputs[0].items.shape))
    )
    state = model.begin(Queries.anonymous([[], []]))
    for item in range(5):
        state = model.advance(state, Queries.anonymous([[item], [0]]))
    assert shapes == [(1, 1), (2, 1), (2, 1), (2, 1), (2, 4), (2, 4)]  # start, three events, windows of four


def test_who_does_nothing_costs_nothing() -> None:
    model = _fitted(SASRec, max_length=4)
    rows: list[int] = []
    model.network_.embedding.register_forward_hook(
        lambda _module, inputs, _outputs: rows.append(len(inputs[0].items))
    )
    state = model.advance(model.begin(Queries.anonymous([[], [], []])), Queries.anonymous([[], [1], []]))
    model.advance(state, Queries.anonymous([[], [], []]))
    assert rows == [1, 1]


def test_a_state_that_was_gone_on_from_can_be_gone_on_from_again() -> None:
    model = _fitted(LSTM, max_length=50)
    state = model.begin(Queries.anonymous([[1, 2]]))
    before = model.score_state(state)
    first, second = (model.advance(state, Queries.anonymous([[item]])) for item in (3, 4))
    np.testing.assert_array_equal(model.score_state(state), before)
    _assert_equal(model.score_state(first), model.score(Queries.anonymous([[1, 2, 3]])))
    _assert_equal(model.score_state(second), model.score(Queries.anonymous([[1, 2, 4]])))


@pytest.mark.parametrize("network", [GRU, CNN])
def test_visits_can_be_joined_and_taken_apart(network: Any) -> None:
    model = _fitted(network, max_length=4)
    long, short = (model.begin(Queries.anonymous([items])) for items in ([1, 2, 3, 4, 5], [5]))
    both = model.advance(Visits.join([long, short]), Queries.anonymous([[0], [1]]))
    expected = model.score(Queries.anonymous([[1, 2, 3, 4, 5, 0], [5, 1]]))
    _assert_equal(model.score_state(both), expected)
    alone = model.advance(both.take(np.array([1])), Queries.anonymous([[2]]))
    assert len(alone) == 1
    _assert_equal(model.score_state(alone), model.score(Queries.anonymous([[5, 1, 2]])))


@pytest.mark.parametrize("network", [LSTM, GRU, CNN, SASRec])
def test_nobody_can_be_begun_and_gone_on_with(network: Any) -> None:
    model = _fitted(network, max_length=4)
    nobody = Queries.anonymous([])
    assert model.score_state(model.advance(model.begin(nobody), nobody)).shape == (0, 6)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (Queries.anonymous([[6]]), "item index 6, but the model was fitted on 6 items"),
        (Queries.anonymous([[1], []]), "2 rows of events for 1 visits; give one each"),
        (Queries.anonymous([[-1]]), "item index -1, which stands for no item"),
        (Queries.anonymous([[1]], [[-1]]), "holds behavior -1, but the model was fitted on a log of 2 behaviors"),
        (Queries.anonymous([[1]], [[2]]), "holds behavior 2, but the model was fitted on a log of 2 behaviors"),
    ],
)
def test_events_that_cannot_be_are_refused_and_change_nothing(events: Queries, message: str) -> None:
    model = _fitted(GRU, max_length=4)
    state = model.begin(Queries.anonymous([[1, 2]]))
    before = model.score_state(state)
    with pytest.raises(DataError, match=message):
        model.advance(state, events)
    np.testing.assert_array_equal(model.score_state(state), before)
