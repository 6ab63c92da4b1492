import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from recdl.errors import DataError
from recdl.evaluation.comparison import Comparison, compare
from recdl.evaluation.records import RunRecord
from recdl.evaluation.report import comparison_page, comparison_table, sweep_table, write_comparison
from tests.evaluation.runs import write_run

WEAK = {f"{metric}@{k}": [0.0, 0.0, 0.5, 0.0] * 10 for metric in ("hr", "recall", "ndcg") for k in (5, 10, 20)}
STRONG = {name: [1.0, 0.5, 0.5, 0.0] * 10 for name in WEAK}
SCRIPT = "<script>alert(1)</script>"
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """The elements of a page: their tags, attributes and text; mismatched tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        return " ".join(" ".join(data for tag, data in self.texts if not tags or tag in tags).split())


@pytest.fixture
def records(tmp_path: Path) -> list[RunRecord]:
    return [
        write_run(tmp_path / "weak", "popularity", columns=WEAK, validation=0.1, fit_seconds=0.5),
        write_run(tmp_path / "strong", "lstm", columns=STRONG, validation=0.3, fit_seconds=90.0),
    ]


@pytest.fixture
def comparison(records: list[RunRecord]) -> Comparison:
    return compare(records)


def printed(table: Table, *, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_report_is_written_in_four_forms_and_their_paths_given(comparison: Comparison, tmp_path: Path) -> None:
    written = write_comparison(comparison, tmp_path / "out")
    assert [path.name for path in written] == [f"comparison.{ending}" for ending in ("html", "json", "md", "csv")]
    told = json.loads(written.data.read_text(encoding="utf-8"))
    assert told["format_version"] == 1
    assert told["runs"][1]["figures"]["hr@10"]["difference"] == pytest.approx(0.375)
    assert written.page.read_text(encoding="utf-8") == comparison_page(comparison)
    assert written.markdown.read_text(encoding="utf-8").startswith("## 2 runs on shop\n")
    assert written.table.read_text(encoding="utf-8").startswith("run,model,seed,metric,value,")


def test_the_page_loads_nothing_from_anywhere(comparison: Comparison) -> None:
    text = comparison_page(comparison)
    assert not re.search(r"https?:|//[a-z0-9]+\.|@import|url\(", text, re.IGNORECASE)
    page = Page(text)
    assert not any(key in attributes for _, attributes in page.elements for key in ("src", "href", "srcset"))
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none'")


def test_the_page_shows_each_figure_with_interval_difference_and_p_value(comparison: Comparison) -> None:
    text = Page(comparison_page(comparison)).text("span", "small")
    assert "0.5000 ▲ 0.4900 to 0.5100 +0.3750, p < 0.001" in text
    assert "0.1250 0.1150 to 0.1350" in text


def test_the_page_says_what_was_compared_and_what_came_out(comparison: Comparison) -> None:
    text = Page(comparison_page(comparison)).text()
    assert "2 runs on shop (temporal split), scored on 40 test queries of 40 users with 80 targets in all." in text
    assert (
        "lstm has the highest NDCG@10, 0.5000 (95 % interval 0.4900 to 0.5100): significantly more than the "
        "reference, popularity (+0.3750)."
    ) in text


def test_the_page_says_by_which_rules_it_was_measured(comparison: Comparison) -> None:
    text = Page(comparison_page(comparison)).text("li", "dd", "code", "small")
    assert "history stay candidates" in text
    assert "25 % of the targets have no event in train" in text
    assert "What train knows of the future: nothing." in text
    assert "dddddddd" in text and "55555555" in text and "eeeeeeee" in text


def test_the_best_run_comes_first_and_the_reference_is_marked(comparison: Comparison) -> None:
    page = Page(comparison_page(comparison))
    labels = [attributes["data-value"] for attributes in page.all("th") if "data-value" in attributes][:2]
    assert labels == ["lstm", "popularity"]
    assert "reference" in page.text("small")


def test_text_of_runs_is_never_markup(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "a", SCRIPT, columns=WEAK, settings={"k": SCRIPT}),
        write_run(tmp_path / "b", SCRIPT, columns=STRONG, settings={"k": '" onload="alert(1)'}),
    ]
    page = Page(comparison_page(compare(records)))
    assert len(page.all("script")) == 1
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert SCRIPT in page.text("th")


def test_the_only_script_holds_nothing_of_the_runs(tmp_path: Path, comparison: Comparison) -> None:
    other = compare([write_run(tmp_path / "other", SCRIPT, columns=STRONG)])
    scripts = [Page(comparison_page(each)).text("script") for each in (comparison, other)]
    assert scripts[0] == scripts[1] != ""


def test_each_metric_has_a_plot_with_a_mark_and_an_interval_a_run(comparison: Comparison) -> None:
    page = Page(comparison_page(comparison))
    spans = [attributes for attributes in page.all("line") if attributes.get("class") == "span"]
    assert len(spans) == 2 * (len(comparison.metrics) + 3)  # and over fit time, parameters and size
    assert len(page.all("polyline")) == 2 * len(comparison.families)


def test_plots_and_tables_are_named_for_those_who_do_not_see_them(comparison: Comparison) -> None:
    page = Page(comparison_page(comparison))
    plots = [attributes for attributes in page.all("svg") if attributes.get("aria-hidden") != "true"]
    assert plots and all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)
    assert "HR@10 of each run with its interval" in page.text("title")
    regions = [attributes for attributes in page.all("div") if attributes.get("role") == "region"]
    assert regions and all("aria-label" in each or "aria-labelledby" in each for each in regions)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert used <= set(ids)
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))


def test_one_run_alone_has_a_page_without_tests(records: list[RunRecord]) -> None:
    text = Page(comparison_page(compare(records[:1]))).text()
    assert "There is no other run to compare it with." in text
    assert "Holm" not in text and "▲" not in text


def test_ten_runs_have_a_page(tmp_path: Path) -> None:
    records = [write_run(tmp_path / str(seed), seed=seed) for seed in range(10)]
    assert "popularity (seed=9)" in Page(comparison_page(compare(records))).text("th")


def test_a_metric_that_is_zero_everywhere_has_a_page(tmp_path: Path) -> None:
    columns = {name: [0.0, 0.0] for name in WEAK}
    records = [write_run(tmp_path / name, name, columns=columns, fit_seconds=0.0) for name in ("a", "b")]
    assert "may be chance" in Page(comparison_page(compare(records, reference="b"))).text("p")


def test_the_table_has_a_row_a_run_the_best_first(comparison: Comparison) -> None:
    lines = [line.split() for line in printed(comparison_table(comparison, width=100)).splitlines()]
    assert ["lstm", "0.5000", "▲", "0.5000", "▲", "0.3000", "90", "s"] in lines
    assert ["untuned", "0.4900", "to", "0.5100", "0.4900", "to", "0.5100"] in lines
    assert ["popularity", "0.1250", "0.1250", "0.1000", "0.5", "s"] in lines
    assert lines.index(["lstm", "0.5000", "▲", "0.5000", "▲", "0.3000", "90", "s"]) < lines.index(
        ["popularity", "0.1250", "0.1250", "0.1000", "0.5", "s"]
    )


@pytest.mark.parametrize(("width", "shown"), [(60, 2), (80, 2), (102, 3), (200, 3)])
def test_the_table_shows_the_metrics_that_fit(comparison: Comparison, width: int, shown: int) -> None:
    headings = [str(column.header) for column in comparison_table(comparison, width=width).columns]
    assert headings[1:-2] == ["NDCG@10", "HR@10", "Recall@10"][:shown]


def test_the_table_fits_a_terminal_of_80_characters(comparison: Comparison) -> None:
    text = printed(comparison_table(comparison, width=80), width=80)
    assert "…" not in text
    assert "+0.3750 p < 0.001" in text


def test_square_brackets_in_labels_are_printed_as_they_are(tmp_path: Path) -> None:
    records = [write_run(tmp_path / name, "lstm", columns=WEAK) for name in ("bold", "red")]
    text = printed(comparison_table(compare(records), width=100))
    assert "lstm [bold]" in text and "lstm [red]" in text


def test_a_sweep_names_the_settings_that_differ_and_the_best(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / "p0", "lstm", columns=STRONG, settings={"rate": 0.1, "k": 3}, validation=0.1),
        write_run(tmp_path / "p1", "lstm", columns=WEAK, settings={"rate": 0.2, "k": 3}, validation=0.4),
    ]
    table = sweep_table(records, "ndcg@10")
    assert [str(column.header) for column in table.columns] == ["run", "validation NDCG@10", "fit", "folder"]
    rows = [line.split()[:3] for line in printed(table, width=200).splitlines() if "lstm" in line]
    assert rows == [["lstm", "(rate=0.2)", "0.4000"], ["lstm", "(rate=0.1)", "0.1000"]]
    assert "0.4000 best" in printed(table, width=200)


def test_a_sweep_over_models_of_several_kinds_can_be_read(tmp_path: Path) -> None:
    # Each model has a dozen settings that the other lacks, as a factorization and a sequence model do.
    records = [
        write_run(
            tmp_path / f"{model}{rate}",
            model,
            settings={"rate": rate, "network": {f"{model}_setting_{n}": n for n in range(12)}},
        )
        for model in ("neumf", "lstm")
        for rate in (0.1, 0.2)
    ]
    lines = printed(sweep_table(records, "ndcg@10"), width=120).splitlines()
    for label in ("neumf (rate=0.1)", "neumf (rate=0.2)", "lstm (rate=0.1)", "lstm (rate=0.2)"):
        assert sum(label in line for line in lines) == 1
    assert len(lines) < 20


def test_a_sweep_shows_no_test_results(tmp_path: Path) -> None:
    records = [
        write_run(tmp_path / str(k), columns={"ndcg@10": [0.7654, 0.7654]}, settings={"k": k}) for k in (1, 2)
    ]
    assert "0.7654" not in printed(sweep_table(records, "ndcg@10"), width=200)


def test_a_sweep_by_a_metric_that_was_not_measured_is_refused(records: list[RunRecord]) -> None:
    with pytest.raises(DataError, match="has no metric validation/auc"):
        sweep_table(records, "auc")
