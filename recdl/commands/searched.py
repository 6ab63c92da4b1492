"""Show a search: its best trial, how it came to it, what mattered."""

from pathlib import Path

from recdl.commands.ingredients import fresh_folder
from recdl.commands.recording import console
from recdl.errors import RecordError
from recdl.evaluation.records import RunRecord
from recdl.search.report import search_table, write_search
from recdl.search.study import read_result
from recdl.search.trials import SearchResult


def show_search(folder: Path, *, output: Path | None) -> None:
    """Print what the search in `folder` has come to, and write it as JSON and as a page.

    Args:
        folder: Of the search, finished or not.
        output: Folder of the page; None: a fresh one.

    Raises:
        RecordError: If there is no search, or no trial of it has ended.
    """
    result = read_result(folder)
    if not result.trials:
        raise RecordError(f"no trial of the search in {folder} has ended yet; wait, or run the same command again")
    try:
        final = RunRecord.open(folder / "best")
    except RecordError:  # the search is not over
        final = None
    print_search(result, output or fresh_folder(Path("runs"), "search"), final=final, source=folder)


def print_search(
    result: SearchResult, output: Path, *, final: RunRecord | None, source: Path | None = None
) -> None:
    """Print a search, and write `search.json` and `search.html` into `output`.

    Args:
        result: What came of it.
        output: Folder.
        final: The run with the best settings, if there is one.
        source: Folder of the search, where it is not `output`.
    """
    data, page = write_search(result, output, name=(source or output).name, final=final)
    shown = console()
    shown.print(search_table(result))
    print(f"report: {page}")
    print(f"figures: {data}")
