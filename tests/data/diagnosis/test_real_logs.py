"""What is known to be wrong with real logs is found in them, and what is right is not complained of."""

import os
from pathlib import Path

import pytest

from recdl.config import build, compose
from recdl.data.diagnosis.diagnose import Diagnosis, diagnose
from recdl.data.preparation import prepare
from tests.data.test_real_logs import PLACES

NOW = 1_700_000_000_000_000


def looked_at(tmp_path: Path, name: str, file: str, *overrides: str) -> Diagnosis:
    root = next((place for place in PLACES if (place / file).is_file()), None)
    if root is None:
        pytest.skip(f"{file} is neither in RECDL_DATA nor in ../shared/data")
    config = compose("inspect", [f"data={name}", f"data_root={os.fspath(root)}", *overrides])
    log = prepare(build(config["data"], group="data"), tmp_path, progress=False)
    splitter = build(config["split"], group="split")
    return diagnose(log, splitter, order_events=300_000, seed=0, now=NOW)


def keys(diagnosis: Diagnosis) -> set[str]:
    return {finding.key for finding in diagnosis.findings}


def test_the_events_of_taobao_outside_its_nine_days_and_its_cut_line_are_found(tmp_path: Path) -> None:
    overrides = ("data.start=null", "data.end=null")
    diagnosis = looked_at(tmp_path, "taobao", "taobao/UserBehavior.csv", *overrides)
    findings = {finding.key: finding for finding in diagnosis.findings}
    assert findings["outliers"].title == "35 events lie far outside the period of the others"
    assert "data.start=2017-11-25 data.end=2017-12-04" in findings["outliers"].advice
    assert findings["dropped_bad_timestamp"].evidence == "1 of 84,476 rows"
    assert diagnosis.rhythm.suggested_gap == 1_800
    assert {"bots", "ties", "no_order", "time_unit"}.isdisjoint(findings)


def test_taobao_within_its_nine_days_has_no_outliers(tmp_path: Path) -> None:
    assert "outliers" not in keys(looked_at(tmp_path, "taobao", "taobao/UserBehavior.csv"))


def test_the_days_ties_and_duplicates_of_tmall_are_found(tmp_path: Path) -> None:
    diagnosis = looked_at(tmp_path, "tmall", "tmall/t_alibaba_data.csv")
    assert {"day_resolution", "ties", "dropped_duplicate"} <= keys(diagnosis)
    assert diagnosis.timeline.resolution == "day"
    assert diagnosis.shape.dropped["duplicate"] == 97_850
    assert diagnosis.order.tells
