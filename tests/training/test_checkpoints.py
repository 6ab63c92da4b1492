"""Checkpoints that damage, full disks, numbers that are none and other processes do what they do to."""

import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recdl.data.interactions import Interactions
from recdl.errors import ConfigError, DataError, RecordError
from recdl.models.networks.neumf import NeuMF
from recdl.models.protocol import RankingTask
from recdl.training.checkpoints import CheckpointFolder, Position, read_checkpoint, write_checkpoint
from recdl.training.factorization import FactorizationRecommender
from recdl.training.settings import CheckpointSettings, TrainerSettings

TwoTastes = tuple[Interactions, RankingTask]
_CONTENT = {
    "module": {"weights": torch.arange(200, dtype=torch.float32), "bias": torch.zeros(3)},
    "curve": [{"epoch": 0, "loss": 0.5}],
}


def _model(folder: Path, *, size: int = 4, resume: bool = False, **settings: Any) -> FactorizationRecommender:
    trainer = TrainerSettings(
        accelerator="cpu",
        max_epochs=4,
        patience=4,
        monitor="ndcg@5",
        checkpoint=CheckpointSettings(every_steps=2, keep=2),
        progress_bar=False,
        folder=folder,
        resume=resume,
    )
    return FactorizationRecommender(
        partial(NeuMF, mf_embedding_size=size, mlp_embedding_size=4, mlp_sizes=(8, 4)),
        loss="full_softmax",
        batch_size=8,
        learning_rate=0.02,
        trainer=TrainerSettings(**{**vars(trainer), **settings}),
    )


class _StopError(Exception):
    """Ends a fit after an epoch."""


def _stop_after(epoch: int) -> Any:
    def stop(entry: Mapping[str, float]) -> None:
        if entry["epoch"] == epoch:
            raise _StopError

    return stop


def _cut_off(folder: Path, two_tastes: TwoTastes, *, after: int = 2) -> list[Path]:
    """Return the checkpoints of a fit that was cut off, the newest first."""
    with pytest.raises(_StopError):
        _model(folder, after_epoch=_stop_after(after)).fit(*two_tastes)
    return sorted((folder / "checkpoints").glob("last-*.ckpt"), reverse=True)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)


def _weights(model: FactorizationRecommender) -> list[bytes]:
    return [np.asarray(array).tobytes() for array in model.get_state().values()]


def test_no_flipped_bit_of_a_checkpoint_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    write_checkpoint(path, _CONTENT)
    whole, generator = path.read_bytes(), random.Random(0)
    expected = read_checkpoint(path)
    refused = 0
    for _ in range(400):
        place = generator.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            assert _same(read_checkpoint(path), expected), place  # where it is only padding
        except RecordError:
            refused += 1
    assert refused > 100


def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    write_checkpoint(path, _CONTENT)
    whole = path.read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RecordError, match=r"one\.ckpt (cannot be read|is damaged)"):
            read_checkpoint(path)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    torch.save({"format_version": 1, "module": partial(print, "executed")}, path)
    with pytest.raises(RecordError, match=r"one\.ckpt cannot be read"):
        read_checkpoint(path)


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format_version": 0}, tmp_path / "old.ckpt")
    with pytest.raises(RecordError, match="its format version is 0, not 1"):
        read_checkpoint(tmp_path / "old.ckpt")


def test_the_last_two_and_the_best_are_kept_and_no_others(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    best = {0: [], 1: [0], 2: [0, 1], 3: [2, 0], 4: [2, 3]}.__getitem__
    for epoch in range(4):
        folder.write_best(epoch, {}, best=best)
        folder.write_last(Position(epoch + 1, 0), {}, best=best)
        folder.write_last(Position(epoch + 1, 7), {}, best=best)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"last-00004-0000000.ckpt", "last-00004-0000007.ckpt", "best-00002.ckpt", "best-00003.ckpt"}


def test_weights_that_were_the_best_at_a_checkpoint_stay_as_long_as_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    best = {0: [], 1: [0], 2: [1]}.__getitem__
    folder.write_best(0, {}, best=best)
    folder.write_last(Position(1, 3), {}, best=best)
    folder.write_best(1, {}, best=best)
    assert sorted(path.name for path in tmp_path.glob("best-*")) == ["best-00000.ckpt", "best-00001.ckpt"]


@pytest.mark.parametrize("damage", ["flipped", "cut short", "empty"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(
    damage: str, two_tastes: TwoTastes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = _model(tmp_path / "whole").fit(*two_tastes)
    newest, before = _cut_off(tmp_path / "cut", two_tastes)
    content = bytearray(newest.read_bytes())
    for place in range(len(content) // 2, len(content) // 2 + 200):  # one bit alone might lie in padding
        content[place] ^= 8
    newest.write_bytes({"flipped": content, "cut short": content[:1000], "empty": b""}[damage])
    again = _model(tmp_path / "cut", resume=True).fit(*two_tastes)
    told = capsys.readouterr().err
    assert str(newest) in told and "looking at the one before it" in told and str(before) not in told
    assert _weights(again) == _weights(whole)


def test_where_no_checkpoint_is_whole_the_fit_begins_again(
    two_tastes: TwoTastes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = _model(tmp_path / "whole").fit(*two_tastes)
    for path in _cut_off(tmp_path / "cut", two_tastes):
        path.write_bytes(b"nothing of use")
    again = _model(tmp_path / "cut", resume=True).fit(*two_tastes)
    told = capsys.readouterr().err
    assert told.count("looking at the one before it") == 2
    assert told.splitlines()[-1].endswith("is whole: the training begins again")
    assert _weights(again) == _weights(whole)


def test_a_checkpoint_of_another_model_is_refused(two_tastes: TwoTastes, tmp_path: Path) -> None:
    _cut_off(tmp_path, two_tastes)
    message = r"is a checkpoint of another model: its \S+ is of shape \(\d+, \d+\), that of this model is of shape"
    with pytest.raises(RecordError, match=message):
        _model(tmp_path, size=8, resume=True).fit(*two_tastes)


def test_a_fit_that_is_not_gone_on_with_leaves_nothing_of_the_one_before(
    two_tastes: TwoTastes, tmp_path: Path
) -> None:
    whole = _model(tmp_path / "whole").fit(*two_tastes)
    _cut_off(tmp_path / "cut", two_tastes)
    assert _weights(_model(tmp_path / "cut").fit(*two_tastes)) == _weights(whole)


def test_a_clock_that_is_set_back_changes_nothing(
    two_tastes: TwoTastes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _model(tmp_path / "whole").fit(*two_tastes)
    newest = _cut_off(tmp_path / "cut", two_tastes)[0]
    os.utime(newest, (1, 1))  # the newest is the oldest by its time
    monkeypatch.setattr("time.time", iter(range(10**9, 0, -3600)).__next__)
    timed = CheckpointSettings(every_minutes=1e-9, keep=2)
    again = _model(tmp_path / "cut", resume=True, checkpoint=timed).fit(*two_tastes)
    assert _weights(again) == _weights(whole)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can turn into somebody who may not read")
def test_a_folder_that_may_not_be_read_is_an_error_and_no_empty_one(two_tastes: TwoTastes, tmp_path: Path) -> None:
    _cut_off(tmp_path, two_tastes)
    os.seteuid(65534)
    try:
        with pytest.raises((RecordError, PermissionError), match=r"cannot be read|Permission denied"):
            _model(tmp_path, resume=True).fit(*two_tastes)
    finally:
        os.seteuid(0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_fit_and_leaves_the_last_good_checkpoint_whole(
    two_tastes: TwoTastes, tmp_path: Path, small_disk: Path
) -> None:
    whole = _model(tmp_path / "whole").fit(*two_tastes)
    rest = small_disk / "rest"

    def fill(entry: Mapping[str, float]) -> None:
        if entry["epoch"] == 1:
            with rest.open("wb", buffering=0) as opened, suppress(OSError):
                while True:
                    opened.write(b"x" * 4096)

    with pytest.raises(RecordError, match=r"could not be written .*what is whole of it is .*last-0000"):
        _model(small_disk / "run", after_epoch=fill).fit(*two_tastes)
    folder = small_disk / "run" / "checkpoints"
    assert not [path for path in folder.iterdir() if path.suffix != ".ckpt"]
    for path in folder.iterdir():
        read_checkpoint(path)
    rest.unlink()
    assert _weights(_model(small_disk / "run", resume=True).fit(*two_tastes)) == _weights(whole)


class _GradientOfNan(torch.autograd.Function):
    """What it is given, whose gradient is no number."""

    @staticmethod
    def forward(_: Any, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return gradient * torch.nan


def test_a_gradient_that_is_no_number_stops_the_fit_at_once_and_leaves_the_last_good_checkpoint(
    two_tastes: TwoTastes, tmp_path: Path
) -> None:
    class Failing(NeuMF):
        calls = 0

        def interact(self, user_vectors: torch.Tensor, item_vectors: torch.Tensor) -> torch.Tensor:
            logits = super().interact(user_vectors, item_vectors)
            if self.training:
                Failing.calls += 1
            return _GradientOfNan.apply(logits) if self.training and Failing.calls > 7 else logits  # type: ignore[no-any-return,no-untyped-call]

    model = _model(tmp_path)
    model.network = partial(Failing, mf_embedding_size=4, mlp_embedding_size=4, mlp_sizes=(8, 4))
    message = (
        r"the gradient became nan in epoch 1: .*lower model\.learning_rate .*what is whole of it is .*last-00001"
    )
    with pytest.raises(DataError, match=message):
        model.fit(*two_tastes)
    assert Failing.calls == 8
    for path in (tmp_path / "checkpoints").iterdir():
        assert all(torch.isfinite(weights).all() for weights in read_checkpoint(path)["module"].values())


@pytest.mark.parametrize("name", ["every_minutes", "every_steps"])
def test_pauses_between_checkpoints_are_above_0(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.checkpoint\.{name} must be above 0, or null, not 0"):
        CheckpointSettings(**{name: 0})  # type: ignore[arg-type]


def test_at_least_one_epoch_is_kept() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.checkpoint\.keep must be at least 1, not 0"):
        CheckpointSettings(keep=0)
