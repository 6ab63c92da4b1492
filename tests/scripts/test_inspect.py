import csv
import json
import re
from pathlib import Path

import pytest

from tests.scripts.command_line import fail_here, succeed

START = 1_511_568_000
CSV = ("data=csv", "data.path=log.csv", "progress=false")


def write_log(folder: Path) -> None:
    """Two hundred persons, and a robot with an event a second for three minutes."""
    rows = [
        f"person{user},thing{(user + step) % 40},{START + step * 86_400 + user * 171}"
        for user in range(200)
        for step in range(10)
    ]
    rows += [f"robot,thing{n % 40},{START + n}" for n in range(180)]
    (folder / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")


def test_a_log_is_looked_at_in_a_table_a_page_and_figures_without_ids(tmp_path: Path) -> None:
    write_log(tmp_path)
    printed = succeed(tmp_path, "inspect_log.py", *CSV, "output=looked")
    figures = json.loads((tmp_path / "looked" / "inspection.json").read_text())
    page = (tmp_path / "looked" / "inspection.html").read_text()
    assert figures["format_version"] == 1
    assert figures["shape"]["events"] == 2_180
    (bots,) = (finding for finding in figures["findings"] if finding["key"] == "bots")
    assert page.lower().startswith("<!doctype html>")
    assert "report: looked/inspection.html" in printed
    assert "figures: looked/inspection.json" in printed
    assert bots["title"][1:] in page
    assert "too active to be a person" in " ".join(printed.split())
    for shown in (printed, page, json.dumps(figures)):
        assert not re.search(r"robot|person\d|thing\d", shown)
    assert not re.search(r'(src|href)="|url\(|@import', page)


def test_the_ids_of_suspects_are_written_only_where_the_user_asks(tmp_path: Path) -> None:
    write_log(tmp_path)
    succeed(tmp_path, "inspect_log.py", *CSV, "output=looked", "suspects=bots.csv")
    with (tmp_path / "bots.csv").open(newline="") as opened:
        assert list(csv.reader(opened)) == [["user_id"], ["robot"]]


def test_a_log_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no file" in fail_here(monkeypatch, capsys, "inspect", *CSV)
    assert not (tmp_path / "runs").exists()
