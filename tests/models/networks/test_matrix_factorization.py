import pytest
import torch

from recdl.models.networks.matrix_factorization import MatrixFactorization


def test_a_logit_is_the_product_plus_the_biases() -> None:
    network = MatrixFactorization(2, 3, embedding_size=2)
    with torch.no_grad():
        network.user_embedding.weight[1] = torch.tensor([1.0, 2.0, 0.5])
        network.item_embedding.weight[2] = torch.tensor([3.0, -1.0, 0.25])
        network.bias.fill_(10.0)
    logits = network(torch.tensor([1]), torch.tensor([[2]]))
    assert logits.tolist() == [[1 * 3 + 2 * -1 + 0.5 + 0.25 + 10]]


def test_scoring_a_shared_list_of_items_equals_scoring_one_list_a_user() -> None:
    network = MatrixFactorization(3, 5, embedding_size=4, initial_deviation=1.0)
    users = torch.tensor([0, 2])
    items = torch.tensor([1, 4, 3])
    shared = network.interact(network.user_embedding(users), network.item_embedding(items))
    torch.testing.assert_close(shared, network(users, items.expand(2, -1)))


def test_biases_start_at_zero() -> None:
    network = MatrixFactorization(3, 5, embedding_size=4)
    assert not network.user_embedding.weight[:, -1].any()
    assert not network.item_embedding.weight[:, -1].any()


def test_a_product_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="embedding_size must be at least 1, not 0"):
        MatrixFactorization(3, 5, embedding_size=0)
