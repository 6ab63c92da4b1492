"""A later piece of a log as a source: read as the log was, from other files."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from recdl.data.inputs import AttributeTable, Piece
from recdl.data.prepared import PreparedLog
from recdl.data.privacy import Privacy
from recdl.data.shop import BEHAVIORS
from recdl.data.sources import Columns, CsvLog, FileLog, JsonLog, ParquetLog
from recdl.errors import ConfigError, RecordError

_FILES: dict[str, type[FileLog]] = {"CsvLog": CsvLog, "JsonLog": JsonLog, "ParquetLog": ParquetLog}
_IN_NO_FILE = ("SnapshotLog", "ShopLog")
"""Sources whose rows lay in no file; a piece in one is read with the same settings."""
_ENDINGS = {".csv": "CsvLog", ".tsv": "CsvLog", ".txt": "CsvLog", ".jsonl": "JsonLog", ".json": "JsonLog"}


def later_piece(log: PreparedLog, piece: Piece) -> FileLog:
    """Return the source that reads a piece as the log was read, by the settings in its manifest.

    Raises:
        ConfigError: If a setting cannot be, or the log is of a kind whose settings say nothing of files.
        RecordError: If the manifest is damaged.
    """
    kind = _kind(log, piece)
    try:
        settings = dict(log.manifest["settings"])
        source = _shop_piece(kind, log, piece) if log.manifest["source"] == "ShopLog" else None
        if source is None:
            source = _read_so(kind, settings, log, piece)
    except (KeyError, TypeError, ValidationError) as error:
        raise RecordError(
            f"{log.folder / 'manifest.json'}: its settings cannot be read ({error}); prepare the log again"
        ) from error
    said = {name: getattr(piece, name) for name in ("start", "end", "bad_timestamps", "bad_weights")}
    source = replace(source, **{name: value for name, value in said.items() if value is not None})
    return replace(source, **_mapping(source, log, piece))


def _kind(log: PreparedLog, piece: Piece) -> type[FileLog]:
    name = log.manifest.get("source")
    if name in _FILES:
        return _FILES[name]
    if name not in _IN_NO_FILE:
        raise ConfigError(
            f"data.path: the log in {log.folder} came from a {name}, whose settings do not say how files are "
            "read; append to it from Python, with a source of your own"
        )
    first = next(iter(_paths(piece)))
    ending = Path(first.lower().removesuffix(".gz").removesuffix(".zst")).suffix
    return _FILES[_ENDINGS.get(ending, "ParquetLog")]


def _paths(piece: Piece) -> tuple[str, ...]:
    paths = next(iter(piece.path.values()), ()) if isinstance(piece.path, dict) else piece.path
    given = (paths,) if isinstance(paths, str) else tuple(paths)
    if not given:
        raise ConfigError("data.path: state the file that holds the piece")
    return given


def _shop_piece(kind: type[FileLog], log: PreparedLog, piece: Piece) -> FileLog:
    return kind(
        name=log.manifest["name"],
        path=piece.path,
        data_root=piece.data_root,
        columns=Columns(behavior="behavior"),
        behaviors={name: (name,) for name in BEHAVIORS},
    )


def _read_so(kind: type[FileLog], settings: dict[str, Any], log: PreparedLog, piece: Piece) -> FileLog:
    """Return the source with the settings of a manifest, which are as `recdl.data.reading.identity` wrote them."""
    known = {one.name for one in fields(kind)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise RecordError(
            f"{log.folder / 'manifest.json'} has settings that this recdl does not know ({', '.join(unknown)}); "
            "update recdl"
        )
    given = settings | {"name": log.manifest["name"], "path": piece.path, "data_root": piece.data_root}
    if settings.get("behaviors") is not None:
        given["behaviors"] = dict(settings["behaviors"])  # written as pairs, since their order counts
    given.pop("filters")  # the log's hold, of all of it: see `append`
    privacy = given.pop("privacy", {})
    tables = {key: given.pop(key, {}) for key in ("user_table", "item_table")}
    if isinstance(given.get("header"), dict) and isinstance(piece.path, dict):
        given["header"] = {name: given["header"][name] for name in piece.path}
    source = TypeAdapter(kind).validate_json(json.dumps(given))
    return replace(
        source,
        privacy=_privacy(privacy, piece),
        user_table=_table("user_table", tables["user_table"], piece.user_table),
        item_table=_table("item_table", tables["item_table"], piece.item_table),
    )


def _privacy(described: Mapping[str, Any], piece: Piece) -> Privacy:
    step = described.get("times")
    return Privacy(
        pseudonyms=tuple(described.get("pseudonyms", ())),
        key_variable=piece.key_variable,
        key_file=piece.key_file,
        times=None if step is None else f"{step / 1_000_000:f}s",
    )


def _table(key: str, settings: Mapping[str, Any], path: str | tuple[str, ...] | None) -> AttributeTable | None:
    if path is None:
        return None
    if not settings:
        raise ConfigError(
            f"data.{key}: the log was prepared without such a table; prepare all of it anew to have one"
        )
    given = json.dumps({**settings, "path": path, "table": None})
    return TypeAdapter(AttributeTable).validate_json(given)


def _mapping(source: FileLog, log: PreparedLog, piece: Piece) -> dict[str, Any]:
    """Return the raw values by behaviour: those of the log, and the further ones."""
    if piece.behaviors is None:
        return {}
    known = source.behaviors or {name: (name,) for name in log.interactions.behavior_names}
    mapping = {name: tuple(raw) for name, raw in known.items()}
    for name, raw in piece.behaviors.items():
        before = mapping.get(name, ())
        mapping[name] = (*before, *(value for value in raw if value not in before))
    return {"behaviors": mapping}
