import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import recdl
from recdl.data.prepared import PreparedLog
from recdl.data.queries import Queries
from recdl.errors import ConfigError, DataError, RecordError
from recdl.evaluation.records import RunRecord
from recdl.models.neighbors import ItemKNN
from recdl.models.popularity import Popularity
from recdl.models.protocol import Recommender
from recdl.serving import bundle as bundle_module
from recdl.serving.bundle import Bundle, check_bundle_folder, read_bundle, write_bundle
from recdl.storage import file_fingerprint
from tests.serving.conftest import (
    CONFIG,
    ITEMS,
    NEVER_TRAINED,
    USERS,
    change_manifest,
    finished_run,
    prepared_log,
    train_part,
)

FILES = ("weights.safetensors", "users.parquet", "items.parquet", "candidates.parquet")


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Put other bytes in a file's place and vouch for them in the manifest."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    files[name] = {"sha256": file_fingerprint(folder / name), "bytes": len(content)}
    change_manifest(folder, files=files)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("recommender", [Popularity(), ItemKNN(k=3)], ids=["popularity", "item_knn"])
def test_a_model_from_a_bundle_scores_as_the_trained_one_did(
    recommender: Recommender, tmp_path: Path, target: Path, log: PreparedLog, candidates: np.ndarray
) -> None:
    recommender.fit(train_part(log))
    write_bundle(target, finished_run(tmp_path / "r", log, recommender), log, candidates=candidates)
    served = type(recommender)().set_state(read_bundle(target).state)
    queries = Queries.at_end(log.interactions)
    np.testing.assert_array_equal(served.score(queries), recommender.score(queries))


def test_the_vocabularies_come_back_id_for_id(folder: Path) -> None:
    opened = read_bundle(folder)
    assert opened.users.to_arrow().to_pylist() == list(USERS)
    assert opened.items.to_arrow().to_pylist() == list(ITEMS)


def test_only_items_with_a_train_event_may_be_recommended(bundle: Bundle) -> None:
    assert bundle.candidates.tolist() == [True, True, True, True, False, False]
    assert not bundle.candidates[NEVER_TRAINED]
    assert bundle.manifest["n_candidates"] == 4


def test_a_bundle_says_how_to_build_its_model(bundle: Bundle) -> None:
    assert bundle.model == CONFIG["model"]
    assert bundle.seed == 3
    assert bundle.behavior_names == ("view", "purchase")
    assert bundle.exclude_history is True


def test_a_bundle_says_where_it_comes_from_and_what_it_scored(bundle: Bundle, record: RunRecord) -> None:
    run = bundle.manifest["run"]
    assert run["run_id"] == record.run_id
    assert run["data"] == {"name": "odd", "fingerprint": "d" * 64, "settings": {}}
    assert run["split"]["settings"] == {"test_fraction": 0.1}
    assert run["metrics"] == {"test/ndcg@10": 0.125, "test/n_queries": 1234.0}
    assert run["intervals"] == {"test/ndcg@10": [0.1, 0.15]}
    assert bundle.manifest["recdl_version"] == recdl.__version__


def test_a_bundle_holds_no_event_no_path_and_no_other_file(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json", "README.md"}
    assert "somebody" not in (folder / "manifest.json").read_text(encoding="utf-8")


def test_the_card_states_the_measured_figures_with_their_intervals(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "# popularity, trained on odd" in card
    assert "| metric | value | 95% interval |" in card
    assert "| ndcg@10 | 0.1250 | 0.1000 to 0.1500 |" in card
    assert "| n_queries | 1,234 |  |" in card
    assert "4 of the 6 items" in card
    assert "was never recommended again" in card


def test_the_card_names_no_raw_id(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert not [raw for raw in (*USERS, *ITEMS) if len(raw) > 2 and raw in card]


def test_the_weights_are_plain_safetensors(folder: Path) -> None:
    assert load_file(folder / "weights.safetensors")["counts"].tolist() == [1, 3, 1, 1, 0, 0]


def test_a_bundle_moved_elsewhere_opens(bundle: Bundle, folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "elsewhere")
    assert read_bundle(moved).manifest == bundle.manifest


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, 0.5, 1], ids=["first", "middle", "last"])
def test_a_flipped_bit_is_noticed(name: str, place: float, folder: Path) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(RecordError, match=rf"{name} is damaged or was changed"):
        read_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(RecordError, match=rf"{name} is missing, though manifest.json names it"):
        read_bundle(folder)


def test_a_file_cut_short_is_damage(folder: Path) -> None:
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-1])
    with pytest.raises(RecordError, match=r"weights\.safetensors is damaged"):
        read_bundle(folder)


def test_a_pickle_in_place_of_the_weights_is_refused_and_never_run(folder: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    replace_file(folder, "weights.safetensors", pickle.dumps(Payload()))
    with pytest.raises(RecordError, match="no readable safetensors file"):
        read_bundle(folder)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_the_manifest_does_not_name_is_never_read(bundle: Bundle, folder: Path) -> None:
    (folder / "setup.py").write_text("raise SystemExit", encoding="utf-8")
    (folder / "weights.pkl").write_bytes(b"\x80")
    assert read_bundle(folder).manifest == bundle.manifest


def test_a_note_added_to_the_card_is_no_damage(bundle: Bundle, folder: Path) -> None:
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write("Shipped in May.\n")
    assert read_bundle(folder).manifest == bundle.manifest


def test_a_vocabulary_of_another_length_is_refused(folder: Path) -> None:
    change_manifest(folder, n_users=4)
    with pytest.raises(RecordError, match=r"users\.parquet holds 3 ids, but manifest\.json says 4"):
        read_bundle(folder)


def test_a_vocabulary_with_a_null_is_refused(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a", None, "b"]}), tmp_path / "null.parquet")
    replace_file(folder, "users.parquet", (tmp_path / "null.parquet").read_bytes())
    with pytest.raises(RecordError, match=r"users\.parquet is no vocabulary"):
        read_bundle(folder)


@pytest.mark.parametrize("flags", [[True], [None] * 6, [1] * 6])
def test_candidates_that_do_not_fit_the_catalogue_are_refused(
    flags: list[Any], folder: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"candidate": flags}), tmp_path / "flags.parquet")
    replace_file(folder, "candidates.parquet", (tmp_path / "flags.parquet").read_bytes())
    with pytest.raises(RecordError, match="must hold a boolean for each of the 6 items"):
        read_bundle(folder)


def test_candidates_that_are_no_parquet_are_refused(folder: Path) -> None:
    replace_file(folder, "candidates.parquet", b"PAR1")
    with pytest.raises(RecordError, match=r"candidates\.parquet is no readable list of candidates"):
        read_bundle(folder)


def test_an_existing_bundle_is_kept_unless_told_otherwise(
    folder: Path, record: RunRecord, log: PreparedLog, candidates: np.ndarray
) -> None:
    before = content_of(folder)
    with pytest.raises(ConfigError, match="holds a bundle; choose another folder, or give overwrite=true"):
        write_bundle(folder, record, log, candidates=candidates)
    assert content_of(folder) == before


def test_overwriting_replaces_the_bundle_and_leaves_nothing_else(
    folder: Path, record: RunRecord, log: PreparedLog
) -> None:
    everything = np.ones(len(ITEMS), np.bool_)
    write_bundle(folder, record, log, candidates=everything, overwrite=True)
    assert read_bundle(folder).candidates.all()
    assert {path.name for path in folder.parent.iterdir()} == {"bundle", "run"}


def test_a_damaged_bundle_may_be_overwritten(
    folder: Path, record: RunRecord, log: PreparedLog, candidates: np.ndarray
) -> None:
    (folder / "weights.safetensors").unlink()
    write_bundle(folder, record, log, candidates=candidates, overwrite=True)
    assert read_bundle(folder).manifest["n_items"] == 6


@pytest.mark.parametrize("manifest", [None, "{}", "no json"])
def test_a_folder_of_something_else_is_never_overwritten(
    manifest: str | None, target: Path, record: RunRecord, log: PreparedLog, candidates: np.ndarray
) -> None:
    target.mkdir()
    (target / "thesis.tex").touch()
    if manifest is not None:
        (target / "manifest.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(ConfigError, match="holds files that are no recdl bundle"):
        write_bundle(target, record, log, candidates=candidates, overwrite=True)
    assert (target / "thesis.tex").exists()


def test_a_file_in_the_way_is_refused(target: Path) -> None:
    target.touch()
    with pytest.raises(ConfigError, match="is a file; choose another folder"):
        check_bundle_folder(target, overwrite=True)


def test_an_empty_folder_is_filled(
    target: Path, record: RunRecord, log: PreparedLog, candidates: np.ndarray
) -> None:
    target.mkdir()
    write_bundle(target, record, log, candidates=candidates)
    assert read_bundle(target).manifest["n_users"] == 3


def test_the_working_folder_is_filled_when_it_is_empty(
    target: Path,
    record: RunRecord,
    log: PreparedLog,
    candidates: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target.mkdir()
    monkeypatch.chdir(target)
    write_bundle(Path(), record, log, candidates=candidates)
    assert read_bundle(target).manifest["n_users"] == 3


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_half_way_leaves_what_was_there(
    overwrite: bool,
    tmp_path: Path,
    target: Path,
    record: RunRecord,
    log: PreparedLog,
    candidates: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if overwrite:
        write_bundle(target, record, log, candidates=candidates)
    before = content_of(target) if overwrite else {}

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(bundle_module, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(target, record, log, candidates=candidates, overwrite=overwrite)
    assert (content_of(target) if target.exists() else {}) == before
    assert not list(tmp_path.glob(".bundle*"))


def test_an_interrupt_while_it_takes_its_place_puts_the_earlier_bundle_back(
    folder: Path,
    record: RunRecord,
    log: PreparedLog,
    candidates: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = content_of(folder)
    rename = Path.rename

    def interrupted(self: Path, to: Path) -> Path:
        if self.name.endswith(".partial") and to == folder:
            raise KeyboardInterrupt
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(folder, record, log, candidates=candidates, overwrite=True)
    assert content_of(folder) == before


def test_a_bundle_that_another_process_put_there_meanwhile_is_not_taken_for_ours(
    tmp_path: Path,
    target: Path,
    record: RunRecord,
    log: PreparedLog,
    candidates: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = tmp_path / "theirs"
    write_bundle(theirs, record, log, candidates=np.ones(len(ITEMS), np.bool_))
    rename = Path.rename

    def beaten(self: Path, to: Path) -> Path:
        if self.name.endswith(".partial") and to == target:
            shutil.copytree(theirs, target)
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", beaten)
    with pytest.raises(ConfigError, match="another process wrote"):
        write_bundle(target, record, log, candidates=candidates)
    assert read_bundle(target).candidates.all()


def test_a_run_on_another_log_is_not_exported(
    tmp_path: Path, target: Path, record: RunRecord, candidates: np.ndarray
) -> None:
    other = prepared_log(tmp_path / "other", fingerprint="f" * 64)
    with pytest.raises(DataError, match=r"was trained on another log than the one prepared in .*other"):
        write_bundle(target, record, other, candidates=candidates)
    assert not target.exists()


def test_a_run_whose_config_lacks_the_model_is_not_exported(
    target: Path, record: RunRecord, log: PreparedLog, candidates: np.ndarray
) -> None:
    del record.config["model"]
    with pytest.raises(RecordError, match="is incomplete: it lacks 'model'"):
        write_bundle(target, record, log, candidates=candidates)


def test_the_log_of_the_run_passes_for_it(bundle: Bundle, log: PreparedLog) -> None:
    assert bundle.manifest["run"]["data"]["fingerprint"] == log.fingerprint
    bundle.check_log(log)


def test_another_log_is_told_from_the_one_of_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    other = prepared_log(tmp_path / "other", fingerprint="f" * 64)
    with pytest.raises(DataError, match=r"is not the one the bundle was trained on .*histories in a file"):
        bundle.check_log(other)


def test_a_bundle_of_the_first_format_reads(
    tmp_path: Path, target: Path, log: PreparedLog, candidates: np.ndarray
) -> None:
    recommender = Popularity().fit(train_part(log))
    write_bundle(target, finished_run(tmp_path / "r", log, recommender), log, candidates=candidates)
    run = json.loads((target / "manifest.json").read_text(encoding="utf-8"))["run"]
    for name in ("git", "settings", "trials", "checkpoint"):
        del run[name]
    change_manifest(target, run=run, format_version=1)
    assert read_bundle(target).manifest["format_version"] == 1
