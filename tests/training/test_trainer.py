import pytest

from recdl.errors import ConfigError
from recdl.training.trainer import TrainerSettings


@pytest.mark.parametrize("name", ["max_epochs", "patience", "devices"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.{name} must be at least 1, not 0"):
        TrainerSettings(**{name: 0})


@pytest.mark.parametrize("monitor", ["ndcg", "ndcg@", "ndcg@0", "loss@10", "ndcg@ten"])
def test_a_monitor_that_is_no_metric_at_a_cutoff_is_refused(monitor: str) -> None:
    with pytest.raises(ConfigError, match=f"not '{monitor}'; the metrics are"):
        TrainerSettings(monitor=monitor)
