"""Nearest neighbours among sessions, by what the last few events say."""

import math
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from recdl.compiling import compiled
from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse, check_items, user_item_matrix
from recdl.data.queries import Queries
from recdl.errors import ConfigError, RecordError
from recdl.models.compiled import Rows
from recdl.models.heap import sift_down, sift_up
from recdl.models.matrix_state import flat, restored_matrix
from recdl.models.protocol import RankingTask, State
from recdl.threads import in_threads

Decay = Literal["none", "linear", "relative", "harmonic", "quadratic", "log"]
_DECAYS: tuple[Decay, ...] = ("none", "linear", "relative", "harmonic", "quadratic", "log")


class SessionKNN:
    """Score an item by how much the sessions that hold it have in common with the history, its end above all.

    The vector-weighted kNN of Ludewig & Jannach 2018, "Evaluation of session-based recommendation algorithms"
    (V-SKNN). Of the sessions that share an item with the history, the `n_recent` that ended last are compared, and
    the `k` most similar are neighbours. The similarity of a session is the sum of the weights of the items that it
    shares, each weighing as its latest event in the history. An item's score is the sum of the similarities of the
    neighbours that hold it, each decayed by how long ago the history had what they share, times 1 + `idf_weight`
    log(sessions / sessions that hold the item).

    Sessions are what the log calls users: `split.sessions` makes them sessions. The session of a known user is no
    neighbour of its own.

    With b counting events back from the history's end, where b = 1, and l its length, a decay is 1 (`none`),
    max(0, 1 - (b - 1) / 10) (`linear`), (l - b + 1) / l (`relative`), 1 / b (`harmonic`), 1 / b^2 (`quadratic`),
    or 1 / log10(b + 9) (`log`).
    """

    sessions_: Sparse
    """(n_sessions, n_items) float32, 1 where the session holds the item; what ended last comes first."""

    users_: npt.NDArray[np.int32]
    """(n_sessions,) int32, the user index of each session."""

    def __init__(
        self,
        *,
        k: int = 100,
        n_recent: int = 1000,
        similarity: Literal["sum", "cosine"] = "sum",
        history_decay: Decay = "quadratic",
        match_decay: Decay = "harmonic",
        idf_weight: float = 1.0,
    ) -> None:
        """Set how sessions are compared.

        Args:
            k: Neighbours of each query.
            n_recent: Sessions that are compared with each query, those that ended last.
            similarity: `sum` of the shared weights, or `cosine`: that over the norms of the history's weights and
                of the session.
            history_decay: Of the weights of the history's items.
            match_decay: Of a neighbour, by the latest event of the history whose item it holds.
            idf_weight: How far rare items are favoured.

        Raises:
            ConfigError: If `k` or `n_recent` is below 1, or `idf_weight` below 0.
        """
        for name, value in (("k", k), ("n_recent", n_recent)):
            if value < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {value}")
        if not 0 <= idf_weight < np.inf:
            raise ConfigError(f"model.idf_weight must be 0 or more, and finite, but is {idf_weight}")
        self.k = k
        self.n_recent = n_recent
        self.similarity = similarity
        self.history_decay = history_decay
        self.match_decay = match_decay
        self.idf_weight = idf_weight

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        """Order the sessions by their ends; neighbours are sought when a query comes.

        Raises:
            DataError: If the log holds no event.
        """
        matrix = user_item_matrix(train)
        users = np.flatnonzero(np.diff(train.offsets))
        ends = train.timestamps[train.offsets[users + 1] - 1]
        users = users[np.lexsort((-users, -ends))]  # of sessions that end together, the later one first
        return self._keep(matrix[users], users.astype(np.int32))

    def _keep(self, sessions: Sparse, users: npt.NDArray[np.int32]) -> Self:
        self.sessions_, self.users_ = sessions, users
        n_sessions, n_items = sessions.shape
        held = np.bincount(sessions.indices, minlength=n_items)
        self._lift = 1 + self.idf_weight * np.log(n_sessions / np.maximum(held, 1))
        self._by_session, self._by_item = Rows.of(sessions), Rows.of(sessions.T.tocsr())
        self._places = {int(user): place for place, user in enumerate(users.tolist())}
        return self

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        """Return (n_queries, n_items) float32, 0 where no neighbour holds the item.

        Raises:
            DataError: If a history holds an item outside the catalogue.
        """
        n_items = self.sessions_.shape[1]
        _, items = queries.history_items()
        check_items(items, n_items)
        ends = np.cumsum(queries.lengths)
        scores = np.zeros((len(queries), n_items), np.float32)
        search = _Search(
            self._by_session,
            self._by_item,
            ends - queries.lengths,
            ends,
            np.require(items, np.int32, ["C", "W"]),
            np.array([self._places.get(int(user), -1) for user in queries.users], np.int64),
            self._lift,
            np.array([self.k, self.n_recent], np.int64),
            np.array([_DECAYS.index(self.history_decay), _DECAYS.index(self.match_decay)], np.int64),
            self.similarity == "cosine",
        )
        in_threads(
            lambda start, end: _score_rows(start, end, search, scores),
            queries.lengths.astype(np.float64) + n_items / self.n_recent,
        )
        return scores

    def get_state(self) -> State:
        """Return the sessions (`offsets`, `indices`, `weights`), their `users`, and `n_items` (one number)."""
        return {
            "offsets": self.sessions_.indptr,
            "indices": self.sessions_.indices,
            "weights": self.sessions_.data,
            "users": self.users_,
            "n_items": np.array([self.sessions_.shape[1]], np.int64),
        }

    def set_state(self, state: State) -> Self:
        """Take over the sessions of another model.

        Raises:
            RecordError: If an array is missing or does not fit the others.
        """
        n_items, users = flat(state, "n_items"), flat(state, "users")
        if len(n_items) != 1:
            raise RecordError("the state of a model of sessions needs one number 'n_items'; export the run again")
        sessions = restored_matrix(state, "weights", n_columns=int(n_items[0]))
        if len(users) != sessions.shape[0]:
            raise RecordError("the arrays in the state of the model do not fit each other; export the run again")
        return self._keep(sessions, users.astype(np.int32))


class _Search(NamedTuple):
    by_session: Rows
    by_item: Rows  # the sessions of each item, those that ended last first
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    left_out: npt.NDArray[np.int64]
    lift: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.int64]  # k, n_recent
    decays: npt.NDArray[np.int64]
    cosine: bool


@compiled
def _decayed(kind: int, back: int, length: int) -> float:
    if kind == 1:
        return max(0.0, 1 - (back - 1) / 10)
    if kind == 2:
        return (length - back + 1) / length
    if kind == 3:
        return 1 / back
    if kind == 4:
        return 1 / (back * back)
    if kind == 5:
        return 1 / math.log10(back + 9)
    return 1.0


@compiled
def _distinct(row: int, search: _Search, seen: npt.NDArray[np.bool_], backs: npt.NDArray[np.int64]) -> int:
    """Set how far back each distinct item that weighs anything is, the latest first; return how many there are."""
    n, start, end = 0, search.starts[row], search.ends[row]
    for place in range(end - 1, start - 1, -1):
        item = search.items[place]
        if not seen[item] and _decayed(search.decays[0], end - place, end - start) > 0:
            seen[item] = True
            backs[n] = end - place
            n += 1
    for x in range(n):
        seen[search.items[end - backs[x]]] = False
    return n


@compiled
def _next_session(n: int, heads: npt.NDArray[np.int64], lasts: npt.NDArray[np.int64], by_item: Rows) -> int:
    """Return the first session at the heads of the lists, or -1 if all are at their ends."""
    first = -1
    for x in range(n):
        if heads[x] < lasts[x]:
            session = int(by_item.indices[heads[x]])
            if first < 0 or session < first:
                first = session
    return first


@compiled
def _find(
    row: int,
    search: _Search,
    backs: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    places: npt.NDArray[np.int32],
    found: npt.NDArray[np.int64],
    nearest: npt.NDArray[np.int64],
) -> int:
    """Set the similarities of the neighbours and their places among those compared; return how many there are.

    The lists of sessions of the history's items are merged, so that no session is looked at beyond those compared.

    Args:
        row: Of the queries.
        search: What to search.
        backs: (n,) how far back each distinct item is, the latest first.
        values: (k,) to be set.
        places: (k,) to be set, places in `found`.
        found: (n_recent,) to be set, the sessions that were compared.
        nearest: (n_recent,) to be set, how far back the latest event is whose item each of them holds.
    """
    n, length, end = len(backs), search.ends[row] - search.starts[row], search.ends[row]
    heads, lasts, weights = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    norm = 0.0
    for x in range(n):
        item = search.items[end - backs[x]]
        heads[x], lasts[x] = search.by_item.offsets[item], search.by_item.offsets[item + 1]
        weights[x] = _decayed(search.decays[0], backs[x], length)
        norm += weights[x] * weights[x]
    n_found, n_best = 0, 0
    while n_found < len(found):
        session = _next_session(n, heads, lasts, search.by_item)
        if session < 0:
            break
        shared, back = 0.0, np.int64(0)
        for x in range(n):
            if heads[x] < lasts[x] and search.by_item.indices[heads[x]] == session:
                heads[x] += 1
                shared += weights[x]
                back = backs[x] if back == 0 else back
        if session == search.left_out[row]:
            continue
        if search.cosine:
            size = search.by_session.offsets[session + 1] - search.by_session.offsets[session]
            shared /= np.sqrt(norm * size)
        found[n_found], nearest[n_found] = session, back
        if n_best < len(values):
            values[n_best], places[n_best] = shared, n_found
            sift_up(values, places, n_best)
            n_best += 1
        elif np.float32(shared) > values[0]:  # of equals, the one that ended later is kept
            values[0], places[0] = shared, n_found
            sift_down(values, places)
        n_found += 1
    return n_best


@compiled
def _score_rows(start: int, end: int, search: _Search, scores: npt.NDArray[np.float32]) -> None:
    """Set the rows of `scores`, all 0 before, from `start` to `end`."""
    n_items, n_sessions = scores.shape[1], len(search.by_session.offsets) - 1
    seen, sums = np.zeros(n_items, np.bool_), np.zeros(n_items)
    n_recent = min(search.sizes[1], n_sessions)
    k = min(search.sizes[0], n_recent)
    values, places = np.empty(k, np.float32), np.empty(k, np.int32)
    found, nearest = np.empty(n_recent, np.int64), np.empty(n_recent, np.int64)
    for row in range(start, end):
        length = search.ends[row] - search.starts[row]
        backs = np.empty(min(length, n_items), np.int64)
        n = _distinct(row, search, seen, backs)
        n_best = _find(row, search, backs[:n], values, places, found, nearest)
        for best in range(n_best):
            session = found[places[best]]
            worth = values[best] * _decayed(search.decays[1], nearest[places[best]], length)
            for x in range(search.by_session.offsets[session], search.by_session.offsets[session + 1]):
                sums[search.by_session.indices[x]] += worth
        for best in range(n_best):
            session = found[places[best]]
            for x in range(search.by_session.offsets[session], search.by_session.offsets[session + 1]):
                item = search.by_session.indices[x]
                scores[row, item] = sums[item] * search.lift[item]
        for best in range(n_best):
            session = found[places[best]]
            for x in range(search.by_session.offsets[session], search.by_session.offsets[session + 1]):
                sums[search.by_session.indices[x]] = 0.0
