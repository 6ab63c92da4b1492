import numpy as np
import torch

from recdl.data.features import Features
from recdl.models.networks.features import FeatureEncoder

FEATURES = Features(
    codes=np.array([[1, 2], [3, 0], [0, 0]], np.int32),
    shares=np.array([[0.5, 0.5], [1, 0], [0, 0]], np.float32),
    dense=np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 0.0]], np.float32),
    n_codes=4,
)


def _encoder(features: Features = FEATURES) -> FeatureEncoder:
    torch.manual_seed(0)
    return FeatureEncoder(features, 5, initial_deviation=1.0)


def test_a_vector_is_that_of_the_categories_and_a_map_of_the_rest() -> None:
    encoder = _encoder()
    e, w = encoder.categories.weight, encoder.weights
    expected = torch.stack([(e[1] + e[2]) / 2 + 2 * w[0] + w[1], e[3] + w[1], torch.zeros(5)])
    torch.testing.assert_close(encoder.table(), expected)


def test_indices_may_have_any_shape() -> None:
    encoder = _encoder()
    indices = torch.tensor([[0, 2, 1], [1, 1, 0]])
    torch.testing.assert_close(encoder(indices), encoder.table()[indices])


def test_no_category_learns_nothing_and_stays_0() -> None:
    encoder = _encoder()
    encoder.table().sum().backward()
    assert encoder.categories.weight.grad is not None
    assert (encoder.categories.weight.grad[0] == 0).all()
    assert (encoder.categories.weight[0] == 0).all()


def test_features_of_one_kind_alone_will_do() -> None:
    none = np.zeros((3, 0))
    codes = Features(FEATURES.codes, FEATURES.shares, none.astype(np.float32), 4)
    dense = Features(none.astype(np.int32), none.astype(np.float32), FEATURES.dense, 1)
    together = _encoder().table()
    assert _encoder(codes).table().shape == _encoder(dense).table().shape == together.shape


def test_what_is_not_learned_is_not_in_its_state() -> None:
    assert set(_encoder().state_dict()) == {"categories.weight", "weights"}
