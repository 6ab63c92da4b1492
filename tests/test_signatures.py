from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from recdl.errors import ConfigError
from recdl.signatures import describe, no_such_setting, typed_arguments


@dataclass(frozen=True)
class Column:
    user: str
    width: int = 1

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"data.column.width must be at least 1, not {self.width}")
        if not self.user:
            raise ConfigError("a column has a name")


class Target:
    def __init__(
        self,
        rate: float,
        size: int = 1,
        name: str = "a",
        on: bool = True,
        sizes: tuple[int, ...] = (),
        column: Column | None = None,
        folder: Path | None = None,
        kind: Literal["one", "two"] = "one",
        behaviors: Mapping[str, Sequence[str]] | None = None,
        length: int | Literal["auto"] = "auto",
        json: Annotated[int, Field(ge=1)] = 1,
    ) -> None: ...


def arguments(**given: Any) -> dict[str, Any]:
    return typed_arguments(Target, given, required=["rate"], key="data")


def refusal(**given: Any) -> str:
    with pytest.raises(ConfigError, match=r"^data") as caught:
        arguments(**{"rate": 1.0, **given})
    return str(caught.value)


def test_values_become_what_the_signature_asks_for() -> None:
    given = arguments(rate=1, sizes=[2, 3], column={"user": "uid"}, folder="runs/a", behaviors={"view": ["pv"]})
    assert given == {
        "rate": 1.0,
        "sizes": (2, 3),
        "column": Column("uid"),
        "folder": Path("runs/a"),
        "behaviors": {"view": ["pv"]},
    }


def test_a_whole_number_is_a_number() -> None:
    assert isinstance(arguments(rate=1)["rate"], float)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rate": "fast"}, 'data.rate: expected a number, got "fast"'),
        ({"rate": True}, "data.rate: expected a number, got true"),
        ({"rate": None}, "data.rate: expected a number, got null"),
        ({"size": 1.0}, "data.size: expected a whole number, got 1.0"),
        ({"size": "1"}, 'data.size: expected a whole number, got "1"'),
        ({"name": 7}, "data.name: expected text, got 7; in quotes it is text: '\"7\"'"),
        ({"on": 1}, "data.on: expected true or false, got 1"),
        ({"sizes": 3}, "data.sizes: expected a list (a whole number each), got 3"),
        ({"sizes": [3, "x"]}, 'data.sizes[1]: expected a whole number, got "x"'),
        ({"column": {"user": 1}}, "data.column.user: expected text, got 1; in quotes it is text: '\"1\"'"),
        ({"column": {}}, "data.column.user: is missing; expected text"),
        ({"column": "user"}, 'data.column: expected a mapping or null, got "user"'),
        ({"kind": "three"}, 'data.kind: expected one of one, two, got "three"'),
        (
            {"behaviors": {"view": [1]}},
            "data.behaviors.view[0]: expected text, got 1; in quotes it is text: '\"1\"'",
        ),
        ({"length": "long"}, 'data.length: expected a whole number or one of auto, got "long"'),
        ({"json": 0}, "data.json: Input should be greater than or equal to 1, got 0"),
    ],
)
def test_a_wrong_value_is_refused_by_its_full_key(given: dict[str, Any], message: str) -> None:
    assert refusal(**given) == message


def test_a_misspelt_key_of_a_nested_mapping_names_the_one_meant() -> None:
    assert refusal(column={"user": "a", "widht": 2}).startswith(
        "data.column.widht: there is no such setting; did you mean data.column.width?"
    )


def test_every_mistake_is_told_at_once() -> None:
    assert refusal(rate="x", size="y").splitlines() == [
        'data.rate: expected a number, got "x"',
        'data.size: expected a whole number, got "y"',
    ]


def test_a_missing_value_says_what_is_expected() -> None:
    with pytest.raises(ConfigError, match=r"^data\.rate: is missing; expected a number$"):
        arguments()


def test_what_a_nested_mapping_refuses_is_told_once_with_its_key() -> None:
    assert refusal(column={"user": "a", "width": 0}) == "data.column.width must be at least 1, not 0"


def test_a_refusal_without_a_key_is_given_one() -> None:
    assert refusal(column={"user": ""}) == "data: a column has a name"


def test_what_no_yaml_file_can_say_is_refused() -> None:
    with pytest.raises(ConfigError, match="no YAML file can say"):
        arguments(rate=1.0, name=object())


def test_an_unlike_name_is_not_suggested() -> None:
    assert no_such_setting("model.zzz", ["k", "shrinkage"]) == (
        "model.zzz: there is no such setting; The settings here: k, shrinkage"
    )


def test_a_type_without_a_word_is_named() -> None:
    assert describe(Path) == "what is a Path"
