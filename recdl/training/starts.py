"""What a factorization network starts from: models that were fitted before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, svds
from torch import nn

from recdl.data.interactions import Interactions
from recdl.data.matrix import Sparse
from recdl.data.queries import Queries
from recdl.data.sampling import Positives
from recdl.errors import ConfigError
from recdl.models.networks.matrix_factorization import MatrixFactorization
from recdl.models.networks.neumf import NeuMF, Product
from recdl.models.protocol import Embedded, Factor, Factored, ModelFactory, RankingTask, Recommender, Refittable
from recdl.training.members import fitted, made
from recdl.training.settings import TrainerSettings

Vectors = npt.NDArray[np.float32]

_SCORES_AT_ONCE = 1 << 21
_SAMPLED_USERS = 500
_NO_PARTS: Mapping[str, ModelFactory] = {}


class Contribution(NamedTuple):
    """What a model has for another to start from.

    Attributes:
        product: Its logits, or what of them is a product.
        perceptron: The network whose perceptron gives its logits, or the rest of them.
    """

    product: Product | None
    perceptron: NeuMF | None

    @classmethod
    def of(cls, network: nn.Module) -> Self | None:
        """Return what a network has; None if nothing."""
        if isinstance(network, MatrixFactorization):
            return cls(network.product(), None)
        if not isinstance(network, NeuMF):
            return None
        product = network.product()
        if network.perceptron is None:
            return cls(product, None)
        if product is not None:  # the biases come with the perceptron
            product = Product(product.users, product.items)
        return cls(product, network)


@runtime_checkable
class Contributing(Protocol):
    """A recommender with a network that others may start from."""

    def contribution(self, *, sketch: bool) -> Contribution | None:
        """Return what its network has, or, of `sketch`, what one of two users and items has before any fit."""
        ...


@dataclass(frozen=True, eq=False)
class Aim:
    """What a start is fitted to: the loss of the training that follows it.

    Attributes:
        positives: What is learned.
        pointwise: Whether each pair is judged by itself, and not beside the user's other items.
        n_negatives: Of a positive, where it is.
    """

    positives: Positives
    pointwise: bool
    n_negatives: int


class Start:
    """Fits models and lets a network start from what they learned (He et al. 2017, section 3.4.1).

    A `gmf`, `mf` or `als` gives a product, and so does any model whose scores are the product of a user's history
    with a matrix, as those of `ease` are: then it is the best of the wanted width in least squares (truncated
    singular value decomposition). An `mlp` gives a perceptron, a `neumf` both.

    Args:
        parts: What makes the models, by the names their settings go by; at most one product and one perceptron.
        product_share: Where two models are joined, the share of the product in the logits; the perceptron has the
            rest (alpha in the paper).
        scale: What the scores of a model that is no network are multiplied by to be logits; None: the likeliest.
    """

    def __init__(
        self,
        parts: Mapping[str, ModelFactory] = _NO_PARTS,
        *,
        product_share: float = 0.5,
        scale: float | None = None,
    ) -> None:
        if not 0 < product_share < 1:
            raise ConfigError(f"model.start.product_share must lie between 0 and 1, not {product_share}")
        if scale is not None and not 0 < scale < np.inf:
            raise ConfigError(f"model.start.scale must be above 0 and finite, or null, not {scale}")
        self.parts = dict(parts)
        self.product_share = product_share
        self.scale = scale

    def check(self, network: nn.Module, models: Mapping[str, Recommender]) -> None:
        """Check that a network of two users and items could start from the parts and from `models`.

        Raises:
            ConfigError: Naming the model that it cannot start from.
        """
        unfitted = {
            _key(name): made(make, "", trainer=TrainerSettings(), seed=0) for name, make in self.parts.items()
        }
        self._join(network, {name: _promised(name, model) for name, model in {**unfitted, **models}.items()})

    def fitted(
        self, train: Interactions, validation: RankingTask | None, *, trainer: TrainerSettings, seed: int
    ) -> dict[str, Recommender]:
        """Return the parts, fitted, by their names in messages.

        Raises:
            DataError: If one cannot learn from the log.
        """
        return {
            _key(name): fitted(make, f"start/{name}", train, validation, trainer=trainer, seed=seed)
            for name, make in self.parts.items()
        }

    def refitted(
        self, parts: Mapping[str, Recommender], train: Interactions, *, trainer: TrainerSettings, seed: int
    ) -> dict[str, Recommender]:
        """Return fresh parts that learned from `train`, networks for the epochs that were best for `parts`.

        Raises:
            DataError: As `fitted` does.
        """
        fresh = {}
        for name, make in self.parts.items():
            part = parts[_key(name)]
            if isinstance(part, Refittable):
                fresh[_key(name)] = part.refit(train)
            else:
                fresh[_key(name)] = fitted(make, f"start/{name}", train, None, trainer=trainer, seed=seed)
        return fresh

    def apply(self, network: nn.Module, models: Mapping[str, Recommender], train: Interactions, aim: Aim) -> None:
        """Let a network start from fitted models.

        Raises:
            ConfigError: Naming the model that it cannot start from.
        """
        found = {}
        for name, model in models.items():
            own = model.contribution(sketch=False) if isinstance(model, Contributing) else None
            if own is None:
                users, items = _factorized(model, train, _width(network))
                own = Contribution(_as_logits(users, items, aim, self.scale), None)
            found[name] = own
        self._join(network, found)

    def _join(self, network: nn.Module, found: Mapping[str, Contribution]) -> None:
        """Put contributions into a network: of two models each has its share of the logits."""
        products = [name for name, one in found.items() if one.product is not None]
        perceptrons = [name for name, one in found.items() if one.perceptron is not None]
        for kind, names in (("product", products), ("perceptron", perceptrons)):
            if len(names) > 1:
                raise ConfigError(f"{names[0]} and {names[1]} both give a {kind}; a network starts from one")
        if not found:
            return
        share = self.product_share if len(found) > 1 else 1.0
        product = found[products[0]].product if products else None
        perceptron = found[perceptrons[0]].perceptron if perceptrons else None
        scaled = None if product is None else product.times(share)
        try:
            if isinstance(network, NeuMF):
                network.start(scaled, perceptron, share=1.0 - share if len(found) > 1 else 1.0)
            elif isinstance(network, MatrixFactorization) and scaled is not None and perceptron is None:
                network.start(scaled)
            else:
                raise ValueError(f"a {type(network).__name__} has no place for it")
        except ValueError as error:
            raise ConfigError(f"model.network cannot start from {' and '.join(found)}: {error}") from error


def _key(name: str) -> str:
    return f"model.start.parts.{name}"


def _width(network: nn.Module) -> int:
    """Return how wide a product the network has room for."""
    return network.mf_size if isinstance(network, NeuMF) else cast(MatrixFactorization, network).embedding_size


def _promised(name: str, model: Recommender) -> Contribution:
    """Return what a model that may not be fitted yet will contribute, of two users and items.

    Raises:
        ConfigError: If it will have nothing.
    """
    own = model.contribution(sketch=True) if isinstance(model, Contributing) else None
    if own is not None:
        return own
    if isinstance(model, Embedded):
        return Contribution(
            Product(torch.zeros(2, model.embedding_size), torch.zeros(2, model.embedding_size)), None
        )
    if isinstance(model, Factored):
        return Contribution(Product(torch.zeros(2, 0), torch.zeros(2, 0)), None)
    raise ConfigError(
        f"{name}: a {type(model).__name__} has nothing that a network of users and items could start from; gmf,"
        " mlp, neumf, mf, als, ease, item_knn and the like have"
    )


def _factorized(model: Recommender, train: Interactions, width: int) -> tuple[Vectors, Vectors]:
    """Return (n_users, d) and (n_items, d) whose product is the scores at the end of the log, or near to them."""
    queries = Queries.at_end(train)
    if isinstance(model, Embedded):
        return model.embeddings(queries)
    return nearest_product(*cast(Factored, model).factors(queries), width)


def nearest_product(left: Sparse, right: Factor, width: int) -> tuple[Vectors, Vectors]:
    """Return (n, d) and (m, d) float32, d at most `width`, whose product is nearest to `left @ right` (n, m).

    The root of a singular value goes to each side. The product itself is never made.
    """
    shape = (left.shape[0], right.shape[1])
    turned = left.T.tocsr()
    operator = LinearOperator(
        shape,
        dtype=np.float32,
        matvec=lambda vector: left @ (right @ vector),
        rmatvec=lambda vector: right.T @ (turned @ vector),
    )
    if width < min(shape):
        first = np.random.default_rng(0).normal(size=min(shape)).astype(np.float32)
        u, values, v = svds(operator, k=width, v0=first)
    else:
        u, values, v = np.linalg.svd(operator @ np.eye(shape[1], dtype=np.float32), full_matrices=False)
    roots = np.sqrt(values)
    return (u * roots).astype(np.float32), (v.T * roots).astype(np.float32)


def _as_logits(users: Vectors, items: Vectors, aim: Aim, scale: float | None) -> Product:
    """Return a product as logits: multiplied by what makes the positives likeliest, both sides of equal length.

    Scores of a regression towards 0 and 1, say, order the items well and are far too small for a softmax.
    """
    factor, bias = likeliest_scale(users, items, aim) if scale is None else (scale, 0.0)
    lengths = [np.sqrt(np.square(side, dtype=np.float64).mean()) for side in (users, items)]
    balance = np.sqrt(lengths[1] / lengths[0]) if all(lengths) else 1.0
    root = np.sqrt(factor)
    return Product(
        torch.from_numpy(np.asarray(users * (root * balance), np.float32)),
        torch.from_numpy(np.asarray(items * (root / balance), np.float32)),
        bias=bias,
    )


def likeliest_scale(users: Vectors, items: Vectors, aim: Aim) -> tuple[float, float]:
    """Return the factor and the bias that make the positives of some users likeliest, given scores as logits.

    Args:
        users: (n_users, d).
        items: (n_items, d).
        aim: The likelihood. Where pairs are not judged by themselves, the bias is 0: a softmax has no use for it.
    """
    positives = aim.positives
    catalogue = np.flatnonzero(positives.popularity)
    having = np.unique(positives.users)
    n = max(1, min(_SAMPLED_USERS, len(having), _SCORES_AT_ONCE // len(catalogue)))
    chosen = np.sort(np.random.default_rng(0).choice(having, n, replace=False))
    scores = users[chosen] @ items[catalogue].T
    deviation = float(scores.std()) or 1.0
    scores /= deviation
    taken = np.isin(positives.users, chosen)
    rows = np.searchsorted(chosen, positives.users[taken])
    weights = positives.weights[taken].astype(np.float64)
    places = np.searchsorted(catalogue, positives.items[taken])
    hits = scores[rows, places].astype(np.float64)
    totals = np.bincount(rows, weights, minlength=n)

    def softmax(parameters: npt.NDArray[np.float64]) -> float:
        logits = np.exp(parameters[0]) * scores
        peaks = logits.max(1)
        normalizers = peaks + np.log(np.exp(logits - peaks[:, None]).sum(1))
        return float((totals * normalizers).sum() - (weights * np.exp(parameters[0]) * hits).sum())

    def pairs(parameters: npt.NDArray[np.float64]) -> float:
        factor, bias = np.exp(parameters[0]), parameters[1]
        others = np.logaddexp(0, factor * scores + bias).mean(1) * aim.n_negatives
        return float((weights * np.logaddexp(0, -factor * hits - bias)).sum() + (totals * others).sum())

    found = minimize(
        pairs if aim.pointwise else softmax, np.zeros(2 if aim.pointwise else 1), method="Nelder-Mead"
    )
    bias = float(found.x[1]) if aim.pointwise else 0.0
    return float(np.exp(found.x[0])) / deviation, bias
