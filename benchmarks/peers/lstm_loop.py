"""Train an LSTM with sampled softmax in a bare loop: `python lstm_loop.py log.parquet`.

The least that this arithmetic costs with torch alone: no framework, no validation, no log. Inputs are items and
the time since the event before; the output is the sum of what the cell says, projected, and the last item's
embedding; the item embeddings are the output weights too. Of the events of each user the last two are left out.
Any environment with torch, numpy, pandas and pyarrow runs it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from timing import Meter, parser, read_indexed, report
from torch import nn
from torch.nn import functional

_BATCHES_PER_POOL = 64  # within which windows are put into the order of their lengths
_CHUNK = 256  # rows of logits that are held at once
_N_GAPS = 33

Integers = npt.NDArray[np.int64]


class Windows(NamedTuple):
    """Windows of histories in flat arrays, each preceded by one event or the start of its history."""

    items: Integers
    gaps: Integers
    starts: Integers
    lengths: Integers
    first: npt.NDArray[np.bool_]


class SampledSoftmax(torch.autograd.Function):
    """Sampled softmax with shared negatives and logQ correction; logits exist a chunk at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        outputs: torch.Tensor,
        targets: torch.Tensor,
        negatives: torch.Tensor,
        rows: torch.Tensor,
        biases: torch.Tensor,
        log_counts: torch.Tensor,
    ) -> torch.Tensor:
        """Return the mean loss; rows (n + m, d) and biases (n + m,) are of the targets, then of the negatives."""
        n = len(targets)
        ours, others, shift = rows[:n], rows[n:], biases[n:] - log_counts
        positive = (outputs * ours).sum(1) + biases[:n]
        output_gradient, row_gradient = torch.empty_like(outputs), torch.zeros_like(rows)
        bias_gradient, normalizers = torch.zeros_like(biases), torch.empty_like(positive)
        held, draws = _drawn(targets, negatives)
        bounds = torch.searchsorted(held, torch.arange(0, n + _CHUNK, _CHUNK)).tolist()
        for place, start in enumerate(range(0, n, _CHUNK)):
            part, own = slice(start, start + _CHUNK), slice(*bounds[place : place + 2])
            logits = torch.addmm(shift, outputs[part], others.T)
            logits[held[own] - start, draws[own]] = -torch.inf
            peaks = torch.maximum(logits.amax(1), positive[part])
            weights = logits.sub_(peaks[:, None]).exp_()
            sums = weights.sum(1) + (positive[part] - peaks).exp()
            normalizers[part] = sums.log() + peaks
            scale = 1 / (n * sums[:, None])  # in the small factors of the products, not in the large one
            output_gradient[part] = (weights @ others) * scale
            row_gradient[n:].addmm_(weights.T, outputs[part] * scale)
            bias_gradient[n:] += weights.T @ scale[:, 0]
        errors = ((positive - normalizers).exp() - 1) / n
        output_gradient.addcmul_(errors[:, None], ours)
        torch.mul(errors[:, None], outputs, out=row_gradient[:n])
        bias_gradient[:n] = errors
        ctx.save_for_backward(output_gradient, row_gradient, bias_gradient)
        return (normalizers - positive).mean()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale what was computed with the loss."""
        outputs, rows, biases = ctx.saved_tensors
        return outputs * gradients[0], None, None, rows * gradients[0], biases * gradients[0], None


class Network(nn.Module):
    """An LSTM over items and gaps."""

    def __init__(self, n_items: int, size: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_items + 2, size, padding_idx=n_items)
        nn.init.normal_(self.items.weight, std=size**-0.5)
        self.gaps = nn.Embedding(_N_GAPS, size, padding_idx=0)
        self.cell = nn.LSTM(size, size, batch_first=True)
        self.projection = nn.Linear(size, size)
        self.bias = nn.Parameter(torch.zeros(n_items))

    def forward(self, items: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """Return (batch, length, size) outputs."""
        vectors = self.items(items)
        states, _ = self.cell(vectors + self.gaps(gaps))
        outputs: torch.Tensor = self.projection(states) + vectors
        return outputs


def main() -> None:
    """Train for some seconds and print one JSON line."""
    options = parser(__doc__.partition(":")[0])
    options.add_argument("--hidden-size", type=int, default=100, help="(default: %(default)s)")
    options.add_argument("--max-length", type=int, default=50, help="of a window (default: %(default)s)")
    options.add_argument("--batch-size", type=int, default=128, help="windows a step (default: %(default)s)")
    options.add_argument("--n-negatives", type=int, default=2048, help="(default: %(default)s)")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    log = read_indexed(arguments.log)
    n_items = int(log["item_id"].max()) + 1
    log = log[log.groupby("user_id").cumcount(ascending=False) >= 2]
    windows = _windows(
        *(log[name].to_numpy() for name in ("user_id", "item_id", "timestamp")), arguments.max_length
    )
    popularity = np.bincount(windows.items, minlength=n_items) ** 0.75
    cumulative = np.cumsum(popularity / popularity.sum())
    log_counts = np.log(arguments.n_negatives * popularity / popularity.sum()).astype(np.float32)
    generator, network = np.random.default_rng(0), Network(n_items, arguments.hidden_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    meter = Meter(warm_up=arguments.warm_up, seconds=arguments.seconds)
    for items, gaps, mask, targets in _batches(windows, n_items, arguments.batch_size):
        drawn = np.searchsorted(cumulative, generator.random(arguments.n_negatives) * cumulative[-1], "right")
        negatives, both = torch.from_numpy(drawn), torch.cat([targets, torch.from_numpy(drawn)])
        outputs = network(items, gaps).flatten(0, 1).index_select(0, mask.flatten().nonzero()[:, 0])
        rows, biases = (
            functional.embedding(both, network.items.weight),
            functional.embedding(both, network.bias[:, None]),
        )
        loss = SampledSoftmax.apply(  # type: ignore[no-untyped-call]
            outputs, targets, negatives, rows, biases[:, 0], torch.from_numpy(log_counts[drawn])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not meter.add(len(targets)):
            break
    report(side="bare LSTM loop", unit="targets/s", **meter.figures())


def _drawn(targets: torch.Tensor, negatives: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where a target is among the negatives: its row, rising, and the draw."""
    ordered, order = negatives.sort()
    first = torch.searchsorted(ordered, targets)
    counts = torch.searchsorted(ordered, targets, right=True) - first
    rows = torch.repeat_interleave(torch.arange(len(targets)), counts)
    return rows, order[first[rows] + torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]]


def _windows(users: Integers, items: Integers, times: Integers, max_length: int) -> Windows:
    """Cut each user's events into windows of at most `max_length` that are predicted."""
    firsts = np.flatnonzero(np.append(True, users[1:] != users[:-1]))
    counts = np.diff(np.append(firsts, len(users)))
    parts = -(-counts // max_length)
    nth = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    gaps = np.frexp(np.diff(times, prepend=0) + 1.0)[1].astype(np.int64).clip(0, _N_GAPS - 1)
    gaps[firsts] = 0
    lengths = np.minimum(np.repeat(counts, parts) - nth * max_length, max_length)
    return Windows(items, gaps, np.repeat(firsts, parts) + nth * max_length, lengths, nth == 0)


def _batches(
    windows: Windows, n_items: int, batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield items and gaps (batch, length), what is no padding, and the targets there, without end."""
    generator = np.random.default_rng(0)
    pool = batch_size * _BATCHES_PER_POOL
    while True:
        order = generator.permutation(len(windows.starts))
        batches = []
        for rows in np.split(order, range(pool, len(order), pool)):
            rows = rows[np.argsort(windows.lengths[rows], kind="stable")]
            batches += np.split(rows, range(batch_size, len(rows), batch_size))
        for place in generator.permutation(len(batches)):
            rows = batches[place]
            columns = np.arange(windows.lengths[rows].max())
            mask = columns < windows.lengths[rows, None]
            places = np.minimum(windows.starts[rows, None] + columns, len(windows.items) - 1)
            items = np.where(mask, windows.items[places - 1], n_items)
            gaps = np.where(mask, windows.gaps[places - 1], 0)
            begins = windows.first[rows]
            items[begins, 0], gaps[begins, 0] = n_items + 1, 0
            targets = windows.items[places][mask]
            yield tuple(torch.from_numpy(array) for array in (items, gaps, mask, targets))  # type: ignore[misc]


if __name__ == "__main__":
    main()
