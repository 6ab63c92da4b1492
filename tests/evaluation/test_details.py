import json
import shutil
from pathlib import Path

import pytest

from recdl.errors import DataError
from recdl.evaluation.comparison import compare
from recdl.evaluation.details import LeftOut, look_closer
from recdl.evaluation.records import RunRecord
from tests.evaluation.backgrounds import background
from tests.evaluation.runs import write_run

USERS = [0, 1, 2, -1]
CURVE = [{"epoch": 0, "loss": 1.0, "seconds": 1.0, "validation/ndcg@2": 0.2}]


@pytest.fixture
def records(tmp_path: Path) -> list[RunRecord]:
    popular = [[0, 1]] * 4
    own = [[0, 1], [1, 3], [5, 0], [2, -1]]
    figures = {"popularity": [0.5, 0.5, 0.0, 0.0], "lstm": [0.5, 1.0, 1.0, 0.0], "ease": [0.0, 0.5, 0.5, 0.0]}
    return [
        write_run(
            tmp_path / name,
            name,
            columns={"ndcg@2": values},
            users=USERS,
            lists=popular if name == "popularity" else own,
            learning_curve=CURVE if name == "lstm" else (),
        )
        for name, values in figures.items()
    ]


def test_all_of_a_report_is_found(records: list[RunRecord]) -> None:
    details = look_closer(compare(records), records, background(), n_examples=2)
    assert list(details.curves) == ["lstm"]
    assert [one.name for one in details.segmentations] == ["New and known users", "Targets by popularity"]
    assert details.bias is not None and details.bias.runs["popularity"].n_items == 2
    assert details.win_loss is not None
    assert (details.win_loss.first, details.win_loss.second) == ("lstm", "popularity")
    assert [len(one) for one in (details.win_loss.for_first, details.win_loss.for_second)] == [2, 0]
    assert details.missing == ()


def test_without_the_log_there_is_what_the_records_hold(records: list[RunRecord]) -> None:
    details = look_closer(compare(records), records, None, missing=["the log is gone"])
    assert (details.segmentations, details.bias) == ((), None)
    assert details.win_loss is not None and details.win_loss.for_first == ()
    assert details.missing == ("the log is gone",)


def test_runs_that_kept_no_lists_are_named(records: list[RunRecord]) -> None:
    shutil.rmtree(records[1].folder / "lists")
    details = look_closer(compare(records), records, background())
    assert details.bias is not None and list(details.bias.runs) == ["popularity", "ease"]
    assert details.missing[0].startswith("lstm: kept no lists of 2 items")
    assert details.win_loss is not None and details.win_loss.for_first == ()


@pytest.mark.parametrize("by", ["label", "folder"])
def test_the_two_runs_shown_user_by_user_can_be_chosen(records: list[RunRecord], by: str) -> None:
    pair = ["ease", "lstm"] if by == "label" else [str(records[2].folder), str(records[1].folder)]
    details = look_closer(compare(records), records, background(), pair=pair)
    assert details.win_loss is not None
    assert (details.win_loss.first, details.win_loss.second) == ("ease", "lstm")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (["ease"], "pair: name two runs, not 1"),
        (["ease", "ease"], "pair: ease and ease are the same run"),
        (["ease", "gru"], "pair: gru is no run of this comparison; it may be popularity, lstm, ease"),
    ],
)
def test_a_pair_that_is_none_is_refused(records: list[RunRecord], pair: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        look_closer(compare(records), records, None, pair=pair)


def test_a_single_run_is_set_beside_nothing(records: list[RunRecord]) -> None:
    details = look_closer(compare(records[:1]), records[:1], background())
    assert details.win_loss is None
    assert details.bias is not None


def test_no_example_is_put_into_the_figures(records: list[RunRecord]) -> None:
    details = look_closer(
        compare(records), records, background(names=True), left_out=[LeftOut("gru", "it was cut off")]
    )
    told = json.dumps(details.to_json())
    assert "Bee" not in told
    assert details.to_json()["left_out"] == [{"name": "gru", "reason": "it was cut off"}]
    assert details.to_json()["win_loss"]["balances"][0] == {
        "group": "all users",
        "first": 2,
        "alike": 2,
        "second": 0,
    }
