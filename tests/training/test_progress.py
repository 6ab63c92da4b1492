import io
import logging
import re
from functools import partial

import pytest

from recdl.commands.recording import plain_lines
from recdl.data.interactions import Interactions
from recdl.models.networks.neumf import NeuMF
from recdl.models.protocol import RankingTask
from recdl.training import progress
from recdl.training.factorization import FactorizationRecommender
from recdl.training.settings import TrainerSettings

TwoTastes = tuple[Interactions, RankingTask]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _fit(two_tastes: TwoTastes, *, progress_bar: bool) -> FactorizationRecommender:
    settings = TrainerSettings(accelerator="cpu", max_epochs=3, progress_bar=progress_bar)
    network = partial(NeuMF, mf_embedding_size=4)
    return FactorizationRecommender(network, loss="full_softmax", batch_size=8, trainer=settings).fit(*two_tastes)


def test_on_a_terminal_a_line_shows_loss_metric_speed_and_the_time_left(
    two_tastes: TwoTastes, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    model = _fit(two_tastes, progress_bar=True)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    best = max(entry["validation/ndcg@10"] for entry in model.learning_curve_[:2])
    learned = rf"epoch 2 of at most 3 .*loss [\d.]+  ndcg@10 {best:.4f}"
    going = r"  [\d,]+ events/s  0:0\d left, at most 0:0\d in all"
    assert re.search(learned + going, shown)
    assert f"epoch 2: loss {model.learning_curve_[2]['loss']:.4f}, validation/ndcg@10" in shown


def test_without_a_bar_the_lines_are_logged_and_nothing_is_written(
    two_tastes: TwoTastes, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="recdl.training"):
        model = _fit(two_tastes, progress_bar=False)
    assert capsys.readouterr() == ("", "")
    first, *lines = caplog.messages
    assert first == "at most 3 epochs, fewer when 20 in a row do not raise validation/ndcg@10"
    starts = [f"epoch {entry['epoch']}: loss {entry['loss']:.4f}, " for entry in model.learning_curve_]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts


def test_plain_lines_have_the_date_and_the_time(two_tastes: TwoTastes, capsys: pytest.CaptureFixture[str]) -> None:
    with plain_lines():
        _fit(two_tastes, progress_bar=False)
    _fit(two_tastes, progress_bar=False)  # and afterwards there are none
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (at most|epoch) ", line) for line in lines)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0:00"), (75, "1:15"), (3600, "1:00:00"), (86399, "23:59:59")]
)
def test_time_is_said_as_a_clock_does(seconds: float, said: str) -> None:
    assert progress._clock(seconds) == said
