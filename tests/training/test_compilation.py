import numpy as np
import pytest

from recdl.models.networks.neumf import NeuMF
from recdl.training.compilation import compiled
from tests.training.sharing import fitted, preferences


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pairs", "rows", "next items"])
def test_a_compiled_network_learns_the_same(name: str) -> None:
    np.testing.assert_allclose(preferences(fitted(name, compile=True)), preferences(fitted(name)), atol=1e-4)


@pytest.mark.parametrize("wanted", [False, True])
def test_after_the_fit_a_network_is_as_it_was(wanted: bool) -> None:
    network = NeuMF(3, 4, mf_embedding_size=2, mlp_embedding_size=2, mlp_sizes=(2,))
    names = list(network.state_dict())
    with compiled(network, wanted=wanted):
        assert ("interact" in vars(network)) == wanted
        assert list(network.state_dict()) == names
    assert "interact" not in vars(network)
