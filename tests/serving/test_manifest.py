import json
from pathlib import Path
from typing import Any

import pytest

from recdl.errors import RecordError
from recdl.serving.bundle import Bundle, read_bundle
from recdl.serving.manifest import FORMAT_VERSION, read_manifest
from tests.serving.conftest import change_manifest


def test_no_single_bit_of_the_manifest_flips_unnoticed(folder: Path) -> None:
    path = folder / "manifest.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(RecordError, match=r"manifest\.json"):
                read_manifest(folder)


@pytest.mark.parametrize("name", ["../run/model", "/etc/passwd", "..", "a/b", "a\\b", "C:x", ".hidden", ""])
def test_a_file_name_that_leads_out_of_the_bundle_is_refused(name: str, bundle: Bundle, folder: Path) -> None:
    change_manifest(folder, files={**bundle.manifest["files"], name: {"sha256": "0" * 64, "bytes": 0}})
    with pytest.raises(RecordError, match="names only files directly inside it"):
        read_bundle(folder)


def test_a_manifest_that_leaves_out_a_file_is_refused(bundle: Bundle, folder: Path) -> None:
    files = {name: file for name, file in bundle.manifest["files"].items() if name != "items.parquet"}
    change_manifest(folder, files=files)
    with pytest.raises(RecordError, match=r"files\.items\.parquet: is missing"):
        read_bundle(folder)


def test_an_unknown_key_of_the_manifest_is_named(folder: Path) -> None:
    change_manifest(folder, n_userz=3)
    with pytest.raises(RecordError, match=r"manifest\.json: n_userz: extra inputs are not permitted"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("n_users", "3", "n_users: input should be a valid integer"),
        ("n_items", -1, "n_items: input should be greater than or equal to 0"),
        ("exclude_history", 1, "exclude_history: input should be a valid boolean"),
        ("behaviors", [], "behaviors: tuple should have at least 1 item"),
        ("format_version", 0, "format_version: input should be greater than or equal to 1"),
        ("format_version", True, "format_version: input should be a valid integer"),
        ("run", {}, "run.run_id: field required"),
        ("model", {"k": 1}, "model._target_: must name a class"),
        ("files", {"a": {"sha256": "x", "bytes": 1}}, "files.a.sha256: string should match pattern"),
    ],
)
def test_a_wrong_value_of_the_manifest_is_named_with_its_key(
    key: str, value: Any, complaint: str, folder: Path
) -> None:
    change_manifest(folder, **{key: value})
    with pytest.raises(RecordError, match=rf"manifest\.json: .*{complaint}"):
        read_bundle(folder)


def test_a_missing_key_of_the_manifest_is_named(bundle: Bundle, folder: Path) -> None:
    manifest = {key: value for key, value in bundle.manifest.items() if key != "behaviors"}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(RecordError, match="behaviors: field required"):
        read_bundle(folder)


def test_a_manifest_changed_by_hand_is_noticed(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.125", "0.925"), encoding="utf-8")
    with pytest.raises(RecordError, match="was changed since it was written"):
        read_bundle(folder)


def test_a_bundle_of_a_later_format_says_to_update(folder: Path) -> None:
    change_manifest(folder, format_version=FORMAT_VERSION + 1, a_key_of_the_future=1)
    with pytest.raises(RecordError, match=r"a later recdl wrote this bundle .*; update recdl"):
        read_bundle(folder)


@pytest.mark.parametrize("text", ["", "{", '{"format": NaN}', "\xff"])
def test_a_manifest_that_is_no_json_is_damage(text: str, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecordError, match=r"manifest\.json is damaged"):
        read_bundle(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "something else"}'])
def test_another_manifest_is_not_taken_for_a_bundle(text: str, target: Path) -> None:
    target.mkdir()
    (target / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match="is not the manifest of a recdl bundle"):
        read_bundle(target)


def test_a_folder_that_is_not_there_is_no_bundle(target: Path) -> None:
    with pytest.raises(RecordError, match=r"there is no bundle at .*: no such folder"):
        read_bundle(target)


def test_a_folder_without_manifest_is_no_bundle(target: Path) -> None:
    target.mkdir()
    with pytest.raises(RecordError, match=r"is no bundle: it holds no manifest\.json"):
        read_bundle(target)
