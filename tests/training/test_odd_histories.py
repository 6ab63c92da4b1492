"""What a model of sequences makes of histories that are not as they should be: one outcome for each kind."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from recdl.data.queries import Queries
from recdl.data.vocabulary import Vocabulary
from recdl.models.networks.cnn import CNN
from recdl.models.networks.events import EventInputs
from recdl.models.networks.gru import GRU
from recdl.models.networks.lstm import LSTM
from recdl.models.networks.sasrec import SASRec
from recdl.serving.histories import read_histories
from recdl.training.sequence import SequenceRecommender
from recdl.training.settings import TrainerSettings
from tests.logs import log_of_events

ITEMS = Vocabulary(["a", "b", "c", "d"])
NAMES = ("view", "cart", "purchase")
VIEW, CART, PURCHASE = 0, 1, 2
"""Nobody ever put anything into a cart in the log."""
HOUR, MAX_LENGTH = 3_600_000_000, 4

every_network = pytest.mark.parametrize("network", [LSTM, GRU, CNN, SASRec])


@cache
def _fitted(network: Any) -> SequenceRecommender:
    generator = np.random.default_rng(0)
    events = [
        (user, (1 + step) * HOUR * int(generator.integers(1, 5)), [VIEW, PURCHASE][step % 2], (user + step) % 4)
        for user in range(20)
        for step in range(6)
    ]
    train = log_of_events(events, n_users=20, n_items=4, behavior_names=NAMES)
    make = partial(network, embedding_size=8, inputs=EventInputs(positions=4))
    trainer = TrainerSettings(accelerator="cpu", max_epochs=2, progress_bar=False)
    return SequenceRecommender(make, learning_rate=0.02, max_length=MAX_LENGTH, trainer=trainer).fit(train)


def _of_file(folder: Path, *rows: str) -> Queries:
    path = folder / "histories.csv"
    path.write_text("\n".join(["user_id,item_id,behavior,timestamp", *rows]) + "\n", encoding="utf-8")
    return read_histories(path, items=ITEMS, behavior_names=NAMES).queries


def _assert_alike(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@every_network
def test_a_history_of_unknown_items_alone_is_that_of_a_visitor_without_history(
    network: Any, tmp_path: Path
) -> None:
    found = _of_file(tmp_path, "v,gone,view,3600", "v,unheard-of,purchase,7200")
    _assert_alike(_fitted(network).score(found), _fitted(network).score(Queries.anonymous([[]])))


@every_network
def test_unknown_items_between_others_are_as_if_they_had_not_been(network: Any, tmp_path: Path) -> None:
    found = _of_file(tmp_path, "v,a,view,3600", "v,gone,purchase,7200", "v,b,view,9000")
    without = _of_file(tmp_path, "v,a,view,3600", "v,b,view,9000")
    np.testing.assert_array_equal(_fitted(network).score(found), _fitted(network).score(without))


@every_network
def test_one_event_is_enough_to_tell_visitors_apart(network: Any, tmp_path: Path) -> None:
    scores = _fitted(network).score(_of_file(tmp_path, "v,a,view,3600", "w,b,view,3600"))
    assert np.isfinite(scores).all()
    assert not np.allclose(scores[0], scores[1])


@every_network
def test_of_a_history_longer_than_the_window_its_latest_events_count_alone(network: Any, tmp_path: Path) -> None:
    """But for the time since the event before the first of them, which is known too."""
    rows = [f"{{}},{item},view,{3600 * (n + 1)}" for n, item in enumerate("abcdabcd")]
    found = _of_file(tmp_path, *(row.format("v") for row in rows), *(row.format("w") for row in rows[3:]))
    scores = _fitted(network).score(found)
    _assert_alike(scores[0], scores[1])
    assert not np.allclose(scores[0], _fitted(network).score(_of_file(tmp_path, rows[-1].format("v")))[0])


@every_network
def test_a_behavior_of_which_train_holds_no_event_tells_nothing_of_itself(network: Any, tmp_path: Path) -> None:
    """Its item and its time are told as ever."""
    model = _fitted(network)
    table = model.network_.embedding.behaviors
    assert not table.weight[CART].any() and table.weight[VIEW].any()
    carts, items = (model.score(_of_file(tmp_path, f"v,{item},cart,3600"))[0] for item in "ab")
    assert not np.allclose(carts, items)


@every_network
def test_rows_of_a_file_in_any_order_give_the_history_in_the_order_of_time(network: Any, tmp_path: Path) -> None:
    rows = ["v,a,view,3600", "v,b,purchase,7200", "v,c,view,7201"]
    forwards, backwards = _of_file(tmp_path, *rows), _of_file(tmp_path, *reversed(rows))
    np.testing.assert_array_equal(_fitted(network).score(forwards), _fitted(network).score(backwards))


@every_network
def test_times_given_from_python_that_run_backwards_count_as_none_passed(network: Any) -> None:
    backwards, still = (
        Queries.anonymous([[0, 1, 2]], timestamps=[times])
        for times in ([9 * HOUR, 2 * HOUR, 3 * HOUR], [2 * HOUR, 2 * HOUR, 3 * HOUR])
    )
    np.testing.assert_array_equal(_fitted(network).score(backwards), _fitted(network).score(still))
