"""The memory that the embedded engine may take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recdl.data.engines import embedded
from recdl.data.engines.embedded import Embedded
from recdl.data.preparation import prepare
from recdl.data.sources import CsvLog
from recdl.errors import ConfigError, DataError


def csv_log(folder: Path, *, n_events: int, width: int) -> CsvLog:
    """A log of users with long ids, none of whom comes twice."""
    generator = np.random.default_rng(0)
    users, items = generator.permutation(n_events), generator.integers(0, 1000, n_events)
    rows = "".join(f"u{user:0{width}},{item},{user}\n" for user, item in zip(users, items, strict=True))
    (folder / "log.csv").write_text("user_id,item_id,timestamp\n" + rows)
    return CsvLog(name="log", path=str(folder / "log.csv"))


def test_what_does_not_fit_is_spilled_changes_nothing_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = csv_log(tmp_path, n_events=400_000, width=60)
    ample = prepare(log, tmp_path / "ample", progress=False)
    root, spilled, keep = tmp_path / "limited", list[int](), embedded._Tables.keep

    def watched(tables: Any, name: str, table: Any) -> Any:
        kept = keep(tables, name, table)
        spilled.append(sum(path.stat().st_size for path in root.rglob("spill/*")))
        return kept

    monkeypatch.setattr(embedded._Tables, "keep", watched)
    limited = prepare(log, root, engine=Embedded(memory_limit="60MB"), progress=False)
    assert max(spilled) > 10_000_000
    assert limited.fingerprint == ample.fingerprint
    assert sorted(path.name for path in root.rglob("*")) == sorted(
        path.name for path in (tmp_path / "ample").rglob("*")
    )


def test_an_engine_that_has_too_little_says_which_setting_gives_it_more(tmp_path: Path) -> None:
    log = csv_log(tmp_path, n_events=20_000, width=200)
    with pytest.raises(
        DataError, match=r"the engine's memory, 1MB, is too little: .*; raise engine\.memory_limit"
    ):
        prepare(log, tmp_path / "prepared", engine=Embedded(memory_limit="1MB"), progress=False)
    assert list((tmp_path / "prepared").iterdir()) == []


@pytest.mark.parametrize("limit", ["much", "1", "-1GB", "1 GB or so"])
def test_a_limit_is_an_amount(limit: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.memory_limit: .* is no amount such as 1GB"):
        Embedded(memory_limit=limit)
