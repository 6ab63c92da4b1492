"""What a bundle says of itself, and how that is checked before any of it is believed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recdl.errors import RecordError
from recdl.storage import fingerprint

MANIFEST, CARD = "manifest.json", "README.md"
FORMAT = "recdl bundle"
FORMAT_VERSION = 2
"""Version of the bundle's layout. It rises when an earlier recdl could no longer read it; earlier ones are read.

2: what a run was made with (git state, trainer, trials, checkpoint), and ONNX.
"""

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _File(_Part):
    sha256: _Sha256
    bytes: _Count


class _Ingredient(_Part):
    name: str
    fingerprint: str
    settings: dict[str, Any]


class _Run(_Part):
    run_id: str
    finished: str
    model: str
    seed: int
    data: _Ingredient
    split: _Ingredient
    protocol: _Ingredient
    metric_version: int | str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    versions: dict[str, str]
    git: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    trials: int | None = None
    checkpoint: str | None = None


class _Onnx(_Part):
    opset: _Count
    inputs: Annotated[dict[str, str], Field(min_length=1)]
    output: Annotated[dict[str, str], Field(min_length=1)]
    tolerance: Annotated[float, Field(gt=0)]
    max_difference: Annotated[float, Field(ge=0)]


class _Manifest(_Part):
    format: Literal["recdl bundle"]
    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)]
    recdl_version: str
    created: str
    model: dict[str, Any]
    n_users: _Count
    n_items: _Count
    n_candidates: _Count
    behaviors: Annotated[tuple[str, ...], Field(min_length=1)]
    exclude_history: bool
    run: _Run
    onnx: _Onnx | None = None
    files: dict[str, _File]
    checksum: _Sha256


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest with its checksum, which covers all else in it and through it every file."""
    return {**content, "checksum": fingerprint(dict(content))}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of the bundle in `folder`; the files it names are not looked at.

    Raises:
        RecordError: If there is no bundle, its manifest is damaged or was changed, or a later recdl wrote it.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise RecordError(f"there is no bundle at {folder}: no such folder")
    if not path.is_file():
        raise RecordError(f"{folder} is no bundle: it holds no {MANIFEST}")
    try:
        text = path.read_text(encoding="utf-8")
        manifest = json.loads(text, parse_constant=_refuse)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} is damaged ({error}); copy or export the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RecordError(f"{path} is not the manifest of a recdl bundle: its format is not {FORMAT!r}")
    _check_version(path, manifest.get("format_version"))
    try:
        _Manifest.model_validate_json(text)
    except ValidationError as error:
        raise RecordError(f"{path}: {_mistakes(error)}; export the bundle again") from error
    if not isinstance(manifest["model"].get("_target_"), str):
        raise RecordError(f"{path}: model._target_: must name a class; export the bundle again")
    for name in manifest["files"]:
        _check_file_name(path, name)
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    if fingerprint(content) != manifest["checksum"]:
        raise RecordError(
            f"{path} was changed since it was written: checksum does not match; copy or export the bundle again"
        )
    return manifest


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _check_version(path: Path, version: Any) -> None:
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT_VERSION:
        raise RecordError(
            f"{path}: a later recdl wrote this bundle (format version {version}; this recdl reads versions up to "
            f"{FORMAT_VERSION}); update recdl: pip install --upgrade recdl"
        )


def _check_file_name(path: Path, name: str) -> None:
    """Refuse names that could lead out of the bundle, on any system."""
    if not name or name.startswith(".") or any(character in name for character in "/\\:\0"):
        raise RecordError(f"{path}: files.{name}: a bundle names only files directly inside it")


def _mistakes(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(step) for step in mistake['loc'])}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}"
        for mistake in error.errors()
    )
