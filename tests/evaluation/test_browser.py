"""The page in a browser: headless Chromium, where there is one."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from recdl.evaluation.comparison import compare
from recdl.evaluation.details import look_closer
from recdl.evaluation.report import comparison_page
from recdl.evaluation.seeds import compare_seeds
from tests.evaluation.backgrounds import background
from tests.evaluation.runs import write_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DARK, LIGHT = "--blink-settings=preferredColorScheme=0", "--blink-settings=preferredColorScheme=1"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt install chromium")

CURVE = [{"epoch": n, "loss": 4.0 / (n + 1), "validation/ndcg@2": 0.1 * n} for n in range(3)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs")
    records = [
        write_run(
            folder / name,
            name,
            columns={"ndcg@2": values, "hr@2": values[::-1], "ndcg@1": values, "coverage@2": values},
            users=[0, 1, 2, -1],
            lists=[[0, 1], [1, 3], [5, 0], [2, -1]],
            learning_curve=CURVE,
            fit_seconds=seconds,
            groups=groups(level),
        )
        for name, values, seconds, level in [
            ("popularity", [0.5, 0.0, 0.5, 0.0], 1.0, 0.1),
            ("a_model_with_a_rather_long_name", [1.0, 1.0, 0.5, 0.0], 10.0, 0.3),
            ("lstm", [1.0, 0.5, 0.5, 0.0], 100.0, 0.2),
        ]
    ]
    comparison = compare(records, metrics=["ndcg@2", "hr@2"])
    seeds = [
        write_run(
            folder / f"lstm-{seed}",
            "lstm",
            columns={"ndcg@2": values, "hr@2": values},
            seed=seed,
            users=[0, 1, 2, -1],
        )
        for seed, values in [(1, [1.0, 0.5, 0.0, 0.0]), (2, [1.0, 1.0, 0.5, 0.0])]
    ]
    several = compare_seeds([[records[0]], [records[1]], seeds], metrics=["ndcg@2", "hr@2"])
    return comparison_page(comparison, look_closer(comparison, records, background(names=True), seeds=several))


def groups(level: float) -> dict[str, Any]:
    """Figures by a column of users with a long value, and by one of items, of which one group has no target."""
    places = {"n_items": 3, "n_targets": 4, "events": 0.5, "exposure@2": 0.5, "recall@2": level}
    without = {"n_items": 3, "n_targets": 0, "events": 0.5, "exposure@2": 0.5}
    regions = {"the north and all of its islands": level, "south": level / 2}
    return {
        "users": {"region": {name: {"n_queries": 2, "ndcg@2": value} for name, value in regions.items()}},
        "items": {"category": {"shoes": places, "hats": {**places, "recall@2": level / 3}, "bags": without}},
        "gaps": {},
    }


def told(page: str, folder: Path, script: str, *options: str) -> Any:
    """Open the page, run `script`, and return what its function `tell` was given."""
    path = folder / "page.html"
    tell = "const tell = (told) => { document.title = JSON.stringify(told); };"
    path.write_text(page.replace("</body>", f"<script>{tell}{script}</script></body>"), encoding="utf-8")
    assert CHROMIUM is not None
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [CHROMIUM, *arguments, "--enable-logging=stderr", *options, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    found = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert found is not None
    return json.loads(unescape(found[1]))


def test_a_click_on_a_heading_sorts_the_table_both_ways(page: str, tmp_path: Path) -> None:
    script = """
        const table = document.querySelector('section[aria-labelledby="figures"] table');
        const labels = () => [...table.tBodies[0].rows].map((row) => row.cells[0].dataset.value);
        const heading = (name) => [...table.querySelectorAll("button")].find((one) => one.textContent === name);
        const shown = [labels()];
        for (const name of ["Run", "NDCG@2", "NDCG@2"]) { heading(name).click(); shown.push(labels()); }
        tell(shown);
    """
    long = "a_model_with_a_rather_long_name"
    assert told(page, tmp_path, script) == [
        [long, "lstm", "popularity"],
        [long, "lstm", "popularity"],
        [long, "lstm", "popularity"],
        ["popularity", "lstm", long],
    ]


def test_means_over_seeds_and_groups_are_sorted_by_a_click_too(page: str, tmp_path: Path) -> None:
    script = """
        const table = (id) => document.querySelector(`section[aria-labelledby="${id}"] table`);
        const labels = (one) => [...one.tBodies[0].rows].map((row) => row.cells[0].dataset.value);
        const click = (one, name) => [...one.querySelectorAll("button")]
          .find((button) => button.textContent === name).click();
        const [seeds, groups] = [table("seeds"), table("groups")];
        const shown = [labels(seeds), labels(groups)];
        click(seeds, "Seeds"); click(groups, "south"); click(groups, "south");
        tell([...shown, labels(seeds)[0], labels(groups)]);
    """
    long = "a_model_with_a_rather_long_name"
    assert told(page, tmp_path, script) == [
        [long, "lstm", "popularity"],
        [long, "lstm", "popularity"],
        "lstm",
        ["popularity", "lstm", long],
    ]


@pytest.mark.parametrize(("scheme", "first", "second"), [(LIGHT, 255, 20), (DARK, 20, 255)], ids=["light", "dark"])
def test_the_page_is_as_light_as_the_system_until_it_is_switched(
    page: str, tmp_path: Path, scheme: str, first: int, second: int
) -> None:
    script = """
        const red = () => Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]);
        const shown = [red()];
        document.querySelector(".theme").click();
        tell([...shown, red()]);
    """
    assert told(page, tmp_path, script, scheme) == [first, second]


@pytest.mark.parametrize("width", [500, 1300])  # no window of Chromium's is narrower than 500
def test_nothing_is_wider_than_the_window(page: str, tmp_path: Path, width: int) -> None:
    script = "tell([document.documentElement.scrollWidth, innerWidth]);"
    scrolled, inner = told(page, tmp_path, script, f"--window-size={width},900")
    assert scrolled <= inner <= width


def test_all_text_of_drawings_lies_within_them(page: str, tmp_path: Path) -> None:
    script = """
        document.querySelectorAll("details").forEach((one) => { one.open = true; });
        const outside = [...document.querySelectorAll("figure svg")].flatMap((drawing) => {
          const frame = drawing.getBoundingClientRect();
          return [...drawing.querySelectorAll("text")].filter((text) => {
            const box = text.getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
          }).map((text) => `${drawing.getAttribute("aria-label")}: ${text.textContent.trim()}`);
        });
        tell([document.querySelectorAll("figure svg").length, outside]);
    """
    drawings, outside = told(page, tmp_path, script, "--window-size=1300,900")
    assert drawings >= 16
    assert outside == []


def test_what_is_folded_away_is_printed(page: str, tmp_path: Path) -> None:
    script = """
        const open = () => document.querySelectorAll("details[open]").length;
        const shown = [open()];
        dispatchEvent(new Event("beforeprint"));
        shown.push(open());
        dispatchEvent(new Event("afterprint"));
        tell([...shown, open(), document.querySelectorAll("details").length]);
    """
    before, printed, after, all_of_them = told(page, tmp_path, script)
    assert before == after < printed == all_of_them
