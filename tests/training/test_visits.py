from functools import partial
from typing import Any

import numpy as np
import pytest

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import DataError
from recdl.models.networks.events import EventInputs
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.sasrec import SASRec
from recdl.training.sequence import SequenceRecommender
from recdl.training.settings import TrainerSettings
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


@pytest.mark.parametrize("network", [LSTM, GRU, SASRec])
@pytest.mark.parametrize("max_length", [4, 50])
def test_scores_after_each_event_equal_those_of_the_history_from_scratch(network: Any, max_length: int) -> None:
    model, log = _fitted(network, max_length=max_length), _log()
    visit = model.visit()
    for n in range(9):
        whole = Queries(
            np.array([-1], np.int32),
            log.offsets[:1],
            log.offsets[:1] + n,
            log.items,
            log.behaviors,
            log.timestamps,
        )
        np.testing.assert_allclose(visit.scores(), model.score(whole)[0], rtol=1e-4, atol=1e-5)
        item, behavior, time = (int(column[n]) for column in (log.items, log.behaviors, log.timestamps))
        visit.add(item, behavior=behavior, timestamp=time)


def test_a_recurrent_network_reads_an_event_once_until_the_window_is_full() -> None:
    model = _fitted(LSTM, max_length=4)
    lengths: list[int] = []
    model.network_.embedding.register_forward_hook(
        lambda _module, inputs, _outputs: lengths.append(inputs[0].items.shape[1])
    )
    visit = model.visit()
    for item in range(5):
        visit.add(item, timestamp=item + 1)
    assert lengths == [1, 1, 1, 1, 4, 4]  # the start, three events, then windows of four


def test_visits_do_not_disturb_each_other() -> None:
    model = _fitted(LSTM, max_length=50)
    first, second = model.visit(), model.visit()
    first.add(1)
    second.add(4)
    first.add(2)
    alone = model.visit()
    for item in (1, 2):
        alone.add(item)
    np.testing.assert_array_equal(first.scores(), alone.scores())
    assert not np.array_equal(first.scores(), second.scores())


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"item": 6}, "there is no item 6 in a catalogue of 6"),
        ({"item": -1}, "there is no item -1"),
        ({"item": 1, "behavior": 2}, "there is no behavior 2 in a log of 2"),
    ],
)
def test_what_the_log_does_not_have_is_refused(event: dict[str, int], message: str) -> None:
    visit = _fitted(GRU, max_length=4).visit()
    before = visit.scores()
    with pytest.raises(DataError, match=message):
        visit.add(**event)
    np.testing.assert_array_equal(visit.scores(), before)
