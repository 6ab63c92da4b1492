"""Splits read from files, so that a paper's exact protocol runs.

The log (`data=`) is what is given to learn from, prepared like any other log: its vocabulary is all that models
index, and nothing of the test part can get into it. The split reads the questions against that vocabulary. An
item in a question that the log does not hold cannot be indexed, and no model could find it: such a target counts
as a miss.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from recdl.data.given_tables import Header, TextForm, find_file
from recdl.data.interactions import Interactions
from recdl.data.moments import check_fraction
from recdl.data.queries import Candidates
from recdl.data.sessions import Sequences
from recdl.data.splits.given_candidates import counts_of, draw_candidates, read_candidates
from recdl.data.splits.given_files import Form, Given, GivenColumns, Kind, UnknownRule, read_given
from recdl.data.splits.given_validation import ValidationRule, cut_validation
from recdl.data.splits.parts import Part, Split, Vocabularies, assemble, settings_of
from recdl.data.vocabulary import UNKNOWN
from recdl.errors import ConfigError
from recdl.storage import file_fingerprint

_FILES = ("test", "validation", "candidates")


@dataclass(frozen=True)
class GivenSplit:
    r"""Take the log as what may be learned from, and read what is asked from files.

    Attributes:
        test: The file of the test part.
        validation: A file of the same form, of which nothing may be in the log; None cuts it from the log by
            `validation_rule`. What is cut is not learned from, though the histories of `pairs` in test hold it.
        candidates: A file with a line a user of `pairs`: its id, or `(user,item)` with its target, then the items
            to rank. A query of test ranks these and its own targets, each once however often it is named, and no
            others.
        kind: What the files hold. `pairs`: a row a target, with its user, who is in the log; a query, one a user,
            has all of the user's events in the log as history. `sessions`: the events of sessions that are not in
            the log; each is asked about before each of its events but the first, in the order of
            `columns.timestamp`, rows of one moment as they come. `queries`: Parquet with a list `history`, oldest
            first, and a `target`.
        data_root: The folder in which files are looked for, after the working folder.
        separator: Between fields of a text file: one character, or `\t`. Parquet files are known by their suffix.
        header: True when the first row of a text file names the columns, else the names of all of them.
        columns: What the files call their columns.
        unknown_items: `error` refuses items that the log does not hold. `miss` counts such targets as misses and
            leaves such items out of histories and candidates; the report counts them.
        validation_rule: How validation is cut: see `cut_validation`.
        validation_fraction: Of the users that it is cut from.
        validation_candidates: Where `candidates` are given: how many items that the user has no event of are drawn
            for each query of a validation part that is cut, so that it is asked as test is; None ranks all items.
        seed: Of the draws for validation.
    """

    test: str
    validation: str | None = None
    candidates: str | None = None
    kind: Kind = "pairs"
    data_root: str = "data"
    separator: str = "\t"
    header: Header = True
    columns: GivenColumns = field(default_factory=GivenColumns)
    unknown_items: UnknownRule = "error"
    validation_rule: ValidationRule = "last"
    validation_fraction: float = 0.1
    validation_candidates: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction <= 1:
            check_fraction(self.validation_fraction, name="split.validation_fraction")
        for name, known in {"kind": Kind, "unknown_items": UnknownRule, "validation_rule": ValidationRule}.items():
            if getattr(self, name) not in get_args(known):
                raise ConfigError(f"split.{name}: {getattr(self, name)!r} is none of {', '.join(get_args(known))}")
        if self.candidates is not None and self.kind != "pairs":
            raise ConfigError("split.candidates: are given by user, whom only files of split.kind=pairs name")
        if self.validation_candidates is not None:
            if self.candidates is None or self.validation is not None or self.validation_rule == "latest_users":
                raise ConfigError(
                    "split.validation_candidates: goes with split.candidates, and a validation part that is cut"
                    " from the log by split.validation_rule=last or random; set it to null"
                )
            if self.validation_candidates < 1:
                raise ConfigError(
                    f"split.validation_candidates: must be at least 1, not {self.validation_candidates}"
                )
        TextForm(self.separator, self.header).check("split")

    def split(
        self, log: Interactions, *, data_fingerprint: str, vocabularies: Vocabularies | None = None
    ) -> Split:
        """Read the parts that are asked for, and leave the rest of `log` to train.

        Raises:
            DataError: If a file is missing or damaged, or names users or items that it may not; with file and row.
        """
        assert vocabularies is not None, "a given split names raw ids: it needs the vocabularies of the log"
        paths = {
            name: find_file(getattr(self, name), self.data_root, key=f"split.{name}")
            for name in _FILES
            if getattr(self, name) is not None
        }
        form = Form(self.kind, TextForm(self.separator, self.header), self.columns, self.unknown_items)
        read = {name: read_given(paths[name], log, vocabularies, form) for name in paths if name != "candidates"}
        train, parts = log, {name: _part(given) for name, given in read.items()}
        if self.validation is None:
            train, parts["validation"] = cut_validation(
                log, self.validation_rule, fraction=self.validation_fraction, seed=self.seed
            )
        made = assemble(
            self._settings(paths),
            Sequences(log, None),
            train,
            {name: parts[name] for name in ("validation", "test")},
            cuts={"validation": None, "test": None},
            first_asked=read["test"].first_asked,
            data_fingerprint=data_fingerprint,
            known=(lambda: log) if self.validation is None else None,
        )
        for name, given in read.items():
            made.report[name] |= {
                "unknown_targets": given.unknown_targets,
                "unknown_in_history": given.unknown_past,
                "repeated_rows": given.repeated,
            }
        return self._with_candidates(made, log, paths.get("candidates"), vocabularies)

    def _with_candidates(
        self, made: Split, log: Interactions, path: Path | None, vocabularies: Vocabularies
    ) -> Split:
        if path is None:
            return made
        given, counts = read_candidates(path, made.test, vocabularies, unknown_items=self.unknown_items)
        made.report["test"]["candidates"] = counts
        validation = made.validation
        if self.validation_candidates is not None:
            drawn = draw_candidates(log, validation, self.validation_candidates, seed=self.seed)
            made.report["validation"]["candidates"] = counts_of(drawn)
            validation = replace(validation, candidates=drawn)
        made.report["warnings"].append(sampled_warning(given))
        return replace(made, validation=validation, test=replace(made.test, candidates=given))

    def _settings(self, paths: dict[str, Path]) -> dict[str, Any]:
        """Return what the split follows from: what the files hold, and not where they lie."""
        known = {key: value for key, value in settings_of(self).items() if key != "data_root"}
        files = {name: {"file": path.name, "sha256": file_fingerprint(path)} for name, path in paths.items()}
        return known | dict.fromkeys(_FILES) | files


def sampled_warning(candidates: Candidates) -> str:
    """Return what to say of figures among candidates."""
    counts = candidates.counts
    return (
        f"sampled candidates: each test query ranks {counts.mean():.0f} given items ({counts.min()} to"
        f" {counts.max()}), not the catalogue; such figures are far higher than those of full ranking, and may"
        " order models differently (Krichene & Rendle 2020). Compare them only with figures of the same candidates"
    )


def _part(given: Given) -> Part:
    """Describe a part that is read: it takes no event out of the log. A bare query is someone of its own."""
    people = given.query_set.people
    users = len(np.unique(people[people != UNKNOWN])) + int((people == UNKNOWN).sum())
    return Part(given.query_set, 0, users, ties=None)
