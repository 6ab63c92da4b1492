"""Generate the logs that all sides are measured on: `python benchmarks/logs.py`.

A log is a Parquet file of columns `user_id`, `item_id` (int64) and `timestamp` (int64, seconds since 1970), in the
order of time. Items are popular by Zipf's law, each user likes two of twenty genres, and no user meets an item
twice. A log of one size is the same on every machine with the same numpy.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

_N_GENRES = 20
_FAVOURITE_SHARE = 0.6  # of a user's events are within the two favourite genres
_ZIPF_EXPONENT = 0.9
_START = 1_500_000_000
_DAY = 86_400

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Size:
    """What a generated log holds.

    Attributes:
        n_users: Users, each with at least `min_user_events` events.
        n_items: Items that may occur.
        n_events: Events, exactly.
        min_user_events: Events of the least active users.
    """

    n_users: int
    n_items: int
    n_events: int
    min_user_events: int


SIZES = {
    "S": Size(6_040, 3_706, 1_000_000, 20),
    "L": Size(200_000, 50_000, 10_000_000, 3),
    "L1": Size(20_000, 50_000, 1_000_000, 3),  # as L, but for the number of users
    "L2": Size(40_000, 50_000, 2_000_000, 3),
    "L5": Size(100_000, 50_000, 5_000_000, 3),
    "L20": Size(400_000, 50_000, 20_000_000, 3),
    "tiny": Size(300, 2_500, 12_000, 20),  # to try the programs out; its figures mean nothing
}
"""The logs by name."""


def find_log(name: str, folder: Path) -> Path:
    """Return the Parquet file of a generated log, made when it is missing, or of the user's own.

    Args:
        name: A key of `SIZES`, or the path of a Parquet file with the three columns.
        folder: Where generated logs are kept.

    Raises:
        SystemExit: If `name` is neither.
    """
    if name not in SIZES:
        if not Path(name).is_file():
            raise SystemExit(f"error: --log {name} is neither one of {', '.join(SIZES)} nor a Parquet file")
        return Path(name).resolve()
    path = folder.resolve() / "logs" / f"{name}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pq.write_table(generate(SIZES[name]), partial)
        partial.replace(path)
    return path


def generate(size: Size, *, seed: int = 0) -> pa.Table:
    """Generate a log.

    Args:
        size: How large.
        seed: Of everything random in it.
    """
    generator = np.random.default_rng(seed)
    quotas = _quotas(size, generator)
    favourites = generator.integers(0, _N_GENRES, (size.n_users, 2))
    keys = _distinct_pairs(size, quotas, favourites, generator)
    users, ranks = keys // size.n_items, keys % size.n_items
    first_days = generator.integers(0, 300 * _DAY, size.n_users)
    times = _START + first_days[users] + generator.integers(0, 30 * _DAY, size.n_events)
    # Raw ids tell nothing of popularity or activity, as in a shop.
    item_ids = 100_000 + generator.permutation(size.n_items)[ranks]
    user_ids = 1_000_000 + generator.permutation(size.n_users)[users]
    order = np.lexsort((item_ids, user_ids, times))
    columns = {"user_id": user_ids, "item_id": item_ids, "timestamp": times}
    return pa.table({name: values[order] for name, values in columns.items()})


def _quotas(size: Size, generator: np.random.Generator) -> Integers:
    """Return (n_users,) events a user: log-normal, between the least and a quarter of the catalogue."""
    most = max(size.n_items // 4, size.n_events // size.n_users)
    activity = generator.lognormal(0.0, 1.0, size.n_users)
    quotas = np.full(size.n_users, size.min_user_events)
    while (left := size.n_events - quotas.sum()) > 0:
        open_share = np.where(quotas < most, activity, 0.0)
        quotas = np.minimum(quotas + generator.multinomial(left, open_share / open_share.sum()), most)
    return quotas


def _distinct_pairs(
    size: Size, quotas: Integers, favourites: Integers, generator: np.random.Generator
) -> Integers:
    """Return (n_events,) rising, distinct `user * n_items + popularity rank`, drawn until each quota is met."""
    keys = np.empty(0, np.int64)
    missing = quotas
    while missing.any():
        users = np.repeat(np.arange(size.n_users), missing)
        drawn = np.unique(users * size.n_items + _ranks(size, favourites[users], generator))
        if len(keys):
            places = np.minimum(np.searchsorted(keys, drawn), len(keys) - 1)
            drawn = drawn[keys[places] != drawn]
        keys = np.sort(np.concatenate([keys, drawn]), kind="stable")  # two sorted runs: a merge
        missing = quotas - np.bincount(keys // size.n_items, minlength=size.n_users)
    return keys


def _ranks(size: Size, favourites: Integers, generator: np.random.Generator) -> Integers:
    """Draw an item for each row of `favourites` (n, 2); items are named by popularity, from 0."""
    n = len(favourites)
    anywhere = np.searchsorted(_zipf(size.n_items), generator.random(n))
    genre = favourites[np.arange(n), generator.integers(0, 2, n)]
    within = np.searchsorted(_zipf(size.n_items // _N_GENRES), generator.random(n)) * _N_GENRES + genre
    return np.where(generator.random(n) < _FAVOURITE_SHARE, within, anywhere)


def _zipf(n: int) -> npt.NDArray[np.float64]:
    cumulative = np.cumsum(np.arange(1, n + 1) ** -_ZIPF_EXPONENT)
    return cumulative / cumulative[-1]


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add `--log` and `--folder`, which all programs here share."""
    parser.add_argument(
        "--log",
        default="S",
        metavar="NAME",
        help="S, L, tiny, or a Parquet file with columns user_id, item_id, timestamp (default: %(default)s)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "recdl-benchmarks",
        help="where logs, prepared logs and runs are kept (default: %(default)s)",
    )


def main() -> None:
    """Generate a log, unless it is there, and print where it lies."""
    parser = argparse.ArgumentParser(description="Generate a log to measure on, unless it is there.")
    add_log_options(parser)
    arguments = parser.parse_args()
    print(find_log(arguments.log, arguments.folder))


if __name__ == "__main__":
    main()
