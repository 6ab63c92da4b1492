"""Train NeuMF in a bare loop that updates the rows it touches: `python lazy_loop.py log.parquet`.

The least that this arithmetic costs with torch alone: no framework, no validation, no log. Of the events of each
user the last two are left out. Any environment with torch, numpy, pandas and pyarrow runs it.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from timing import Meter, parser, read_indexed, report
from torch import nn
from torch.nn import functional

MF, MLP, HIDDEN, RATE, BETAS, EPS = 16, 32, (32, 16), 1e-3, (0.9, 0.999), 1e-8
_AT_ONCE = 64  # steps whose negatives are drawn together

Integers = npt.NDArray[np.int64]


class LazyTable:
    """An embedding table whose rows Adam moves only when they are touched."""

    def __init__(self, n_rows: int, width: int) -> None:
        self.weights = torch.randn(n_rows, width) * 0.01
        self.first, self.second = torch.zeros(2, n_rows, width)
        self.marks = torch.zeros(n_rows, dtype=torch.bool)
        self.places = torch.zeros(n_rows, dtype=torch.int64)

    def gather(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the vectors of int64 `indices` of any shape; the distinct rows of them will have a gradient."""
        self.marks[indices.reshape(-1)] = True
        self.rows = self.marks.nonzero().squeeze(1)
        self.marks[self.rows] = False
        self.places[self.rows] = torch.arange(len(self.rows))
        self.vectors = self.weights.index_select(0, self.rows).requires_grad_()
        return functional.embedding(self.places[indices], self.vectors)

    @torch.no_grad()
    def step(self, n: int) -> None:
        """Make the `n`-th step of Adam for the rows that were gathered."""
        gradient = self.vectors.grad
        assert gradient is not None
        first = self.first.index_select(0, self.rows).lerp_(gradient, 1 - BETAS[0])
        second = self.second.index_select(0, self.rows).mul_(BETAS[1])
        second.addcmul_(gradient, gradient, value=1 - BETAS[1])
        self.first.index_copy_(0, self.rows, first)
        self.second.index_copy_(0, self.rows, second)
        root = second.sqrt_().div_((1 - BETAS[1] ** n) ** 0.5).add_(EPS)
        moved = self.vectors.detach().addcdiv_(first, root, value=-RATE / (1 - BETAS[0] ** n))
        self.weights.index_copy_(0, self.rows, moved)


class Layers(nn.Module):
    """What NeuMF does with the vectors of a user and of its items."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Linear(MLP, HIDDEN[0]), nn.Linear(MLP, HIDDEN[0], bias=False)
        self.second = nn.Linear(*HIDDEN)
        self.output = nn.Linear(MF + HIDDEN[1], 1)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Return (batch, n) logits for (batch, d) and (batch, n, d)."""
        weight = self.output.weight[0]
        product = torch.bmm(items[..., :MF], (users[:, :MF] * weight[:MF])[:, :, None]).squeeze(-1)
        hidden = functional.relu(self.user(users[:, MF:])[:, None] + self.item(items[..., MF:]))
        perceptron: torch.Tensor = functional.relu(self.second(hidden)) @ weight[MF:]
        return product + perceptron + self.output.bias


def main() -> None:
    """Train for some seconds and print one JSON line."""
    options = parser(__doc__.partition(":")[0])
    options.add_argument("--batch-size", type=int, default=819, help="positives a step (default: %(default)s)")
    options.add_argument("--n-negatives", type=int, default=4, help="a positive (default: %(default)s)")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    log = read_indexed(arguments.log)
    n_users, n_items = int(log["user_id"].max()) + 1, int(log["item_id"].max()) + 1
    log = log[log.groupby("user_id").cumcount(ascending=False) >= 2]
    users, items = log["user_id"].to_numpy(), log["item_id"].to_numpy()
    tables = LazyTable(n_users, MF + MLP), LazyTable(n_items, MF + MLP)
    layers = Layers()
    optimizer = torch.optim.Adam(layers.parameters(), lr=RATE, fused=True)
    labels = torch.zeros(arguments.batch_size, 1 + arguments.n_negatives)
    labels[:, 0] = 1
    meter = Meter(warm_up=arguments.warm_up, seconds=arguments.seconds)
    steps = _batches(users, items, n_items, arguments.batch_size, arguments.n_negatives)
    for n, (batch_users, batch_items) in enumerate(steps, start=1):
        logits = layers(tables[0].gather(batch_users), tables[1].gather(batch_items))
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(logits, labels).backward()
        optimizer.step()
        for table in tables:
            table.step(n)
        if not meter.add(labels.numel()):
            break
    report(side="bare lazy loop", unit="samples/s", **meter.figures())


def _batches(
    users: Integers, items: Integers, n_items: int, batch_size: int, n_negatives: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield users (batch,) and items (batch, 1 + n), the positive first, whole batches alone, without end."""
    generator = np.random.default_rng(0)
    keys = np.sort(users * n_items + items)
    bits = int(np.ceil(np.log2(16 * len(keys))))
    table = np.zeros(1 << bits, np.bool_)
    table[_slots(keys, bits)] = True
    while True:
        order = generator.permutation(len(users))
        for start in range(0, len(order), batch_size * _AT_ONCE):
            rows = order[start : start + batch_size * _AT_ONCE]
            rows = rows[: len(rows) // batch_size * batch_size]
            base = np.repeat(users[rows] * n_items, n_negatives)
            drawn = generator.integers(0, n_items, len(base), dtype=np.int32).astype(np.int64)
            wrong = _held(base + drawn, keys, table, bits)
            while len(wrong):
                drawn[wrong] = generator.integers(0, n_items, len(wrong))
                wrong = wrong[_held(base[wrong] + drawn[wrong], keys, table, bits)]
            both = np.concatenate([items[rows][:, None], drawn.reshape(-1, n_negatives)], 1)
            yield from zip(
                torch.from_numpy(users[rows]).split(batch_size),
                torch.from_numpy(both).split(batch_size),
                strict=True,
            )


def _slots(keys: Integers, bits: int) -> Integers:
    return ((keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)).astype(np.int64)


def _held(wanted: Integers, keys: Integers, table: npt.NDArray[np.bool_], bits: int) -> Integers:
    """Return the places of those that are among the sorted `keys`; the hashed table clears most."""
    suspects = np.flatnonzero(table[_slots(wanted, bits)])
    found = np.minimum(np.searchsorted(keys, wanted[suspects]), len(keys) - 1)
    return np.asarray(suspects[keys[found] == wanted[suspects]])


if __name__ == "__main__":
    main()
