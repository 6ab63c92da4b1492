from collections.abc import Sequence
from functools import partial
from typing import Self

import numpy as np
import numpy.typing as npt
import pytest
import torch

from recdl.data.batches import PairBatches
from recdl.data.interactions import Interactions
from recdl.data.queries import Queries
from recdl.data.sampling import Negatives, Positives
from recdl.errors import ConfigError
from recdl.models.networks.neumf import NeuMF
from recdl.models.protocol import RankingTask, State
from recdl.training.factorization import FactorizationRecommender
from recdl.training.interaction_modules import PairModule
from recdl.training.losses import binary_cross_entropy
from recdl.training.settings import TrainerSettings
from recdl.training.trainer import fit_network


class _Counting:
    """A recommender that notes how many queries it was asked to score."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items
        self.asked: list[Sequence[int]] = []

    def fit(self, train: Interactions, validation: RankingTask | None = None) -> Self:
        return self

    def score(self, queries: Queries) -> npt.NDArray[np.float32]:
        self.asked.append(queries.users.tolist())
        return np.zeros((len(queries), self.n_items), np.float32)

    def get_state(self) -> State:
        return {}

    def set_state(self, state: State) -> Self:
        return self


def test_no_more_queries_than_allowed_are_ranked_after_an_epoch_and_always_the_same(
    two_tastes: tuple[Interactions, RankingTask],
) -> None:
    train, task = two_tastes
    recommender = _Counting(train.n_items)
    module = PairModule(
        NeuMF(train.n_users, train.n_items),
        loss=binary_cross_entropy,
        batch_size=64,
        learning_rate=0.1,
        l2=0.0,
        rows=False,
    )
    settings = TrainerSettings(
        accelerator="cpu", max_epochs=2, patience=2, validation_queries=7, progress_bar=False
    )
    batches = PairBatches(Positives.of(train), Negatives(n=1), batch_size=64, seed=0)
    with torch.random.fork_rng():
        fit_network(recommender, module, batches, validation=task, settings=settings)
    first, second = recommender.asked
    assert len(set(first)) == 7
    assert sorted(first) == sorted(second)


def test_without_a_terminal_each_epoch_is_a_line_that_says_which_was_the_best(
    two_tastes: tuple[Interactions, RankingTask], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = TrainerSettings(accelerator="cpu", max_epochs=3, patience=2)
    model = FactorizationRecommender(
        partial(NeuMF, mf_embedding_size=4), learning_rate=0.02, trainer=settings
    ).fit(*two_tastes)
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "at most 3 epochs, fewer when 2 in a row do not raise validation/ndcg@10"
    values = [entry["validation/ndcg@10"] for entry in model.learning_curve_]
    assert len(lines) == len(values)
    for epoch, line in enumerate(lines):
        best = int(np.argmax(values[: epoch + 1]))
        assert line.startswith(f"epoch {epoch}: loss {model.learning_curve_[epoch]['loss']:.4f}, ")
        assert f"{values[epoch]:.4f} (best {values[best]:.4f}, epoch {best})" in line


@pytest.mark.parametrize("name", ["max_epochs", "patience", "devices", "validation_queries"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.{name} must be at least 1, not 0"):
        TrainerSettings(**{name: 0})


@pytest.mark.parametrize("monitor", ["ndcg", "ndcg@", "ndcg@0", "loss@10", "ndcg@ten"])
def test_a_monitor_that_is_no_metric_at_a_cutoff_is_refused(monitor: str) -> None:
    with pytest.raises(ConfigError, match=f"not '{monitor}'; the metrics are"):
        TrainerSettings(monitor=monitor)
