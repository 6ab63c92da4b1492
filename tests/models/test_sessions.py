"""Session neighbours against worked examples and a twin that follows the definition."""

import math
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.sessions import Decay, SessionKNN
from tests.logs import log_of_events, log_of_items

N_ITEMS = 7
SESSIONS = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=6), min_size=1, max_size=12).filter(any)
DECAYS = get_args(Decay)


def _log(sessions: list[list[int]], ends: list[int] | None = None) -> Interactions:
    """Return sessions that end in the order in which they are given, or at the given times."""
    ends = list(range(len(sessions))) if ends is None else ends
    events = [
        (user, 100 * ends[user] + place - len(items), 0, item)
        for user, items in enumerate(sessions)
        for place, item in enumerate(items)
    ]
    return log_of_events(events, n_users=len(sessions), n_items=N_ITEMS)


def _scores(sessions: list[list[int]], history: list[int], **settings: Any) -> npt.NDArray[np.float32]:
    plain = {"history_decay": "none", "match_decay": "none", "idf_weight": 0.0, **settings}
    return SessionKNN(**plain).fit(_log(sessions)).score(Queries.anonymous([history]))[0]


def _decay(kind: str, back: int, length: int) -> float:
    return {
        "none": 1.0,
        "linear": max(0.0, 1 - (back - 1) / 10),
        "relative": (length - back + 1) / length,
        "harmonic": 1 / back,
        "quadratic": 1 / back**2,
        "log": 1 / math.log10(back + 9),
    }[kind]


def _twin(
    sessions: list[list[int]], ends: list[int], history: list[int], own: int, settings: dict[str, Any]
) -> list[float]:
    """The definition, session by session."""
    backs = {item: len(history) - place for place, item in enumerate(history)}  # the latest stays
    weights = {item: _decay(settings["history_decay"], back, len(history)) for item, back in backs.items()}
    weights = {item: weight for item, weight in weights.items() if weight > 0}
    order = sorted((one for one in range(len(sessions)) if sessions[one]), key=lambda one: (-ends[one], -one))
    shared = [(one, set(sessions[one]) & set(weights)) for one in order if one != own]
    compared = [(one, items) for one, items in shared if items][: settings["n_recent"]]
    norm = math.sqrt(sum(weight**2 for weight in weights.values()))
    found = []
    for one, items in compared:
        # In the same order, since a tie of floats may else fall either way.
        similarity = sum(weights[item] for item in sorted(items, key=lambda item: backs[item]))
        if settings["similarity"] == "cosine":
            similarity /= norm * math.sqrt(len(set(sessions[one])))
        found.append((np.float32(similarity), one, min(backs[item] for item in items)))
    found.sort(key=lambda neighbor: -neighbor[0])  # stable: of equals those that ended last
    scores = [0.0] * N_ITEMS
    for similarity, one, back in found[: settings["k"]]:
        for item in set(sessions[one]):
            holders = sum(item in session for session in sessions)
            lift = 1 + settings["idf_weight"] * math.log(len(order) / holders)
            scores[item] += float(similarity) * _decay(settings["match_decay"], back, len(history)) * lift
    return scores


@given(
    sessions=SESSIONS,
    history=st.lists(st.integers(0, N_ITEMS - 1), max_size=13),
    seed=st.integers(0, 9),
    k=st.integers(1, 6),
    n_recent=st.integers(1, 8),
    similarity=st.sampled_from(["sum", "cosine"]),
    decays=st.tuples(st.sampled_from(DECAYS), st.sampled_from(DECAYS)),
    idf_weight=st.sampled_from([0.0, 0.5]),
)
def test_scores_are_those_of_the_definition(
    sessions: list[list[int]],
    history: list[int],
    seed: int,
    k: int,
    n_recent: int,
    similarity: Any,
    decays: tuple[Any, Any],
    idf_weight: float,
) -> None:
    generator = np.random.default_rng(seed)
    ends = generator.integers(0, 4, len(sessions)).tolist()
    settings: dict[str, Any] = {
        "k": k,
        "n_recent": n_recent,
        "similarity": similarity,
        "history_decay": decays[0],
        "match_decay": decays[1],
        "idf_weight": idf_weight,
    }
    model = SessionKNN(**settings).fit(_log(sessions, ends))
    own = int(generator.integers(-1, len(sessions)))
    asked = Queries.anonymous([history])
    queries = Queries(
        np.array([own], np.int32), asked.starts, asked.ends, asked.items, asked.behaviors, asked.timestamps
    )
    expected = _twin(sessions, ends, history, own, settings)
    np.testing.assert_allclose(model.score(queries)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_score_is_the_sum_of_what_each_neighbor_shares() -> None:
    # The history shares 0 and 1 with the first session, 1 alone with the second, nothing with the third.
    assert _scores([[0, 1, 2], [1, 3], [4, 5]], [0, 1]).tolist() == [2, 3, 2, 1, 0, 0, 0]


def test_the_end_of_the_history_weighs_most() -> None:
    found = _scores([[0, 2], [1, 3]], [0, 0, 1], history_decay="relative")
    assert found[[2, 3]].tolist() == pytest.approx([2 / 3, 1])  # item 0 is two events back at its latest


def test_a_neighbor_is_worth_less_the_longer_ago_the_history_had_what_they_share() -> None:
    found = _scores([[0, 2], [1, 3]], [0, 1], match_decay="harmonic")
    assert found[[2, 3]].tolist() == [0.5, 1]


def test_rare_items_are_lifted() -> None:
    found = _scores([[0, 1, 2], [0, 1], [5, 1], [5, 1]], [0], idf_weight=2.0)
    assert found[[1, 2]].tolist() == pytest.approx([2.0, 1 + 2 * math.log(4)])


def test_of_the_sessions_that_share_an_item_only_those_that_ended_last_are_compared() -> None:
    # The oldest shares most, but is not among the two that are looked at; the last shares nothing.
    sessions = [[0, 1, 2], [0, 3], [1, 4], [5, 6]]
    assert _scores(sessions, [0, 1], n_recent=2)[2:].tolist() == [0, 1, 1, 0, 0]


def test_the_nearest_of_those_are_the_neighbors_and_the_later_of_equals() -> None:
    sessions = [[0, 1, 2], [0, 3], [1, 4]]
    assert _scores(sessions, [0, 1], k=1)[2:].tolist() == [2, 0, 0, 0, 0]
    assert _scores(sessions[1:], [0, 1], k=1)[2:].tolist() == [0, 0, 1, 0, 0]


def test_a_known_session_is_no_neighbor_of_its_own() -> None:
    log = _log([[0, 1], [0, 2]])
    scores = (
        SessionKNN(history_decay="none", match_decay="none", idf_weight=0.0).fit(log).score(Queries.at_end(log))
    )
    assert scores[:, :3].tolist() == [[1, 0, 1], [1, 1, 0]]


def test_items_that_weigh_nothing_find_no_neighbors() -> None:
    found = _scores([[0, 1], [2, 3]], [0, *[2] * 10], history_decay="linear")
    assert found[[1, 3]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "model.k must be at least 1, but is 0"),
        ({"n_recent": 0}, "model.n_recent must be at least 1, but is 0"),
        ({"idf_weight": -1.0}, "model.idf_weight must be 0 or more, and finite, but is -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SessionKNN(**settings)


def test_an_item_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(DataError, match="item index 7, but the model was fitted on 7 items"):
        SessionKNN().fit(log_of_items([[0, 1]], n_items=7)).score(Queries.anonymous([[7]]))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("users", np.zeros(5, np.int32), "do not fit each other"),
        ("n_items", np.zeros(0, np.int64), "one number 'n_items'"),
        ("indices", np.full(4, 9, np.int32), "do not fit each other"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, array: npt.NDArray[Any], message: str) -> None:
    state = SessionKNN().fit(_log([[0, 1], [2, 3]])).get_state()
    with pytest.raises(RecordError, match=message):
        SessionKNN().set_state({**state, name: array})
