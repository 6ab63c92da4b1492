import json
from pathlib import Path

import numpy as np
import pytest

from recdl.data.queries import Queries
from recdl.serving.bundle import read_bundle
from recdl.serving.onnx_model import padded
from tests.scripts.command_line import fail_here, succeed

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(shop: Path) -> Path:
    """A bundle of runs/lstm with ONNX."""
    succeed(shop, "export.py", "run=runs/lstm", "bundle=bundles/onnx", "onnx=true")
    return shop / "bundles" / "onnx"


def test_a_bundle_with_onnx_scores_in_onnxruntime_alone_as_its_manifest_says(exported: Path) -> None:
    manifest = read_bundle(exported).manifest
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    queries = Queries(
        users=np.full(2, -1, np.int32),
        starts=np.array([0, 2]),
        ends=np.array([2, 2]),
        items=np.array([3, 5], np.int32),
        behaviors=np.zeros(2, np.int8),
        timestamps=np.array([10**12, 2 * 10**12]),
    )
    feed = padded(queries)
    (scores,) = session.run(None, {name: feed[name] for name in manifest["onnx"]["inputs"]})
    assert scores.shape == (2, manifest["n_items"])
    assert np.isfinite(scores).all()
    assert manifest["onnx"]["max_difference"] < manifest["onnx"]["tolerance"]


def test_the_manifest_and_the_card_say_what_the_run_was_made_with(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["format_version"] == 2
    assert manifest["run"]["settings"]["trainer"]["max_epochs"] == 2
    assert manifest["run"]["versions"]["torch"]
    assert set(manifest["run"]) >= {"git", "trials", "checkpoint"}
    assert "`lengths` | int64 (batch,)" in (exported / "README.md").read_text()


def test_a_changed_onnx_file_is_refused(exported: Path, tmp_path: Path) -> None:
    import shutil

    from recdl.errors import RecordError

    shutil.copytree(exported, tmp_path / "b")
    with (tmp_path / "b" / "model.onnx").open("ab") as opened:
        opened.write(b"\0")
    with pytest.raises(RecordError, match=r"model\.onnx is damaged or was changed"):
        read_bundle(tmp_path / "b")


def test_a_checkpoint_of_the_run_is_exported_with_its_own_figures(shop: Path, bundle: Path) -> None:
    (checkpoint,) = (shop / "runs" / "lstm" / "checkpoints").glob("best-*.ckpt")
    succeed(shop, "export.py", "run=runs/lstm", "bundle=bundles/best", f"checkpoint={checkpoint.name}")
    found, kept = read_bundle(shop / "bundles" / "best"), read_bundle(bundle)
    for name, array in kept.state.items():
        np.testing.assert_array_equal(found.state[name], array)
    assert found.manifest["run"]["checkpoint"] == checkpoint.name
    assert not [name for name in found.manifest["run"]["metrics"] if name.startswith("test/")]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run=runs/knn", "onnx=true"], "onnx: a ItemKNN is no network"),
        (["run=runs/knn", "checkpoint=best-00000.ckpt"], "has no checkpoint best-00000.ckpt; it has none"),
        (["run=runs/lstm", "checkpoint=best-99999.ckpt"], "has no checkpoint best-99999.ckpt; it has best-"),
    ],
)
def test_what_cannot_be_exported_is_told_and_leaves_nothing(
    overrides: list[str],
    message: str,
    shop: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shop)
    assert message in fail_here(monkeypatch, capsys, "export", *overrides, "bundle=bundles/none")
    assert not list(Path("bundles").glob("*none*"))
