import pytest
import torch
from torch.nn import functional

from recdl.models.networks.neumf import NeuMF


def _textbook(network: NeuMF, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Equation 12 of He et al. 2017, with the two sides of the perceptron's input concatenated."""
    size = network.mf_size
    p, q = (
        network.user_embedding.weight[users][:, None].expand(-1, items.shape[1], -1),
        network.item_embedding(items),
    )
    first = torch.cat([network.user_layer.weight, network.item_layer.weight], 1)
    assert network.perceptron is not None
    hidden = functional.linear(torch.cat([p[..., size:], q[..., size:]], -1), first, network.user_layer.bias)
    return network.output(torch.cat([p[..., :size] * q[..., :size], network.perceptron(hidden)], -1)).squeeze(-1)


def test_logits_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    network = NeuMF(7, 9, mf_embedding_size=4, mlp_embedding_size=6, mlp_sizes=(8, 5), initial_deviation=1.0)
    users, items = torch.tensor([0, 3, 6]), torch.tensor([[1, 2], [8, 0], [4, 4]])
    torch.testing.assert_close(network(users, items), _textbook(network, users, items))


def test_one_set_of_items_for_all_users_gives_the_same_logits() -> None:
    torch.manual_seed(0)
    network = NeuMF(7, 9, initial_deviation=1.0)
    users = torch.arange(7)
    every = network.interact(network.user_embedding.weight, network.item_embedding.weight)
    torch.testing.assert_close(every, network(users, torch.arange(9).expand(7, 9)))


def test_without_perceptron_it_is_a_weighted_product() -> None:
    torch.manual_seed(0)
    network = NeuMF(3, 4, mf_embedding_size=5, mlp_sizes=())
    product = network.user_embedding.weight[1] * network.item_embedding.weight[2]
    expected = product @ network.output.weight[0] + network.output.bias
    torch.testing.assert_close(network(torch.tensor([1]), torch.tensor([[2]]))[0], expected)


def test_without_factorization_only_the_perceptron_speaks() -> None:
    network = NeuMF(3, 4, mf_embedding_size=0, mlp_embedding_size=2, mlp_sizes=(3,), initial_deviation=1.0)
    users, items = torch.tensor([0]), torch.tensor([[1, 3]])
    torch.testing.assert_close(network(users, items), _textbook(network, users, items))


def test_a_network_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="mf_embedding_size > 0 or at least one layer"):
        NeuMF(3, 4, mf_embedding_size=0, mlp_sizes=())


def test_logits_are_not_squashed() -> None:
    network = NeuMF(2, 2, initial_deviation=100.0)
    assert network(torch.tensor([0, 1]), torch.tensor([[0, 1], [0, 1]])).abs().max() > 1.0


def test_without_weights_of_the_product_it_is_a_dot_product_beside_the_perceptron() -> None:
    torch.manual_seed(0)
    settings = {"mf_embedding_size": 4, "mlp_embedding_size": 6, "mlp_sizes": (8, 5), "initial_deviation": 1.0}
    network = NeuMF(7, 9, **settings, product_weights=False)
    paper = NeuMF(7, 9, **settings)
    paper.load_state_dict(network.state_dict())
    with torch.no_grad():
        paper.output.weight[0, :4] = 1.0
    users, items = torch.tensor([0, 3, 6]), torch.tensor([[1, 2], [8, 0], [4, 4]])
    torch.testing.assert_close(network(users, items), _textbook(paper, users, items))
