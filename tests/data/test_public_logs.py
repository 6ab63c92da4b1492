"""The configured public logs, read from miniatures in the form in which each is published."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recdl.config import build, compose
from recdl.data.preparation import prepare
from recdl.data.prepared import PreparedLog
from recdl.errors import DataError
from tests.data.files import events

GENRES = "|".join(["0"] * 18 + ["1"])


def zipped(path: Path, **members: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{path.stem}/{name.replace('__', '.')}", content)


def written(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def read(name: str, root: Path, *overrides: str) -> PreparedLog:
    config = compose("prepare", [f"data={name}", f"data_root={root}", *overrides])
    return prepare(build(config["data"], group="data"), root / "prepared", progress=False)


def told(log: PreparedLog) -> list[tuple[str, str, str]]:
    return [(user, item, behavior) for user, item, behavior, _ in events(log)]


def rows(table: Any) -> list[dict[str, Any]]:
    assert table is not None
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_movielens_100k(tmp_path: Path) -> None:
    zipped(
        tmp_path / "movielens" / "ml-100k.zip",
        u__data="196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
        u__user="186|39|F|executive|00000\n196|49|M|writer|55105\n",
        u__item=f'242|Kolya (1996)|24-Jan-1997||x|{GENRES}\n302|Café "X"|||x|{GENRES}\n'.encode("latin-1"),
    )
    log = read("movielens_100k", tmp_path)
    assert told(log) == [("186", "302", "rating"), ("196", "242", "rating")]
    assert [row["age"] for row in rows(log.user_table)] == [39.0, 49.0]
    assert [(row["title"], row["western"]) for row in rows(log.item_table)] == [
        ("Kolya (1996)", "1"),
        ('Café "X"', "1"),
    ]


def test_movielens_1m(tmp_path: Path) -> None:
    zipped(
        tmp_path / "movielens" / "ml-1m.zip",
        ratings__dat="1::1193::5::978300760\n1::661::3::978302109\n",
        users__dat="1::F::1::10::48067\n",
        movies__dat='661::James: Peach (1996)::Animation|Musical\n1193::Cuckoo\'s "Nest" é::Drama\n'.encode(
            "latin-1"
        ),
    )
    log = read("movielens_1m", tmp_path)
    assert told(log) == [("1", "1193", "rating"), ("1", "661", "rating")]
    assert [row["title"] for row in rows(log.item_table)] == ['Cuckoo\'s "Nest" é', "James: Peach (1996)"]
    assert rows(log.user_table)[0]["zip_code"] == "48067"


@pytest.mark.parametrize("size", ["20m", "25m"])
def test_the_larger_movielens(size: str, tmp_path: Path) -> None:
    zipped(
        tmp_path / "movielens" / f"ml-{size}.zip",
        ratings__csv="userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n",
        movies__csv='movieId,title,genres\n2,"Jumanji, or (1995)",Adventure|Children\n',
    )
    log = read(f"movielens_{size}", tmp_path)
    assert told(log) == [("1", "2", "rating")]
    assert rows(log.item_table) == [{"title": "Jumanji, or (1995)", "genres": "Adventure|Children"}]


def test_ratings_may_tell_behaviors_apart(tmp_path: Path) -> None:
    ratings = "userId,movieId,rating,timestamp\n1,2,3.5,1\n1,3,5.0,2\n"
    zipped(tmp_path / "movielens" / "ml-20m.zip", ratings__csv=ratings, movies__csv="movieId,title\n2,x\n")
    overrides = ["data.columns.behavior=rating", "data.behaviors={rated:['3.5'],liked:['5.0']}"]
    assert told(read("movielens_20m", tmp_path, *overrides)) == [("1", "2", "rated"), ("1", "3", "liked")]


def test_rsc15_has_clicks_and_purchases_in_two_files(tmp_path: Path) -> None:
    written(tmp_path / "rsc15" / "yoochoose-clicks.dat", "420374,2014-04-06T18:44:58.314Z,214537888,0\n")
    written(tmp_path / "rsc15" / "yoochoose-buys.dat", "420374,2014-04-06T18:44:58.325Z,214537850,10471,1\n")
    log = read("rsc15", tmp_path)
    assert told(log) == [("420374", "214537888", "view"), ("420374", "214537850", "purchase")]


def test_diginetica_has_views_and_purchases_in_two_files(tmp_path: Path) -> None:
    folder = tmp_path / "diginetica"
    written(
        folder / "train-item-views.csv",
        "sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n",
    )
    written(
        folder / "train-purchases.csv",
        "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n1;NA;600000;2016-05-09;16421;25911\n",
    )
    written(folder / "product-categories.csv", "itemId;categoryId\n81766;1096\n")
    log = read("diginetica", tmp_path)
    assert told(log) == [("1", "81766", "view"), ("1", "25911", "purchase")]
    assert rows(log.item_table) == [{"categoryId": None}, {"categoryId": "1096"}]


def test_retailrocket(tmp_path: Path) -> None:
    text = (
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
        "1433221332118,257597,addtocart,355908,\n1433222276276,257597,transaction,356475,4000\n"
    )
    written(tmp_path / "retailrocket" / "events.csv", text)
    assert told(read("retailrocket", tmp_path)) == [
        ("257597", "355908", "view"),
        ("257597", "355908", "cart"),
        ("257597", "356475", "purchase"),
    ]


def test_rees46_has_a_file_a_month_packed_or_not(tmp_path: Path) -> None:
    head = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
    written(
        tmp_path / "rees46" / "2019-Oct.csv",
        head + "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde\n",
    )
    written(
        tmp_path / "rees46" / "2019-Nov.csv.gz",
        head + "2019-11-01 00:00:00 UTC,purchase,44600062,2103807459595387724,,,35.79,541312140,72d76fdf\n",
    )
    log = read("rees46", tmp_path)
    assert told(log) == [("541312140", "44600062", "view"), ("541312140", "44600062", "purchase")]
    assert log.manifest["counts"]["first"] == "2019-10-01T00:00:00Z"


def test_amazon_reviews_are_chosen_by_their_category(tmp_path: Path) -> None:
    review = '{"rating":5.0,"title":"Nice","images":[{"a":1}],"asin":"B1","parent_asin":"B01","user_id":"AG","timestamp":1588687728923}\n'  # noqa: E501
    written(tmp_path / "amazon_2023" / "Video_Games.jsonl.gz", review)
    written(
        tmp_path / "amazon_2023" / "meta_Video_Games.jsonl.gz",
        '{"main_category":"Games","title":"A game","price":9.5,"store":null,"parent_asin":"B01"}\n',
    )
    log = read("amazon_reviews", tmp_path, "data.name=Video_Games")
    assert told(log) == [("AG", "B01", "review")]
    assert rows(log.item_table) == [{"title": "A game", "main_category": "Games", "store": None, "price": "9.5"}]
    assert log.folder.name.startswith("Video_Games-")


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("rsc15", "https://www.kaggle.com/datasets/chadgostopp"),
        ("diginetica", "https://competitions.codalab.org"),
        ("retailrocket", "https://www.kaggle.com/datasets/retailrocket"),
        ("rees46", "https://rees46.com"),
        ("taobao", "https://tianchi.aliyun.com"),
        ("online_retail", "https://archive.ics.uci.edu"),
    ],
)
def test_a_log_that_must_be_fetched_by_hand_says_where_from(name: str, origin: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"there is no file .*{tmp_path}.*it can be had from {origin}"):
        read(name, tmp_path)
