import pytest
from torch import nn

from recdl.training.averaging import WeightAverage


def _at(value: float) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def _value(average: WeightAverage) -> float:
    return next(average.network.parameters()).item()


def test_the_average_keeps_less_of_the_first_steps_than_its_share() -> None:
    average = WeightAverage(_at(0.0), keep=0.5)
    expected = 0.0
    for step, value in enumerate([10.0, 20.0, -5.0] + [1.0] * 12, start=1):
        average.follow(_at(value))
        kept = min(0.5, step / (step + 9))
        expected = kept * expected + (1 - kept) * value
        assert _value(average) == pytest.approx(expected, rel=1e-5)


def test_what_is_trained_stays_as_it_is_and_the_average_learns_nothing_itself() -> None:
    network = _at(3.0)
    average = WeightAverage(network, keep=0.9)
    average.follow(_at(5.0))
    assert network.weight.item() == 3.0
    assert not any(weights.requires_grad for weights in average.parameters())


def test_an_average_restored_in_the_middle_goes_on_as_if_it_had_not_been() -> None:
    whole, first = WeightAverage(_at(0.0), keep=0.99), WeightAverage(_at(0.0), keep=0.99)
    for value in (1.0, 2.0):
        whole.follow(_at(value))
        first.follow(_at(value))
    restored = WeightAverage(_at(7.0), keep=0.99)
    restored.load_state_dict(first.state_dict())
    whole.follow(_at(3.0))
    restored.follow(_at(3.0))
    assert _value(restored) == _value(whole)
