"""A log that the memory of a process does not hold is prepared and learned from all the same."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts on Linux alone"),
]

_LIMITED = """
import re, resource, sys
from functools import partial
from pathlib import Path

import ibis.backends.duckdb
import numpy as np
from recdl.data import selecting
from recdl.data.engines.embedded import Embedded
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.data.sources import CsvLog
from recdl.data.splits import LeaveLastOut
from recdl.models.networks.lstm import LSTM
from recdl.training.sequence import SequenceRecommender
from recdl.training.settings import TrainerSettings

def own_mb():
    return int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10

def limit(further_mb):
    size = own_mb() + further_mb << 20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))

path, root, engine_limit = sys.argv[1:]
prepare(CsvLog(name="few", path=sys.argv[1] + ".few"), Path(root), progress=False)  # what is loaded once is there
limit(450)
engine = Embedded(None if engine_limit == "none" else engine_limit)
log = prepare(CsvLog(name="log", path=path), Path(root), engine=engine, progress=False)
selecting._IN_MEMORY = 1 << 16
train = LeaveLastOut().split(log.interactions, data_fingerprint=log.fingerprint).train
assert isinstance(train.items, np.memmap)
trainer = TrainerSettings(accelerator="cpu", max_epochs=1, progress_bar=False)
network = partial(LSTM, embedding_size=4, hidden_size=4)
SequenceRecommender(network, batch_size=256, trainer=trainer).fit(train)
print("learned from", train.n_events)
"""


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("large") / "log.csv"
    n_events = 1_000_000
    users, items = generator.integers(0, 50_000, n_events), generator.integers(0, 500, n_events)
    # Quotes leave it to the engine, which would else not be needed.
    rows = [
        f'"u{user:0250}","i{item:0250}",{n}\n' for n, (user, item) in enumerate(zip(users, items, strict=True))
    ]
    heading = "user_id,item_id,timestamp\n"
    path.write_text(heading + "".join(rows))
    path.with_name("log.csv.few").write_text(heading + "".join(rows[:100]))
    return path


def run(log_file: Path, root: Path, engine_limit: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _LIMITED, str(log_file), str(root), engine_limit]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_log_larger_than_the_process_may_become_is_prepared_by_spilling_and_learned_from(
    log_file: Path, tmp_path: Path
) -> None:
    done = run(log_file, tmp_path, "100MB")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "learned from 900000"


def test_without_the_engines_limit_the_same_process_has_too_little_memory(log_file: Path, tmp_path: Path) -> None:
    done = run(log_file, tmp_path, "none")
    assert done.returncode != 0
    assert "lower engine.memory_limit, so that more is spilled" in done.stderr
