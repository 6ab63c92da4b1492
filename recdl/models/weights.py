"""How much an event counts: by what it was, how long ago it was, and how often it came."""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse, history_matrix, sparse_rows, user_item_matrix
from recdl.data.queries import Queries, ragged_positions
from recdl.errors import ConfigError, DataError
from recdl.models.matrix_state import flat
from recdl.models.protocol import State

_MICROSECONDS_A_DAY = 86_400 * 10**6


@dataclass(frozen=True)
class EventWeights:
    """The weight of a (user, item) pair, made of the weights of its events.

    An event weighs what its behaviour does, times 0.5 for each half-life that it lies back, times the log's number
    for it where `column` says so.

    Attributes:
        behaviors: Weight of each behaviour, 0 for those not named; None for 1 each.
        half_life_days: Days after which an event counts half. Time runs back from the last event: of the whole log
            in a log, of the history in a history.
        half_life_events: The same in events of the same user, the last one counting whole.
        repeats: What several events of one pair make: `once`, the largest of their weights; `sum`; or `log`,
            log2(1 + sum), which is 1 for a single event of weight 1.
        column: Whether the log's weight column counts: numbers of 0 or more.
    """

    behaviors: dict[str, float] | None = None
    half_life_days: float | None = None
    half_life_events: float | None = None
    repeats: Literal["once", "sum", "log"] = "once"
    column: bool = False

    def __post_init__(self) -> None:
        for name in ("half_life_days", "half_life_events"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise ConfigError(f"{name} must be above 0, and finite, or null, but is {value}")
        weights = None if self.behaviors is None else self.behaviors
        for name, weight in (weights or {}).items():
            if not 0 <= weight < np.inf:
                raise ConfigError(f"behaviors.{name} must be 0 or more, and finite, but is {weight}")
        if weights is not None and not any(weights.values()):
            raise ConfigError("behaviors gives no behavior a weight above 0; name one, or null for all of them")

    @property
    def plain(self) -> bool:
        """Whether each pair weighs 1, however its events came."""
        decays = self.half_life_days is not None or self.half_life_events is not None
        return self.behaviors is None and not decays and self.repeats == "once" and not self.column


@dataclass(frozen=True, eq=False)
class Weighing:
    """Event weights whose behaviours are known by their codes.

    Attributes:
        rule: How events weigh.
        by_behavior: (n_behaviors,) float64, the weight of each behaviour, by code.
    """

    rule: EventWeights
    by_behavior: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rule: EventWeights, log: Interactions) -> Self:
        """Look the behaviours of `rule` up in the log.

        Raises:
            DataError: If the log has no behaviour of one of the names, no weights where they are to count, or no
                times where events weigh by their age.
        """
        if rule.half_life_days is not None and not log.timed:
            raise DataError("half_life_days: this log has an order and no times; use half_life_events")
        if rule.column and log.weights is None:
            raise DataError(
                "the model weighs events by the log's weight column (column=true), but the log has none; name it "
                "with data.columns.weight"
            )
        if rule.behaviors is None:
            return cls(rule, np.ones(len(log.behavior_names)))
        by_behavior = np.zeros(len(log.behavior_names))
        by_behavior[log.behavior_codes(list(rule.behaviors))] = list(rule.behaviors.values())
        return cls(rule, by_behavior)

    @classmethod
    def restored(cls, rule: EventWeights, state: State) -> Self:
        """Take the weights of the behaviours from a state.

        Raises:
            RecordError: If `behavior_weights` is missing or not flat.
        """
        return cls(rule, flat(state, "behavior_weights").astype(np.float64))

    def log_matrix(self, log: Interactions) -> Sparse:
        """Return (n_users, n_items) float32: the weight of each pair, without those that weigh nothing.

        Raises:
            DataError: If no event is left that weighs anything, or one weighs less than nothing.
        """
        matrix = user_item_matrix(log)
        if self.rule.plain:
            return matrix
        weights = self._log_weights(log)
        matrix = self._pairs(log.offsets, np.asarray(log.items), weights, log.n_items)
        if not matrix.nnz:
            raise DataError("there is no event to learn from: none has a behavior that weighs more than 0")
        return matrix

    def transition_matrix(self, log: Interactions) -> Sparse:
        """Return (n_items, n_items) float32: how much each item (row) was followed by each other one (column).

        An event counts with its own weight for having followed the one before it, of the same user and of another
        item. Events that weigh nothing are passed over.
        """
        weights = self._log_weights(log)
        kept = np.flatnonzero(weights > 0)
        users, items, weights = log.users[kept], np.asarray(log.items)[kept], weights[kept].astype(np.float32)
        follows = (users[1:] == users[:-1]) & (items[1:] != items[:-1])
        cells = (items[:-1][follows], items[1:][follows])
        return csr_array((weights[1:][follows], cells), shape=(log.n_items, log.n_items))

    def history_matrix(self, queries: Queries, n_items: int) -> Sparse:
        """Return (n_queries, n_items) float32: the weight of each item in each history.

        Raises:
            DataError: If a history holds an item outside the catalogue, a behaviour that the log did not have, or
                no weights, or negative ones, where they are to count.
        """
        matrix = history_matrix(queries, n_items)
        if self.rule.plain:
            return matrix
        positions = ragged_positions(queries.starts, queries.ends)
        offsets = np.zeros(len(queries) + 1, np.int64)
        np.cumsum(queries.lengths, out=offsets[1:])
        times = np.asarray(queries.timestamps[positions])
        full = np.diff(offsets) > 0
        now = np.zeros(len(queries), np.int64)
        now[full] = times[offsets[1:][full] - 1]
        weights = self._weights(
            np.asarray(queries.behaviors[positions]), times, offsets, now.repeat(np.diff(offsets))
        )
        self._times_column(weights, queries.weights, positions)
        return self._pairs(offsets, np.asarray(queries.items[positions]), weights, n_items)

    def _log_weights(self, log: Interactions) -> npt.NDArray[np.float64]:
        """Return (n_events,) float64: the weight of each event of a log."""
        weights = self._weights(
            np.asarray(log.behaviors), np.asarray(log.timestamps), log.offsets, log.timestamps.max()
        )
        self._times_column(weights, log.weights, slice(None))
        return weights

    def _times_column(
        self,
        weights: npt.NDArray[np.float64],
        column: npt.NDArray[np.float32] | None,
        positions: slice | npt.NDArray[np.int64],
    ) -> None:
        """Multiply the weights of events in place by what the log says of those at `positions`."""
        if not self.rule.column:
            return
        if column is None:
            raise DataError(
                "the model weighs events by the log's weight column, but these histories have none; give them a "
                "column `weight`"
            )
        numbers = column[positions]
        if len(numbers) and numbers.min() < 0:
            raise DataError(
                f"an event weighs {numbers.min():g}, below 0, by the log's weight column: such events (returns, "
                "cancellations) cannot be weighed; leave them out with data.exclude, or set column=false"
            )
        weights *= numbers

    def _weights(
        self,
        behaviors: npt.NDArray[np.int8],
        timestamps: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        now: npt.NDArray[np.int64] | np.int64,
    ) -> npt.NDArray[np.float64]:
        """Return (n_events,) float64 weights of events that lie in `offsets`, oldest first."""
        if len(behaviors) and behaviors.max() >= len(self.by_behavior):
            raise DataError(
                f"a history holds behavior {behaviors.max()}, but the model was fitted on a log of"
                f" {len(self.by_behavior)} behaviors"
            )
        weights = self.by_behavior[behaviors]
        if self.rule.half_life_days is not None:
            weights *= np.exp2(-(now - timestamps) / (self.rule.half_life_days * _MICROSECONDS_A_DAY))
        if self.rule.half_life_events is not None:
            places = offsets[1:].repeat(np.diff(offsets)) - 1 - np.arange(len(weights))
            weights *= np.exp2(-places / self.rule.half_life_events)
        return weights

    def _pairs(
        self,
        offsets: npt.NDArray[np.int64],
        items: npt.NDArray[np.int32],
        weights: npt.NDArray[np.float64],
        n_items: int,
    ) -> Sparse:
        rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        keys = rows * n_items + items
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        combine = np.maximum if self.rule.repeats == "once" else np.add
        values = combine.reduceat(weights[order], firsts) if len(firsts) else np.zeros(0)
        values = np.log2(1 + values) if self.rule.repeats == "log" else values
        weighed = np.asarray(values, np.float32)
        kept = weighed > 0
        pairs = keys[firsts][kept]
        starts = np.searchsorted(pairs, np.arange(len(offsets)) * n_items)
        return sparse_rows(weighed[kept], pairs % n_items, starts, n_items)
