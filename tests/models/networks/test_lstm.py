import torch

from recdl.models.networks.lstm import LSTM

N_ITEMS, N_BEHAVIORS = 11, 3


def _network(**settings: bool | int | float) -> LSTM:
    torch.manual_seed(0)
    network = LSTM(N_ITEMS, N_BEHAVIORS, embedding_size=6, hidden_size=8, **settings)  # type: ignore[arg-type]
    return network.eval()


def test_outputs_do_not_depend_on_padding() -> None:
    network = _network()
    items, behaviors = torch.tensor([[1, 5, 2]]), torch.tensor([[0, 2, 1]])
    padded_items = torch.cat([items, torch.full((1, 4), N_ITEMS)], 1)
    padded_behaviors = torch.cat([behaviors, torch.full((1, 4), N_BEHAVIORS)], 1)
    torch.testing.assert_close(network(padded_items, padded_behaviors)[:, :3], network(items, behaviors))


def test_an_output_depends_on_nothing_that_comes_later() -> None:
    network = _network()
    behaviors = torch.zeros(1, 4, dtype=torch.int64)
    first, second = torch.tensor([[1, 5, 2, 3]]), torch.tensor([[1, 5, 9, 8]])
    torch.testing.assert_close(network(first, behaviors)[:, :2], network(second, behaviors)[:, :2])


def test_the_batched_recurrence_equals_one_step_at_a_time() -> None:
    network = _network(residual=False, use_behaviors=False)
    items = torch.tensor([[1, 5, 2, 7]])
    state = None
    steps = []
    for position in range(items.shape[1]):
        output, state = network.cell(network.item_embedding(items[:, position : position + 1]), state)
        steps.append(network.projection(output))
    torch.testing.assert_close(network(items, torch.zeros_like(items)), torch.cat(steps, 1))


def test_the_padding_rows_are_zero_and_stay_zero_in_training() -> None:
    network = _network().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    items, behaviors = torch.tensor([[1, 2, N_ITEMS]]), torch.tensor([[0, 1, N_BEHAVIORS]])
    for _ in range(3):
        weight, bias = network.output_layer()
        loss = (network(items, behaviors)[:, :2] @ weight.T + bias).logsumexp(-1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network.behavior_embedding is not None
    assert network.item_embedding.weight[N_ITEMS].abs().sum() == 0
    assert network.behavior_embedding.weight[N_BEHAVIORS].abs().sum() == 0
    assert network.item_embedding.weight[1].abs().sum() > 0


def test_padding_and_start_are_no_classes() -> None:
    weight, bias = _network().output_layer()
    assert weight.shape == (N_ITEMS, 6)
    assert bias.shape == (N_ITEMS,)


def test_a_behavior_changes_the_output_only_when_behaviors_are_used() -> None:
    items = torch.tensor([[1, 2]])
    views, purchases = torch.tensor([[0, 0]]), torch.tensor([[2, 2]])
    using, blind = _network(), _network(use_behaviors=False)
    assert not torch.allclose(using(items, views), using(items, purchases))
    assert torch.equal(blind(items, views), blind(items, purchases))


def test_the_residual_adds_the_last_item() -> None:
    items, behaviors = torch.tensor([[1, 2]]), torch.tensor([[0, 0]])
    plain, residual = _network(residual=False), _network(residual=True)
    torch.testing.assert_close(residual(items, behaviors), plain(items, behaviors) + plain.item_embedding(items))


def test_dropout_acts_on_a_single_layer_in_training() -> None:
    network = _network(hidden_dropout=0.5, embedding_dropout=0.0).train()
    items, behaviors = torch.tensor([[1, 2]]), torch.tensor([[0, 0]])
    assert not torch.equal(network(items, behaviors), network(items, behaviors))
