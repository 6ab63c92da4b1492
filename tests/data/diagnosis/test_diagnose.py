import json
import re
from pathlib import Path

import pytest

from recdl.data.diagnosis.diagnose import Diagnosis, diagnose
from recdl.data.splits import TemporalSplit
from tests.data.files import HEADER, prepared

DAY, START = 86_400, 1_511_568_000
NOW = 1_700_000_000_000_000


def clean(n_users: int = 300) -> str:
    """Users who walk through a catalogue in order, two items a day at hours of their own, for ten days."""
    rows = [
        f"person{user},sku{(user + 2 * day + step) % 40},{START + day * DAY + user * 98 + step * 30}"
        for user in range(n_users)
        for day in range(10)
        for step in range(2)
    ]
    return HEADER + "\n".join(rows) + "\n"


def looked_at(tmp_path: Path, text: str) -> Diagnosis:
    return diagnose(prepared(tmp_path, text), TemporalSplit(), order_events=10_000, seed=0, now=NOW)


def test_a_clean_log_gives_no_finding(tmp_path: Path) -> None:
    diagnosis = looked_at(tmp_path, clean())
    assert diagnosis.findings == ()
    assert diagnosis.order.tells


def test_what_is_wrong_is_found_and_nothing_else_grave(tmp_path: Path) -> None:
    bot = "".join(f"robot,sku{n % 40},{START + n}\n" for n in range(200))
    diagnosis = looked_at(tmp_path, clean() + bot + f"person1,sku1,{START - 400 * DAY}\n")
    grave = {finding.key: finding.severity for finding in diagnosis.findings if finding.severity != "notice"}
    assert grave == {"bots": "warning", "outliers": "warning"}


def test_no_id_is_in_the_figures_and_they_are_json(tmp_path: Path) -> None:
    bot = "".join(f"robot,sku{n % 40},{START + n}\n" for n in range(200))
    text = json.dumps(looked_at(tmp_path, clean() + bot).to_json(), allow_nan=False)
    assert not re.search(r"person\d|sku\d|robot", text)


def test_a_log_that_cannot_be_split_is_still_looked_at(tmp_path: Path) -> None:
    diagnosis = looked_at(tmp_path, HEADER + f"a,b,{START}\nc,d,{START}\n")
    assert diagnosis.split is None
    assert {"no_split", "one_moment"} <= {finding.key for finding in diagnosis.findings}


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_log_and_seed_give_the_same_diagnosis(tmp_path: Path, seed: int) -> None:
    log = prepared(tmp_path, clean(60))
    first, second = (diagnose(log, TemporalSplit(), order_events=500, seed=seed, now=NOW) for _ in range(2))
    assert first.to_json() == second.to_json()
