import copy

import torch
from torch import nn

from recdl.training.modules import clip_gradient
from recdl.training.optimizers import RowAdamW, RowTable

N, D = 6, 3


def _table() -> nn.Parameter:
    return nn.Parameter(torch.randn(N, D, generator=torch.Generator().manual_seed(0)))


def _step(rows: RowTable, optimizer: RowAdamW, indices: list[int], aim: float) -> None:
    chosen = torch.tensor(indices)
    rows.touch(chosen)
    (rows[chosen] - aim).square().sum().backward()
    rows.put_gradient()
    optimizer.step()


def test_it_is_adamw_where_every_step_touches_every_row() -> None:
    ours, theirs = _table(), _table()
    optimizer = RowAdamW([ours], lr=0.1, keep=1 - 0.1 * 0.3)
    dense = torch.optim.AdamW([theirs], lr=0.1, weight_decay=0.3)
    rows = RowTable(ours)
    for aim in (1.0, 2.0, -1.0, 0.5):
        _step(rows, optimizer, list(range(N)), aim)
        dense.zero_grad()
        (theirs - aim).square().sum().backward()
        dense.step()
    torch.testing.assert_close(ours, theirs)


def test_a_row_that_is_looked_up_twice_gets_the_gradient_of_both() -> None:
    ours, theirs = _table(), _table()
    rows = RowTable(ours)
    indices = torch.tensor([[4, 1], [4, 4]])
    rows.touch(indices)
    rows[indices].pow(2).sum().backward()
    rows.put_gradient()
    nn.functional.embedding(indices, theirs).pow(2).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.to_dense(), theirs.grad)


def test_rows_that_are_not_touched_stay_as_they_are() -> None:
    table = _table()
    before = table.detach().clone()
    _step(RowTable(table), RowAdamW([table], lr=0.1), [1, 4], 1.0)
    changed = (table.detach() != before).any(1)
    assert changed.tolist() == [False, True, False, False, True, False]


def test_missed_decay_is_made_up_for() -> None:
    table = _table()
    before = table.detach().clone()
    optimizer, rows = RowAdamW([table], lr=1e-12, keep=0.9), RowTable(table)
    _step(rows, optimizer, [0], 1.0)
    _step(rows, optimizer, [1], 1.0)
    torch.testing.assert_close(table.detach(), before * torch.tensor([0.9, 0.81, 1, 1, 1, 1])[:, None])
    optimizer.catch_up()
    optimizer.catch_up()
    torch.testing.assert_close(table.detach(), before * 0.81)


def test_its_state_survives_being_stored() -> None:
    table, other = _table(), _table()
    optimizer, rows = RowAdamW([table], lr=0.1, keep=0.9), RowTable(table)
    _step(rows, optimizer, [0, 2], 1.0)
    with torch.no_grad():
        other.copy_(table)
    restored = RowAdamW([other], lr=0.1, keep=0.9)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _step(rows, optimizer, [2, 3], 1.0)
    _step(RowTable(other), restored, [2, 3], 1.0)
    assert torch.equal(table, other)


def test_clipping_bounds_the_joint_norm_of_rows_and_layers() -> None:
    table, layer = _table(), nn.Parameter(torch.zeros(2))
    rows = RowTable(table)
    rows.touch(torch.tensor([1, 2]))
    (rows[torch.tensor([1, 2])].sum() * 3 + layer.sum() * 4).backward()
    rows.put_gradient()
    # norms: 3 sqrt(6) and 4 sqrt(2), jointly sqrt(54 + 32)
    clip_gradient([table, layer], 2.0)
    assert table.grad is not None and layer.grad is not None
    total = torch.cat([table.grad._values().ravel(), layer.grad]).norm()
    torch.testing.assert_close(total, torch.tensor(2.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(layer.grad, torch.full((2,), 4 * 2 / 86**0.5), rtol=1e-4, atol=0)
