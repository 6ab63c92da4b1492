"""The generated shop: does it do what its parameters say, and does it leave something to learn?"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recdl.data.preparation import prepare
from recdl.data.shop import ShopLog, generate_shop
from recdl.data.sources import Filters
from recdl.errors import ConfigError

SMALL: dict[str, Any] = {"n_users": 400, "n_items": 200, "n_categories": 8, "n_styles": 2, "n_days": 60}


def shop(**settings: Any) -> pd.DataFrame:
    return generate_shop(ShopLog(**(SMALL | settings))).to_pandas()


@pytest.fixture(scope="module")
def default() -> pd.DataFrame:
    return generate_shop(ShopLog()).to_pandas()


def of(frame: pd.DataFrame, behavior: str) -> pd.DataFrame:
    return frame[frame["behavior"] == behavior]


def test_the_default_shop_is_of_a_size_that_trains_in_minutes(default: pd.DataFrame) -> None:
    assert default["user_id"].nunique() == 3_000
    assert default["item_id"].nunique() == 1_500
    assert 150_000 < len(default) < 250_000
    assert (default["timestamp"].max() - default["timestamp"].min()).days == 119


def test_the_same_seed_gives_the_same_log() -> None:
    pd.testing.assert_frame_equal(shop(seed=3), shop(seed=3))


def test_another_seed_gives_another_log() -> None:
    assert not shop(seed=3).equals(shop(seed=4))


def test_the_log_does_not_depend_on_the_global_random_state() -> None:
    np.random.seed(1)  # noqa: NPY002
    one = shop()
    np.random.seed(2)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    pd.testing.assert_frame_equal(one, shop())
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_every_cart_follows_a_view_and_every_purchase_a_cart_of_that_item_in_that_session(
    default: pd.DataFrame,
) -> None:
    key = ["session_id", "item_id"]
    first = default.pivot_table(values="timestamp", index=key, columns="behavior", aggfunc="min")
    carted, bought = first[first["cart"].notna()], first[first["purchase"].notna()]
    assert (carted["view"] < carted["cart"]).all()
    assert (bought["cart"] < bought["purchase"]).all()


def test_a_session_belongs_to_one_user_and_is_over_within_hours(default: pd.DataFrame) -> None:
    sessions = default.groupby("session_id")
    assert (sessions["user_id"].min() == sessions["user_id"].max()).all()
    lengths = sessions["timestamp"].max() - sessions["timestamp"].min()
    assert lengths.max() < pd.Timedelta(hours=6)


def test_conversion_is_what_the_rates_say() -> None:
    frame = shop(n_users=3_000, cart_rate=0.2, purchase_rate=0.3, successor_rate=0.0, repeat_rate=0.0)
    views, carts, purchases = (len(of(frame, behavior)) for behavior in ("view", "cart", "purchase"))
    assert carts / views == pytest.approx(0.2, abs=0.01)
    # An item put in the cart twice is paid once, so that a few purchases fewer are seen.
    assert purchases / carts == pytest.approx(0.3, abs=0.03)


def test_conversion_of_the_default_shop_is_plausible(default: pd.DataFrame) -> None:
    views, carts, purchases = (len(of(default, behavior)) for behavior in ("view", "cart", "purchase"))
    assert 0.08 < carts / views < 0.13
    assert 0.35 < purchases / carts < 0.5


def test_no_row_is_there_twice(default: pd.DataFrame) -> None:
    assert not default.duplicated(["user_id", "item_id", "behavior", "timestamp"]).any()


def test_the_mean_session_has_as_many_views_as_stated() -> None:
    frame = shop(n_users=2_000, views_per_session=4.0)
    assert of(frame, "view").groupby("session_id").size().mean() == pytest.approx(4.0, rel=0.05)


def test_the_mean_user_has_as_many_sessions_as_stated() -> None:
    frame = shop(n_users=2_000, sessions_per_user=7.0, successor_rate=0.0, repeat_rate=0.0)
    assert frame.groupby("user_id")["session_id"].nunique().mean() == pytest.approx(7.0, rel=0.05)


def share_of_the_most_viewed(frame: pd.DataFrame) -> float:
    """Views of the most viewed tenth of each category, as a share of the category's."""
    counts = of(frame, "view").groupby(["category", "item_id"]).size()
    shares = counts.groupby("category").apply(lambda of: of.nlargest(max(len(of) // 10, 1)).sum() / of.sum())
    return float(shares.mean())


def test_popularity_in_a_category_follows_zipf() -> None:
    settings: dict[str, Any] = {"n_users": 3_000, "n_styles": 1, "successor_rate": 0.0, "repeat_rate": 0.0}
    frame = shop(**settings, popularity_exponent=1.0)
    counts = of(frame, "view").groupby(["category", "item_id"]).size()
    for category in counts.index.unique("category"):
        ranked = np.sort(counts[category].to_numpy())[::-1]
        ranks = np.arange(1, len(ranked) + 1)
        slope = np.polyfit(np.log(ranks), np.log(ranked), 1)[0]
        assert slope == pytest.approx(-1.0, abs=0.15)


def test_without_an_exponent_all_items_of_a_category_are_alike() -> None:
    settings: dict[str, Any] = {"n_users": 3_000, "successor_rate": 0.0, "repeat_rate": 0.0}
    assert share_of_the_most_viewed(shop(**settings, popularity_exponent=0.0)) < 0.15
    assert share_of_the_most_viewed(shop(**settings, popularity_exponent=1.0)) > 0.25


def overlap_of_tastes(frame: pd.DataFrame) -> float:
    """Mean overlap of a user's views over categories in the first and in the last third of the log."""
    views = of(frame, "view")
    third = (views["timestamp"].max() - views["timestamp"].min()) / 3
    early = views[views["timestamp"] < views["timestamp"].min() + third]
    late = views[views["timestamp"] > views["timestamp"].max() - third]
    shares = [part.groupby(["user_id", "category"]).size() for part in (early, late)]
    both = pd.concat([part / part.groupby("user_id").transform("sum") for part in shares], axis=1).fillna(0)
    users = set(early["user_id"]) & set(late["user_id"])
    return float(both.min(axis=1).groupby("user_id").sum().loc[list(users)].mean())


def test_tastes_drift_as_far_as_stated() -> None:
    settings: dict[str, Any] = {"sessions_per_user": 30.0, "successor_rate": 0.0, "repeat_rate": 0.0}
    still, drifting, far = (overlap_of_tastes(shop(**settings, drift=drift)) for drift in (0.0, 0.5, 1.0))
    assert still > 0.7
    assert far < drifting < still - 0.05


def test_a_user_knows_what_she_likes() -> None:
    views = of(shop(), "view")
    own = views.groupby("user_id")["category"].agg(lambda of: of.value_counts(normalize=True).iloc[0]).mean()
    all_users = views["category"].value_counts(normalize=True).iloc[0]
    assert own > 1.5 * all_users


def next_view_hits(frame: pd.DataFrame) -> tuple[float, float]:
    """Shares of the views that the view before, and popularity, predict; both learned from the first half."""
    views = of(frame, "view").sort_values(["session_id", "timestamp"])
    pairs = views.assign(before=views.groupby("session_id")["item_id"].shift()).dropna()
    known, unknown = np.array_split(np.arange(len(pairs)), 2)
    first, second = pairs.iloc[known], pairs.iloc[unknown]
    likely = first.groupby("before")["item_id"].agg(lambda of: of.value_counts().index[0])
    popular = first["item_id"].value_counts().index[0]
    return (
        float((second["before"].map(likely) == second["item_id"]).mean()),
        float((second["item_id"] == popular).mean()),
    )


def test_the_order_of_views_can_be_learned(default: pd.DataFrame) -> None:
    by_order, by_popularity = next_view_hits(default)
    assert by_order > 0.1
    assert by_order > 5 * by_popularity


def test_purchases_are_repeated_when_the_rate_says_so() -> None:
    def repeats(frame: pd.DataFrame) -> float:
        return float(of(frame, "purchase").duplicated(["user_id", "item_id"]).mean())

    assert repeats(shop(repeat_rate=0.9)) > 3 * repeats(shop(repeat_rate=0.0))


def test_nothing_is_bought_where_nothing_is_put_in_a_cart() -> None:
    assert set(shop(cart_rate=0.0)["behavior"]) == {"view"}


def test_the_smallest_shop_is_a_log() -> None:
    smallest = dict.fromkeys(SMALL, 1)
    frame = shop(**smallest, sessions_per_user=1.0, views_per_session=1.0)
    assert frame["behavior"].tolist()[0] == "view"
    assert frame["item_id"].unique().tolist() == ["i0"]


def test_a_prepared_shop_holds_the_generated_events(tmp_path: Path) -> None:
    source = ShopLog(**SMALL)
    frame = generate_shop(source).to_pandas()
    log = prepare(source, tmp_path, progress=False)
    assert log.interactions.behavior_names == ("view", "cart", "purchase")
    expected = frame["behavior"].value_counts().to_dict()
    assert log.manifest["counts"]["events_by_behavior"] == expected
    assert sum(log.manifest["counts"]["dropped"].values()) == 0
    assert log.users.to_arrow().to_pylist() == sorted(frame["user_id"].unique())
    assert int(log.interactions.timestamps.sum()) == int(frame["timestamp"].astype("int64").sum())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"n_users": 0}, "data.n_users: 0 is below 1"),
        ({"n_days": -1}, "data.n_days: -1 is below 1"),
        ({"seed": -1}, "data.seed: -1 is negative"),
        ({"start": "1.1.2025"}, "data.start: '1.1.2025' is no ISO date"),
        ({"drift": 1.5}, r"data.drift: 1.5 lies outside \[0, 1\]"),
        ({"cart_rate": -0.1}, r"data.cart_rate: -0.1 lies outside"),
        ({"style_loyalty": float("nan")}, "data.style_loyalty: nan lies outside"),
        ({"views_per_session": 0.5}, r"data.views_per_session: 0.5 lies outside \[1, 1000\)"),
        ({"popularity_exponent": -1.0}, r"data.popularity_exponent: -1.0 lies outside \[0"),
        ({"taste_concentration": 0.0}, "data.taste_concentration: 0.0 is not above 0"),
        ({"n_items": 15}, "data.n_items: 15 items do not fill 8 categories of 2 styles"),
        ({"filters": Filters(behaviors=("buy",))}, "the log has no 'buy'; it has view, cart, purchase"),
    ],
)
def test_a_shop_that_cannot_be_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ShopLog(**(SMALL | settings))
